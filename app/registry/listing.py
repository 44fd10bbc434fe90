"""A register as a table of pictures, to be filled from and to be taken away in: CSV (or Parquet) beside the pictures.

One row a picture. Rows with the same `vehicle` are one vehicle, and so are rows without it that have the same
`plate_text`; any other row is a vehicle of its own. Rows of one vehicle that name an owner name the same one; vehicles
of the same `owner`, `flat` and `contact` have one owner.
"""

import csv
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.data.row import MODALITIES, PLATE_BOX, TRUTH, VEHICLE_BOX, Row
from app.data.table import read_rows
from app.registry.desk import Desk
from app.registry.errors import RegisterError
from app.registry.photos import read_photo
from app.registry.plates import normal_plate
from app.registry.records import NewOwner
from app.registry.schema import Vehicle, View
from app.registry.shots import Shot

_OWNER = ("owner", "flat", "contact")
COLUMNS = (
    "path",
    "vehicle",
    *_OWNER,
    "note",
    "plate_text",
    "plate_path",
    "modality",
    "whole",
    *VEHICLE_BOX,
    *PLATE_BOX,
)


@dataclass(frozen=True)
class Entry:
    """The rows of one vehicle."""

    rows: list[Row]
    owner: NewOwner | None
    plate: str
    note: str

    @property
    def name(self) -> str:
        """For messages."""
        numbers = ", ".join(str(row.number) for row in self.rows)
        return f"{self.rows[0].file}, row{'s' if len(self.rows) > 1 else ''} {numbers}"

    def shots(self) -> Iterator[Shot]:
        """Its photographs. Raises PictureRefusedError naming a file."""
        for row in self.rows:
            yield Shot(
                read_photo(row.picture("path")),
                vehicle_box=row.box(VEHICLE_BOX),
                plate=read_photo(row.picture("plate_path")) if row.text("plate_path") else None,
                plate_box=row.box(PLATE_BOX),
                modality=row.choice("modality", MODALITIES),
                whole=row.choice("whole", TRUTH),
            )


def read_listing(path: Path) -> list[Entry]:
    """The vehicles of a table, in the order of their first rows; no picture is decoded yet.

    Raises ValueError or FileNotFoundError naming row and column: a wrong column, a picture that is not there, a box
    that is none, a plate of two vehicles, two owners of one vehicle."""
    rows = [Row(path, number, cells) for number, cells in read_rows(path, known=COLUMNS, required=("path",))]
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        row.picture("path")
        if row.text("plate_path"):
            row.picture("plate_path")
        row.box(VEHICLE_BOX), row.box(PLATE_BOX), row.choice("modality", MODALITIES), row.choice("whole", TRUTH)
        plate = _plate(row)
        key = next(((kind, text) for kind, text in (("v", row.text("vehicle")), ("p", plate)) if text), None)
        grouped.setdefault(key or ("row", str(row.number)), []).append(row)
    entries = [_entry(group) for group in grouped.values()]
    first: dict[str, Entry] = {}
    for entry in entries:
        if entry.plate and (other := first.setdefault(normal_plate(entry.plate), entry)) is not entry:
            entry.rows[0].fail("plate_text", f"is that of another vehicle, row {other.rows[0].number}")
    return entries


def enrol_entries(desk: Desk, entries: Sequence[Entry], account: str) -> Iterator[tuple[Entry, int | RegisterError]]:
    """Enrol vehicle by vehicle, each as a whole; its number, or why it was refused."""
    owners: dict[NewOwner, int] = {}
    for entry in entries:
        try:
            owner = owners.get(entry.owner, entry.owner) if entry.owner else None
            number = desk.enrol(list(entry.shots()), account=account, owner=owner, plate=entry.plate, note=entry.note)
        except (RegisterError, ValueError) as error:
            yield entry, error if isinstance(error, RegisterError) else RegisterError(str(error))
            continue
        if entry.owner and entry.owner not in owners:
            owners[entry.owner] = desk.register.vehicle(number).owner_id or 0
        yield entry, number


def write_listing(desk: Desk, folder: Path, account: str) -> int:
    """Everything that `enrol_entries` needs to enrol the same vehicles again, in a new folder; number of vehicles.

    Raises FileExistsError if the folder is there. What goes wrong leaves no folder behind."""
    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
        unfinished = Path(made) / "register"
        unfinished.mkdir(mode=0o700)
        vehicles = desk.register.everything(account)
        with (unfinished / "register.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            for vehicle in vehicles:
                for view in vehicle.views:
                    for name in (view.picture, view.plate_picture):
                        if name:
                            shutil.copy(desk.photos.path(name), unfinished / name)
                    table.writerow(_cells(vehicle, view))
        unfinished.rename(folder)
    return len(vehicles)


def _entry(rows: list[Row]) -> Entry:
    given = [(row, NewOwner(*(row.text(column) for column in _OWNER))) for row in rows if any(map(row.text, _OWNER))]
    for row, owner in given:
        if not owner.name:
            row.fail("owner", "is empty beside a flat or a contact")
        if owner != given[0][1]:
            row.fail("owner", f"is another one than in row {given[0][0].number} of the same vehicle")
    plates = [(row, plate) for row in rows if (plate := _plate(row))]
    for row, plate in plates:
        if plate != plates[0][1]:
            row.fail("plate_text", f"is another one than in row {plates[0][0].number} of the same vehicle")
    note = next((row.text("note") for row in rows if row.text("note")), "")
    return Entry(rows, given[0][1] if given else None, plates[0][0].text("plate_text") if plates else "", note)


def _plate(row: Row) -> str:
    if not row.text("plate_text"):
        return ""
    try:
        return normal_plate(row.text("plate_text"))
    except RegisterError as error:
        row.fail("plate_text", str(error))


def _cells(vehicle: Vehicle, view: View) -> dict[str, object]:
    cells: dict[str, object] = {"path": view.picture, "vehicle": vehicle.id, "note": vehicle.note}
    if owner := vehicle.owner:
        cells |= {"owner": owner.name, "flat": owner.flat, "contact": owner.contact}
    if vehicle.plate:
        cells["plate_text"] = vehicle.plate.text
    # What is in a picture was settled when it was enrolled: nothing is to be searched for in it again.
    cells |= {"plate_path": view.plate_picture or "", "modality": view.modality, "whole": "true"}
    for columns, box in ((VEHICLE_BOX, view.vehicle_box), (PLATE_BOX, view.plate_box)):
        cells |= dict(zip(columns, box, strict=True)) if box else {}
    return cells
