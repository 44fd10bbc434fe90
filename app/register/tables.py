"""A register as a table of images, for import and export: CSV (or Parquet) beside the images.

One row an image. Rows with the same `vehicle` are one vehicle, and so are rows without it that have the same
`plate_text`; any other row is a vehicle of its own. Rows of one vehicle that name an owner name the same one; vehicles
of the same `owner`, `flat` and `contact` have one owner.

Cells that a spreadsheet would compute are written as text, and read as what they were.
"""

import csv
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import AlreadyThereError
from app.data.readers.row import MODALITIES, PLATE_BOX, TRUTH, VEHICLE_BOX, Row
from app.data.readers.table import read_rows
from app.register.cells import quoted, unquoted
from app.register.errors import ImageRefusedError, RegisterError
from app.register.folder import RegisterFolder
from app.register.photos import Photo, VehiclePhoto, read_photo
from app.register.plate_search import normal_plate
from app.register.records import NewOwner
from app.register.schema import Vehicle, View
from app.register.tags import joined, split_tags, tags_fault
from app.register.texts import line_fault, text_fault

OWNER = ("owner", "flat", "contact")
COLUMNS = (
    "path",
    "vehicle",
    *OWNER,
    "note",
    "tags",
    "plate_text",
    "plate_path",
    "modality",
    "whole",
    *VEHICLE_BOX,
    *PLATE_BOX,
)
IMAGES = ("path", "plate_path")
KEPT = {**dict.fromkeys((*OWNER, "plate_text"), line_fault), "note": text_fault, "tags": tags_fault}
_WORDS = ("vehicle", *OWNER, "note", "tags", "plate_text")  # anything may stand in them


@dataclass(frozen=True)
class Entry:
    """The rows of one vehicle."""

    rows: list[Row]
    owner: NewOwner | None
    plate: str
    note: str
    tags: Sequence[str] = ()

    def faults(self) -> dict[int, str]:
        """Rows of the vehicle, by number, with a text that a register does not keep, and what is wrong with it."""
        found: dict[int, str] = {}
        for row in self.rows:
            for column, fault_of in KEPT.items():
                if fault := fault_of(cell(row, column)):
                    found.setdefault(row.number, f"column {column} {fault}")
        return found

    def vehicle_photo(self, row: Row) -> VehiclePhoto:
        """The photograph of one of its rows. Raises ImageRefusedError naming a file that cannot be used."""
        photo = _photo(row, "path")
        return VehiclePhoto(
            photo,
            vehicle_box=photo.inside(row.box(VEHICLE_BOX)),
            plate=_photo(row, "plate_path") if row.text("plate_path") else None,
            plate_box=photo.inside(row.box(PLATE_BOX)),
            modality=row.choice("modality", MODALITIES),
            whole=row.choice("whole", TRUTH),
        )


def read_listing(path: Path) -> list[Entry]:
    """The vehicles of a table, in the order of their first rows; no image is decoded yet.

    Raises ValueError or FileNotFoundError naming row and column: a wrong column, an image that is not there, an
    invalid box, a plate of two vehicles, two owners of one vehicle."""
    return entries_of([Row(path, *row) for row in read_rows(path, known=COLUMNS, required=("path",))])


def entries_of(rows: Sequence[Row]) -> list[Entry]:
    """`read_listing` of rows that were read. Raises as it does."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        row.image("path")
        if row.text("plate_path"):
            row.image("plate_path")
        row.box(VEHICLE_BOX), row.box(PLATE_BOX), row.choice("modality", MODALITIES), row.choice("whole", TRUTH)
        plate = plate_of(row)
        key = next(((kind, text) for kind, text in (("v", cell(row, "vehicle")), ("p", plate)) if text), None)
        grouped.setdefault(key or ("row", str(row.number)), []).append(row)
    entries = [_entry(group) for group in grouped.values()]
    first: dict[str, Entry] = {}
    for entry in entries:
        if entry.plate and (other := first.setdefault(normal_plate(entry.plate), entry)) is not entry:
            entry.rows[0].fail("plate_text", f"is that of another vehicle, row {other.rows[0].number}")
    return entries


def write_listing(register: RegisterFolder, folder: Path, account: str) -> int:
    """Export all that `import_entries` needs to enrol the same vehicles again, to a new folder; number of vehicles.

    Raises FileExistsError if the folder is there. After an error there is no folder."""
    if folder.exists():
        raise AlreadyThereError(f"{folder} is there already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        unfinished = Path(temporary) / "register"
        unfinished.mkdir(mode=0o700)
        vehicles = register.register.everything(account)
        with (unfinished / "register.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            for vehicle in vehicles:
                for view in vehicle.views:
                    for name in (view.picture, view.plate_picture):
                        if name:
                            shutil.copy(register.photos.path(name), unfinished / name)
                    table.writerow(_cells(vehicle, view))
        unfinished.rename(folder)
    return len(vehicles)


def cell(row: Row, column: str) -> str:
    """A cell without the apostrophe that kept a spreadsheet from computing it."""
    return unquoted(row.text(column)) if column in _WORDS else row.text(column)


def _photo(row: Row, column: str) -> Photo:
    path = row.place(column)
    try:
        return read_photo(path)
    except OSError as error:
        raise ImageRefusedError(f"{path}: cannot be read: {error.strerror or error}") from error


def _entry(rows: list[Row]) -> Entry:
    named = [(row, NewOwner(*(cell(row, column) for column in OWNER))) for row in rows]
    given = [(row, owner) for row, owner in named if owner != NewOwner("")]
    for row, owner in given:
        if not owner.name:
            row.fail("owner", "is empty beside a flat or a contact")
        if owner != given[0][1]:
            row.fail("owner", f"is another one than in row {given[0][0].number} of the same vehicle")
    plates = [(row, plate) for row in rows if (plate := plate_of(row))]
    for row, plate in plates:
        if plate != plates[0][1]:
            row.fail("plate_text", f"is another one than in row {plates[0][0].number} of the same vehicle")
    note = next((cell(row, "note") for row in rows if row.text("note")), "")
    tags = split_tags(next((cell(row, "tags") for row in rows if row.text("tags")), ""))
    plate = cell(plates[0][0], "plate_text") if plates else ""
    return Entry(rows, given[0][1] if given else None, plate, note, tags)


def plate_of(row: Row) -> str:
    """The plate of a row in its normal form, "" for none. Raises ValueError naming row and column."""
    if not row.text("plate_text"):
        return ""
    try:
        return normal_plate(cell(row, "plate_text"))
    except RegisterError as error:
        row.fail("plate_text", str(error))


def _cells(vehicle: Vehicle, view: View) -> dict[str, object]:
    cells: dict[str, object] = {
        "path": view.picture,
        "vehicle": vehicle.id,
        "note": vehicle.note,
        "tags": joined(vehicle.tags),
    }
    if owner := vehicle.owner:
        cells |= {"owner": owner.name, "flat": owner.flat, "contact": owner.contact}
    if vehicle.plate:
        cells["plate_text"] = vehicle.plate.text
    # The boxes were settled at the enrolment: the detector must not run again.
    cells |= {"plate_path": view.plate_picture or "", "modality": view.modality, "whole": "true"}
    for columns, box in ((VEHICLE_BOX, view.vehicle_box), (PLATE_BOX, view.plate_box)):
        cells |= dict(zip(columns, box, strict=True)) if box else {}
    return {column: quoted(text) if isinstance(text, str) else text for column, text in cells.items()}
