"""Import of a table into a register: row by row, each in its own transaction, and each once.

An import that was cut off continues when the same table is imported again: a row whose content is there is
skipped, and a further row of its vehicle goes to that vehicle. So it is with two imports at once.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.data.readers.row import Row
from app.register.errors import (
    BusyError,
    FullError,
    ImageRefusedError,
    NoModelError,
    RegisterError,
    UnavailableError,
)
from app.register.folder import RegisterFolder
from app.register.photos import require_small
from app.register.plate_search import normal_plate
from app.register.records import NewOwner
from app.register.schema import Imported, Plate, Vehicle
from app.register.tables import COLUMNS, IMAGES, Entry, cell
from app.register.tags import tagged
from models.errors import FedVehicleReidError

if TYPE_CHECKING:
    from app.register.identification import Identification

_NOT_OF_A_ROW = (BusyError, FullError, NoModelError, UnavailableError)  # the next row would fail as well
_ATTEMPTS = 10  # of a row whose vehicle other imports change meanwhile


@dataclass(frozen=True)
class Result:
    """Result of a row.

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


def import_entries(identification: "Identification", entries: Sequence[Entry], account: str) -> Iterator[Result]:
    """Import vehicle by vehicle and row by row; a row that cannot be used fails alone.

    Raises RegisterError for what is no fault of a row (no network, a full disk, a database that is away or busy), and
    OSError where an image cannot be written: the rows before are imported, and the same call continues after them."""
    for entry in entries:
        yield from _import(identification, entry, account)


def _import(identification: "Identification", entry: Entry, account: str) -> Iterator[Result]:
    digests: dict[int, str] = {}
    faults = entry.faults()
    failed: dict[int, str] = {}
    for row in entry.rows:
        try:
            digests[row.number] = _digest(row)
        except ImageRefusedError as error:
            failed[row.number] = str(error)
        except OSError as error:
            failed[row.number] = f"{row.place('path')}: cannot be read: {error.strerror or error}"
    for row in entry.rows:
        if row.number in failed:
            yield Result(row.number, reason=failed[row.number])
        elif faults and not _is_held(identification, digests[row.number]):
            number, fault = next(iter(faults.items()))  # without that text its vehicle would be another one
            yield Result(row.number, reason=faults.get(row.number) or f"row {number} of the same vehicle, {fault}")
        else:
            yield _row(identification, entry, row, digests, account)


def foresee(register: RegisterFolder, entries: Sequence[Entry]) -> Iterator[Result]:
    """What `import_entries` would do, row by row, where nothing else changes the register: photographs are read, and
    nothing is embedded or kept. A vehicle that would be enrolled has no number yet."""
    with register.database.reading() as session:
        taken = {row.normal: row.vehicle_id for row in session.scalars(select(Plate))}
    for entry in entries:
        faults, digests = entry.faults(), dict[int, str]()
        normal = normal_plate(entry.plate) if entry.plate and not faults else ""
        is_new = True
        for row in entry.rows:
            try:
                digests[row.number] = _digest(row)
                entry.vehicle_photo(row)
            except (FedVehicleReidError, OSError) as error:
                yield Result(row.number, reason=str(error))
                continue
            known = _known(register, entry, digests.values())
            if (number := known.held.get(digests[row.number])) is not None:
                yield Result(row.number, number, skipped=True)
            elif faults:
                yield Result(row.number, reason=next(iter(faults.values())))
            elif known.vehicle is None and normal in taken:
                yield Result(row.number, reason=f"vehicle {taken[normal]} has this plate already")
            else:
                yield Result(row.number, known.vehicle, enrolled=known.vehicle is None and is_new)
                is_new = False


def _row(identification: "Identification", entry: Entry, row: Row, digests: Mapping[int, str], account: str) -> Result:
    """Result of a row whose images can be read. Rows that another import adds meanwhile count as imported before."""
    digest = digests[row.number]
    known = _known(identification, entry, digests.values())
    for _ in range(_ATTEMPTS):
        if digest in known.held:
            return Result(row.number, known.held[digest], skipped=True)
        try:
            number = _add(identification, entry, row, digests.values(), digest, known, account)
        except _NOT_OF_A_ROW:
            raise
        except FedVehicleReidError as error:
            before, known = known, _known(identification, entry, digests.values())
            if known == before:
                return Result(row.number, reason=str(error))
            continue
        return Result(row.number, number, enrolled=known.vehicle is None)
    return Result(row.number, reason="other imports change its vehicle again and again; import the table once more")


@dataclass(frozen=True)
class _Known:
    """Rows of the register about a vehicle of the table.

    Args:
        held: vehicles by the digests of its rows that were imported before.
        owner: number of the owner whom an imported row named in the same words; None for none.
    """

    held: dict[str, int]
    owner: int | None

    @property
    def vehicle(self) -> int | None:
        return next(iter(self.held.values()), None)


def _add(
    identification: "Identification",
    entry: Entry,
    row: Row,
    digests: Collection[str],
    digest: str,
    known: _Known,
    account: str,
) -> int:
    """Enrol the vehicle with the image of a row, or add the image to it; number of the vehicle. Raises RegisterError
    if another import was faster."""
    vehicle_photos = [entry.vehicle_photo(row)]
    owner = _owner_digest(entry.owner)

    def remember(session: Session, number: int) -> None:
        # Writers take turns: what is true here stays true until this is written.
        if _known_in(session, owner, digests) != known:
            raise RegisterError("another import changed this vehicle meanwhile")
        session.add(Imported(digest=digest, owner=owner, vehicle_id=number))

    if known.vehicle is not None:
        identification.add_views(known.vehicle, vehicle_photos, account=account, also=remember)
        return known.vehicle
    who = entry.owner and (known.owner or entry.owner)
    return identification.enrol(
        vehicle_photos,
        account=account,
        owner=who,
        plate=entry.plate,
        note=entry.note,
        also=tagged(entry.tags, remember),
    )


def _known(identification: RegisterFolder, entry: Entry, digests: Collection[str]) -> _Known:
    with identification.database.reading() as session:
        return _known_in(session, _owner_digest(entry.owner), digests)


def _is_held(identification: "Identification", digest: str) -> bool:
    with identification.database.reading() as session:
        return session.get(Imported, digest) is not None


def _known_in(session: Session, owner: str, digests: Collection[str]) -> _Known:
    # owner: digest of the owner; "" for none
    rows = session.scalars(select(Imported).where(Imported.digest.in_(digests)).order_by(Imported.vehicle_id))
    held = {row.digest: row.vehicle_id for row in rows}
    query = (
        select(Vehicle.owner_id)
        .join(Imported, Imported.vehicle_id == Vehicle.id)
        .where(Imported.owner == owner, Vehicle.owner_id.is_not(None))
    )
    return _Known(held, session.scalar(query.order_by(Vehicle.id).limit(1)) if owner else None)


def _digest(row: Row) -> str:
    """SHA-256 of a row's cells and of the bytes of its images; not of their names. Raises OSError, and
    ImageTooLargeError."""
    cells: dict[str, str] = {}
    for column in COLUMNS:
        if column not in IMAGES:
            if column != "tags" or row.text(column):  # rows that were imported before there were tags stay known
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
