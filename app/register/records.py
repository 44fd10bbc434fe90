"""Records that a register takes and returns, and what several parts of it ask of the tables."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from app.core.sample import Box, Modality
from app.register.errors import DuplicatePlateError, NotEnrolledError
from app.register.schema import (
    Audit,
    Base,
    Change,
    Embedding,
    Model,
    Plate,
    Setting,
    Sighting,
    View,
    now,
)
from app.register.undo_table import Correction

Vectors = Mapping[str, NDArray[np.float32]]
"""(D,) by library, those that an image has something for."""
Also = Callable[[Session, int], None]
"""Further rows in a transaction, given the number of the vehicle that was enrolled, or of the sighting."""
ACTIVE_MODEL = "model"
MOST_NUMBER = 2**31 - 1  # of a row: PostgreSQL's integers end here, and no register comes near
UNDO_DAYS = 30
"""Days for which a correction can be undone; what was there before is deleted afterwards."""
Row = TypeVar("Row", bound=Base)


def nothing_else(session: Session, number: int) -> None:
    """An `Also` that writes nothing."""


def active_model(session: Session) -> Model | None:
    """The active model: the one whose embeddings are searched."""
    digest = session.scalar(select(Setting.value).where(Setting.name == ACTIVE_MODEL))
    return session.scalar(select(Model).where(Model.digest == digest)) if digest else None


def get(session: Session, table: type[Row], number: int) -> Row:
    """A row by number. Raises NotEnrolledError if it is not there."""
    row = session.get(table, number) if 0 < number <= MOST_NUMBER else None
    if row is None:
        raise NotEnrolledError(f"there is no {table.__tablename__.replace('_', ' ')} {number}")
    return row


def require_free(session: Session, normal: str) -> None:
    """Raise DuplicatePlateError for a plate that a vehicle has."""
    held = session.scalar(select(Plate).where(Plate.normal == normal))
    if held is not None:
        raise DuplicatePlateError(f"vehicle {held.vehicle_id} has this plate already")


def embeddings(model_id: int, vectors: Vectors, view_id: int) -> Iterable[Embedding]:
    """The rows of one image."""
    for library, vector in vectors.items():
        yield Embedding(model_id=model_id, library=library, view_id=view_id, vector=vector)


def trail(session: Session, account: str, action: str, subject: str, details: Mapping[str, Any]) -> None:
    """Add a line to the audit trail."""
    session.add(Audit(account=account, action=action, subject=subject, details=dict(details)))


def changes_since(session: Session, seen: int) -> tuple[int, set[int]]:
    """Number of the newest change, and the vehicles that changed after change `seen`; none for a reader that has seen
    nothing, with -1, and reads everything."""
    last = session.scalar(select(func.max(Change.id))) or 0
    if seen in (last, -1):
        return last, set()
    return last, set(session.scalars(select(Change.vehicle_id).where(Change.id > seen)))


def version_of(session: Session, vehicle_id: int) -> int:
    """Number of the last change of a vehicle."""
    session.flush()
    return session.scalar(select(func.max(Change.id)).where(Change.vehicle_id == vehicle_id)) or 0


def keep_undo(session: Session, vehicle_id: int, kind: str, before: Mapping[str, Any], account: str) -> None:
    """Keep what undoes the change that was just made, in place of that of an earlier one of the vehicle."""
    version = version_of(session, vehicle_id)
    old = (Correction.vehicle_id == vehicle_id) | (Correction.created < now() - timedelta(days=UNDO_DAYS))
    session.execute(delete(Correction).where(old))
    owner = before.get("owner") or {}
    row = {"vehicle_id": vehicle_id, "change": version, "kind": kind, "before": dict(before), "account": account}
    session.execute(insert(Correction).values(**row, owner_id=owner.get("id"), created=now()))


def named_images(session: Session) -> set[str]:
    """Images that rows name."""
    named = {name for row in session.execute(select(View.picture, View.plate_picture)) for name in row if name}
    return named | {name for names in session.scalars(select(Sighting.pictures)) for name in names}


@dataclass(frozen=True)
class NewView:
    """An image to be enrolled.

    Args:
        image: its name in the register's folder of images.
        vectors: (D,) by library, those that the image has something for.
        vehicle_box: where the vehicle is; None if the image is the vehicle.
        plate_image: name of an image of the plate alone.
        plate_box: where the plate is in `image`.
    """

    image: str
    vectors: Vectors
    vehicle_box: Box | None = None
    plate_image: str | None = None
    plate_box: Box | None = None
    modality: Modality = "visible"

    def as_dict(self) -> dict[str, Any]:
        """The columns of a `View`, without vectors and vehicle, for JSON."""
        return {
            "picture": self.image,
            "vehicle_box": self.vehicle_box and list(self.vehicle_box),
            "plate_picture": self.plate_image,
            "plate_box": self.plate_box and list(self.plate_box),
            "modality": self.modality,
        }


@dataclass(frozen=True)
class SeenBy:
    """The camera of a sighting.

    Args:
        plate: text that the camera itself read on the plate; "" for none. It is kept, and takes no part in decisions.
        since: when the vehicle was there, by `time.monotonic()`; None for now.
    """

    name: str
    place: str = ""
    plate: str = ""
    since: float | None = None

    @property
    def age(self) -> float:
        """Seconds since the vehicle was there: a gate must not open for one that is gone."""
        return 0.0 if self.since is None else max(0.0, time.monotonic() - self.since)

    @property
    def account(self) -> str:
        """The camera in the trail; no account of the service has such a name."""
        return f"{self.name} (camera)"


@dataclass(frozen=True)
class NewOwner:
    """Somebody to be enrolled with a vehicle."""

    name: str
    flat: str = ""
    contact: str = ""


@dataclass(frozen=True)
class Glance:
    """Details of a vehicle for a guard: no name.

    Args:
        images: names by number of the view.
    """

    plate: str | None
    flat: str | None
    images: dict[int, str]
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class Forgotten:
    """Rows that `forget` deleted.

    Args:
        overwritten: whether the rows are gone from the database's files as well; see `Database.forget_traces`.
    """

    owners: int
    vehicles: list[int]
    views: int
    sightings: int
    incidents: int
    overwritten: bool = False
