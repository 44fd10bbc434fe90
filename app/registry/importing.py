"""Import of a table into a register: row by row, each in a transaction of its own, and each once.

An import that was cut off goes on where it was when the same table is imported again: a row whose content is there is
skipped, and a further row of its vehicle goes to that vehicle.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.data.row import Row
from app.registry.desk import Desk
from app.registry.errors import (
    BusyError,
    FullError,
    NoModelError,
    PictureRefusedError,
    RegisterError,
    UnavailableError,
)
from app.registry.listing import COLUMNS, PICTURES, Entry, cell
from app.registry.photos import require_small
from app.registry.records import NewOwner
from app.registry.schema import Imported, Vehicle

_NOT_OF_A_ROW = (BusyError, FullError, NoModelError, UnavailableError)  # the next row would fail of them as well


@dataclass(frozen=True)
class Result:
    """What became of a row.

    Args:
        row: its number in the table.
        vehicle: number of the vehicle that its image is a view of; None if the row failed.
        enrolled: whether the vehicle is new.
        skipped: whether the row was imported before.
        reason: why it failed; "" if it did not.
    """

    row: int
    vehicle: int | None = None
    enrolled: bool = False
    skipped: bool = False
    reason: str = ""


def import_entries(desk: Desk, entries: Sequence[Entry], account: str) -> Iterator[Result]:
    """Import vehicle by vehicle and row by row; a row that cannot be used fails alone.

    Raises RegisterError for what is no fault of a row (no network, a full disk, a database that is away or busy), and
    OSError where a picture cannot be written: the rows before are imported, and the same call goes on after them."""
    for entry in entries:
        yield from _import(desk, entry, account)


def _import(desk: Desk, entry: Entry, account: str) -> Iterator[Result]:
    digests: dict[int, str] = {}
    failed: dict[int, str] = {}
    for row in entry.rows:
        try:
            digests[row.number] = _digest(row)
        except PictureRefusedError as error:
            failed[row.number] = str(error)
        except OSError as error:
            failed[row.number] = f"{row.place('path')}: cannot be read: {error.strerror or error}"
    held = _held(desk, list(digests.values()))
    vehicle = next(iter(held.values()), None)
    for row in entry.rows:
        if row.number in failed:
            yield Result(row.number, reason=failed[row.number])
            continue
        digest = digests[row.number]
        if digest in held:
            yield Result(row.number, held[digest], skipped=True)
            continue
        try:
            number = _add(desk, entry, row, digest, vehicle, account)
        except _NOT_OF_A_ROW:
            raise
        except (RegisterError, ValueError) as error:
            yield Result(row.number, reason=str(error))
            continue
        held[digest] = number
        yield Result(row.number, number, enrolled=vehicle is None)
        vehicle = number


def _add(desk: Desk, entry: Entry, row: Row, digest: str, vehicle: int | None, account: str) -> int:
    """Enrol the vehicle with the image of a row, or add the image to it; number of the vehicle."""
    shots = [entry.shot(row)]
    owner = _owner_digest(entry.owner)

    def remember(session: Session, number: int) -> None:
        if session.get(Imported, digest) is not None:
            raise RegisterError("another import enrolled this row meanwhile")
        session.add(Imported(digest=digest, owner=owner, vehicle_id=number))

    if vehicle is not None:
        desk.add_views(vehicle, shots, account=account, also=remember)
        return vehicle
    who = entry.owner and (_known_owner(desk, owner) or entry.owner)
    return desk.enrol(shots, account=account, owner=who, plate=entry.plate, note=entry.note, also=remember)


def _held(desk: Desk, digests: list[str]) -> dict[str, int]:
    """Vehicles by the digests of rows that were imported before."""
    with desk.database.reading() as session:
        rows = session.scalars(select(Imported).where(Imported.digest.in_(digests)))
        return {row.digest: row.vehicle_id for row in rows}


def _known_owner(desk: Desk, digest: str) -> int | None:
    """Number of the owner whom an imported row named in the same words."""
    wanted = (
        select(Vehicle.owner_id)
        .join(Imported, Imported.vehicle_id == Vehicle.id)
        .where(Imported.owner == digest, Vehicle.owner_id.is_not(None))
    )
    with desk.database.reading() as session:
        return session.scalar(wanted.order_by(Vehicle.id).limit(1))


def _digest(row: Row) -> str:
    """SHA-256 of a row's cells and of the bytes of its pictures; not of their names. Raises OSError, and
    PictureTooLargeError."""
    cells: dict[str, str] = {}
    for column in COLUMNS:
        if column not in PICTURES:
            cells[column] = cell(row, column)
        elif row.text(column):
            path = row.place(column)
            require_small(path)
            with path.open("rb") as file:
                cells[column] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()


def _owner_digest(owner: NewOwner | None) -> str:
    if owner is None:
        return ""
    return hashlib.sha256(json.dumps([owner.name, owner.flat, owner.contact]).encode()).hexdigest()
