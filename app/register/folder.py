"""A register's folder with its database, without any network: enough for lists, deletion, accounts and the audit.

The folder holds `register.sqlite` (unless the database is elsewhere), `pictures/`, and in `models/` the checkpoint or
the ONNX file of each model version, and detectors and a reader of plates if there are any. `events.toml` names the
receivers of events, if there are any.
"""

import uuid
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import URL, func, select

from app.core.files import replacing
from app.register.confirmations import Confirmations
from app.register.corrections import Corrections
from app.register.database import Database
from app.register.errors import RegisterError
from app.register.history import History
from app.register.lists import Lists
from app.register.model_versions import Models
from app.register.outbox import Outbox
from app.register.photos import Photos
from app.register.schema import Setting, Vehicle
from app.register.search import Search
from app.register.sent_once import SentOnce
from app.register.sightings import Journal, Visible
from app.register.vehicles import Register


class RegisterFolder:
    """An open register: its vehicles, model versions, sightings, confirmations and corrections.

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
        self.outbox = Outbox(database, folder)
        self.visible, self.confirmations = Visible(database), Confirmations(database)
        self.corrections = Corrections(self.register)
        self.search, self.history, self.lists = Search(database), History(database), Lists(database)
        self.sent_once = SentOnce(database)

    def size(self) -> int:
        """Vehicles in the register."""
        with self.database.reading() as session:
            return session.scalar(select(func.count()).select_from(Vehicle)) or 0

    def close(self) -> None:
        """Let the database go."""
        self.database.close()


def hold_alone(folder: Path) -> FileLock:
    """The lock of the one service that uses a register, held; the caller releases it.

    Raises RegisterError while another holds it."""
    lock = FileLock(folder / ".service.lock", thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RegisterError(f"another service uses the register in {folder}") from error
    return lock


def require_own(database: Database, folder: Path, photos: Photos) -> None:
    """Raise RegisterError if the images in the folder belong to another database: they would be taken for orphans."""
    held = folder / "register.id"
    with database.writing() as session:
        kept = session.get(Setting, "id")
        if not held.is_file():
            if kept is not None or any(photos.folder.iterdir()):
                raise RegisterError(f"{held} is missing: the images of this folder belong to another database")
            session.add(Setting(name="id", value=uuid.uuid4().hex))
            session.flush()
            kept = session.get(Setting, "id")
            assert kept is not None
            with replacing(held) as temporary:
                temporary.write_text(kept.value, encoding="ascii")
        elif kept is None or held.read_text(encoding="ascii").strip() != kept.value:
            raise RegisterError(f"{folder} belongs to another database: is the URL right?")
