"""A register's folder with its database, without any network: lists, deletion, accounts and the audit need no more.

The folder holds `register.sqlite` (unless the database is elsewhere), `pictures/`, and in `models/` the checkpoint or
the ONNX file of each model version, and detectors and a reader of plates if there are any.
"""

from pathlib import Path

from sqlalchemy import URL

from app.register.database import Database
from app.register.model_versions import Models
from app.register.ownership import require_own
from app.register.photos import Photos
from app.register.sightings import Journal
from app.register.vehicles import Register
from app.register.visible import Visible


class RegisterFolder:
    """An open register: its vehicles, model versions and sightings.

    Args:
        folder: the register's; made if it is not there.
        url: of the database; by default a SQLite file in the folder.

    Raises RegisterError if the register cannot be opened."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder
        self.photos = Photos(folder / "pictures")
        (folder / "models").mkdir(exist_ok=True, mode=0o700)
        here = URL.create("sqlite", database=str((folder / "register.sqlite").resolve()))
        self.database = database = Database(url or here)
        try:
            require_own(database, folder, self.photos)
        except BaseException:
            database.close()
            raise
        self.register, self.models, self.journal = Register(database, self.photos), Models(database), Journal(database)
        self.visible = Visible(database)

    def close(self) -> None:
        """Let the database go."""
        self.database.close()
