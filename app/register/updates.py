"""Rows of a table that change enrolled vehicles: each names its vehicle by number, in the column `id`.

They are applied together, in one transaction, before anything of the table is enrolled: all of them, or none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.data.readers.row import Row
from app.data.readers.table import read_rows
from app.register.corrections import Edit, edit_in
from app.register.database import Database
from app.register.errors import BusyError, FullError, RegisterError, UnavailableError
from app.register.plate_search import normal_plate
from app.register.records import MOST_NUMBER, get
from app.register.schema import Owner, Vehicle
from app.register.tables import COLUMNS, KEPT, OWNER, Entry, cell, entries_of, plate_of
from app.register.tags import split_tags

ID = "id"
_NOT_OF_A_ROW = (BusyError, FullError, UnavailableError)


@dataclass(frozen=True)
class Update:
    """A row that changes an enrolled vehicle.

    Args:
        values: cells by column, those that are not empty.
    """

    row: Row
    vehicle: int
    values: dict[str, str] = field(default_factory=dict)

    def of_owner(self) -> dict[str, str]:
        """The cells about the owner."""
        return {name: text for name, text in self.values.items() if name in OWNER}


class Changed(NamedTuple):
    """A vehicle after its row.

    Args:
        fields: names of the values that were others before; none where the row says what is there.
    """

    vehicle: int
    row: int
    fields: list[str]


class _DryRunError(Exception):
    """Ends a transaction of which nothing is kept."""


def read_table(path: Path) -> tuple[list[Update], list[Entry]]:
    """The rows of a table that change vehicles, and the vehicles that it enrols.

    Raises as `read_listing` does, and for an `id` that is no number or stands twice, and for a row with an `id` and an
    image."""
    known = (ID, *COLUMNS)
    cells = read_rows(path, known=known, required=())
    if not any(ID in row for _, row in cells):
        read_rows(path, known=known, required=("path",))
    rows = [Row(path, *row) for row in cells]
    updates = [_update(row) for row in rows if row.text(ID)]
    entries = entries_of([row for row in rows if not row.text(ID)])
    first: dict[int, Row] = {}
    for update in updates:
        if (other := first.setdefault(update.vehicle, update.row)) is not update.row:
            update.row.fail(ID, f"is that of row {other.number}: a table changes a vehicle once")
    plates = {normal_plate(entry.plate): entry.rows[0] for entry in entries if entry.plate}
    for update in updates:
        plate = plate_of(update.row)
        if plate and (other := plates.setdefault(plate, update.row)) is not update.row:
            update.row.fail("plate_text", f"is that of another vehicle, row {other.number}")
    return updates, entries


def apply_updates(
    database: Database, updates: Sequence[Update], account: str, *, dry_run: bool = False
) -> list[Changed]:
    """Change the vehicles of all rows, or of none.

    Args:
        dry_run: keep nothing, and say what would be changed.

    Raises RegisterError naming the row, for a vehicle that is not there, a plate that another one has, and an owner
    whom two rows name differently, or whose other vehicles the table does not name."""
    done = list[Changed]()
    try:
        with database.writing() as session:
            owners = dict[int, Update]()
            for update in updates:
                try:
                    edit = _edit(session, update, updates, owners)
                    done.append(
                        Changed(update.vehicle, update.row.number, edit_in(session, update.vehicle, edit, account))
                    )
                except _NOT_OF_A_ROW:
                    raise
                except RegisterError as error:
                    raise RegisterError(f"{update.row.file}, row {update.row.number}: {error}") from error
            if dry_run:
                raise _DryRunError
    except _DryRunError:
        pass
    return done


def _update(row: Row) -> Update:
    text = row.text(ID)
    if not (text.isascii() and text.isdecimal() and len(text) < 11 and 1 <= int(text) <= MOST_NUMBER):
        row.fail(ID, f"is no number of a vehicle: {text[:40]!r}")
    for column in row.cells:
        if column not in (ID, *KEPT) and row.text(column):
            row.fail(column, "stands beside an id, and such a row changes values alone; `add-image` adds images")
    values = {column: cell(row, column) for column in KEPT if row.text(column)}
    for column, fault_of in KEPT.items():
        if fault := fault_of(values.get(column, "")):
            row.fail(column, fault)
    return Update(row, int(text), values)


def _edit(session: Session, update: Update, updates: Sequence[Update], owners: dict[int, Update]) -> Edit:
    """The new values of a row. `owners` are those whom rows before named, by number."""
    vehicle, given, words = get(session, Vehicle, update.vehicle), update.of_owner(), update.values
    plate, note = words.get("plate_text"), words.get("note")
    tags = split_tags(words["tags"]) if "tags" in words else None
    if not given:
        return Edit(plate, note, tags=tags)
    if vehicle.owner is None:
        named = {name: given.get(name, "") for name in OWNER}
        same = (Owner.name == named["owner"], Owner.flat == named["flat"], Owner.contact == named["contact"])
        number = session.scalar(select(Owner.id).where(*same).order_by(Owner.id).limit(1))
        edit = Edit(owner_id=number) if number else _of_owner(named)
        return replace(edit, plate=plate, note=note, tags=tags)
    other = owners.setdefault(vehicle.owner.id, update)
    if other is not update and other.of_owner() != given:
        raise RegisterError(
            f"names owner {vehicle.owner.id} otherwise than row {other.row.number}: they have one owner"
        )
    if given.get("owner", vehicle.owner.name) != vehicle.owner.name:
        rows = {each.vehicle for each in updates if each.of_owner()}
        if missing := sorted({each.id for each in vehicle.owner.vehicles} - rows):
            raise RegisterError(
                f"owner {vehicle.owner.id} has further vehicles ({', '.join(map(str, missing[:5]))}): name the new "
                "owner in their rows too, or use `edit --new-owner`"
            )
    return replace(_of_owner(given), plate=plate, note=note, tags=tags)


def _of_owner(words: Mapping[str, str]) -> Edit:
    return Edit(owner=words.get("owner"), flat=words.get("flat"), contact=words.get("contact"))
