"""Queries of cameras: one at a time, tried again while the register cannot answer, each photograph left by a camera
once."""

import hashlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.core.outage import Outage
from app.register.errors import ImageRefusedError, NoModelError, RegisterError, UncertainError
from app.register.event_tables import TakenPhoto
from app.register.identification import Answer, Identification
from app.register.photos import VehiclePhoto
from app.register.records import SeenBy
from app.register.schema import now

_log = logging.getLogger(__name__)
_TRIES = 6
_PUSHED_FOR = timedelta(days=1)  # a camera that got no answer sends again within minutes


@dataclass
class Counts:
    """Counts of one camera since its watch began.

    Args:
        frames, looked_at: of a stream: frames that came, and those that were looked at; the others were dropped.
        photographs: of a folder or a camera that pushes.
        again: photographs that were identified before.
        refused: photographs that are none.
        tracks: vehicles that were followed.
        queries: identifications.
        lost: queries that could not be answered.
        outages: how often it vanished.
    """

    frames: int = 0
    looked_at: int = 0
    photographs: int = 0
    again: int = 0
    refused: int = 0
    tracks: int = 0
    queries: int = 0
    lost: int = 0
    outages: int = 0

    def as_dict(self) -> dict[str, int]:
        """For JSON, with the frames that were dropped."""
        return asdict(self) | {"dropped": self.frames - self.looked_at}


class Asking:
    """Identifications for cameras.

    Args:
        stopped: set when the watch ends.
        first_pause: seconds before a query is tried again; each further try doubles them.
    """

    def __init__(self, identification: Identification, stopped: threading.Event, first_pause: float = 1.0) -> None:
        self.identification = identification
        self.stopped = stopped
        self._first_pause = first_pause

    def ask(self, photos: Sequence[VehiclePhoto], camera: SeenBy, digest: str = "") -> Answer:
        """Identify the vehicle of photographs; the sighting has the camera's name and place.

        Args:
            digest: of the bytes of the only photograph, kept in the same transaction, see `taken`.

        Raises what `Identification.identify` raises, after some tries where the same may succeed later."""
        outage = Outage(f"camera {camera.name}", _log, "its query is tried again", self._first_pause)

        def also(session: Session, sighting: int) -> None:
            if digest:
                session.add(TakenPhoto(camera=camera.name, digest=digest, sighting_id=sighting))

        for left in reversed(range(_TRIES)):
            try:
                answer = self.identification.identify(photos, account=camera.account, camera=camera, also=also)
                outage.over()
                return answer
            except (RegisterError, OSError) as error:
                if not left or not _may_pass(error) or self.stopped.wait(outage.failed(error)):
                    raise
        raise AssertionError("the last try returns or raises")

    def taken(self, camera: str, digest: str) -> tuple[bool, int | None]:
        """Whether a photograph of a camera was identified before, and the sighting, if it was not forgotten."""
        with self.identification.database.reading() as session:
            row = session.get(TakenPhoto, (camera, digest))
            return row is not None, row.sighting_id if row else None

    def forget_taken(self, camera: str, digest: str) -> None:
        """Forget a photograph whose file is gone."""
        with self.identification.database.writing() as session:
            session.execute(delete(TakenPhoto).where(TakenPhoto.camera == camera, TakenPhoto.digest == digest))

    def forget_old(self, camera: str) -> None:
        """Forget photographs that a camera pushed long ago."""
        old = (TakenPhoto.camera == camera) & (TakenPhoto.created < now() - _PUSHED_FOR)
        with self.identification.database.reading() as session:
            some = session.scalar(select(TakenPhoto.digest).where(old).limit(1))
        if some is not None:
            with self.identification.database.writing() as session:
                session.execute(delete(TakenPhoto).where(old))


def digest_of(content: bytes) -> str:
    """A photograph's own name."""
    return hashlib.sha256(content).hexdigest()


def _may_pass(error: Exception) -> bool:
    """Whether the same may succeed later: the database is away or busy, the disk full, no network there yet. A change
    that may have been kept is not repeated."""
    if isinstance(error, UncertainError | ImageRefusedError):
        return False
    return isinstance(error, OSError | NoModelError) or getattr(error, "retry_after", None) is not None
