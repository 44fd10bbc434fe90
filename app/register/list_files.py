"""Lists as tables: CSV out, and CSV or Parquet in. Times are those of the site; ends of days are 24:00."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from app.data.readers.table import read_rows
from app.register.cells import unquoted
from app.register.history import csv_lines
from app.register.list_tables import ListEntry
from app.register.lists import Kind, ListError, NewEntry
from app.register.records import MOST_NUMBER
from app.register.site_time import Zone, read_moment, written, written_end
from models.errors import FedVehicleReidError

_GIVEN = ("kind", "plate", "vehicle", "reason", "flat", "begin", "end")
COLUMNS = ("entry", *_GIVEN, "account", "created")
"""`entry`, `account` and `created` are those of the register, and are not read."""
_AT_ONCE = 500


def write_entries(rows: Iterable[ListEntry], zone: Zone) -> Iterator[str]:
    """Entries as CSV, a part at a time; no cell is one that a spreadsheet would compute."""
    yield csv_lines([COLUMNS])
    left = iter(rows)
    while part := list(islice(left, _AT_ONCE)):
        yield csv_lines(_cells(row, zone) for row in part)


MOST_ROWS = 2000
"""Of a table: all are added in one turn of writing, and identifications wait for it for ten seconds at the most."""


def read_entries(path: Path, zone: Zone) -> list[tuple[str, NewEntry]]:
    """The entries of a table, each with its place, which begins the message of an error. Raises ListError naming the
    row, and DataSetError for a table of other columns."""
    found = []
    for number, cells in read_rows(path, known=COLUMNS, required=("kind",)):
        place = f"{path}, row {number}"
        try:
            found.append((place, _entry(cells, zone)))
        except FedVehicleReidError as error:
            raise ListError(f"{place}: {error}") from error
        if len(found) > MOST_ROWS:
            raise ListError(f"{path} has more than {MOST_ROWS:,} rows: give as many at once")
    return found


def _cells(row: ListEntry, zone: Zone) -> list[object]:
    times = [written(row.begins, zone), written_end(row.ends, zone)]
    about = [row.id, row.kind, row.plate, row.vehicle_id, row.reason, row.flat]
    return [*about, *times, row.account, written(row.created, zone)]


def _entry(cells: Mapping[str, str], zone: Zone) -> NewEntry:
    given = {column: unquoted(cells.get(column, "")).strip() for column in _GIVEN}
    if given["kind"] not in list(Kind):
        raise ListError(f"column kind takes {', '.join(Kind)}, not {given['kind'][:40]!r}")
    number = given["vehicle"]
    if number and not (number.isascii() and number.isdecimal() and len(number) < 11 and int(number) <= MOST_NUMBER):
        raise ListError(f"column vehicle is no number of a vehicle: {number[:40]!r}")
    return NewEntry(
        Kind(given["kind"]),
        given["plate"],
        int(number) if number else None,
        given["reason"],
        given["flat"],
        read_moment("begin", given["begin"], zone),
        read_moment("end", given["end"], zone, is_end=True),
    )
