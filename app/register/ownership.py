"""Proof that an image folder and a database belong to one register."""

import uuid
from pathlib import Path

from app.core.files import replacing
from app.register.database import Database
from app.register.errors import RegisterError
from app.register.photos import Photos
from app.register.schema import Setting


def require_own(database: Database, folder: Path, photos: Photos) -> None:
    """Raise RegisterError if the images in the folder belong to another database: they would be taken for orphans."""
    held = folder / "register.id"
    with database.writing() as session:
        kept = session.get(Setting, "id")
        if not held.is_file():
            if kept is not None or any(photos.folder.iterdir()):
                raise RegisterError(f"{held} is missing: the pictures of this folder belong to another database")
            session.add(Setting(name="id", value=uuid.uuid4().hex))
            session.flush()
            kept = session.get(Setting, "id")
            assert kept is not None
            with replacing(held) as temporary:
                temporary.write_text(kept.value, encoding="ascii")
        elif kept is None or held.read_text(encoding="ascii").strip() != kept.value:
            raise RegisterError(f"{folder} belongs to another database: is the URL right?")
