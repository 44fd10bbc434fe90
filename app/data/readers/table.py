"""Cells of a table as text, from CSV or Parquet."""

import csv
import io
import math
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.data.readers.errors import DataSetError
from app.settings.nearest import did_you_mean

if TYPE_CHECKING:
    import pyarrow


def read_rows(path: Path, *, known: Sequence[str], required: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Row number, from 2, and cells of each row that holds something.

    Raises ValueError, naming file, row and column, for a file of another kind, a column that is not known, stands twice
    or is missing, and a row of another length."""
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise DataSetError(f"a manifest is a .csv or a .parquet file, not {path}")
    header, table = _csv(path, known) if suffix == ".csv" else _parquet(path)
    for column in header:
        if column not in known:
            hint = _separated(header, known) or _unnamed(column) or did_you_mean(column, known)
            raise DataSetError(f"{path}, row 1: unknown column {column!r}; known: {', '.join(known)}{hint}")
        if header.count(column) > 1:
            raise DataSetError(f"{path}, row 1: column {column!r} stands twice")
    for column in required:
        if column not in header:
            raise DataSetError(f"{path}, row 1: column {column!r} is missing")
    rows = []
    for number, cells in enumerate(table, start=2):
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise DataSetError(f"{path}, row {number}: {len(cells)} cells under {len(header)} columns")
        rows.append((number, dict(zip(header, cells, strict=True))))
    return rows


def _separated(header: Sequence[str], known: Sequence[str]) -> str:
    """A hint for a table whose cells have something else than commas between; nothing if they seem to have commas."""
    line = ",".join(header)
    if line.casefold().startswith("sep="):
        return "; this line is for Excel: save the table as CSV with commas between the cells, without it"
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        cells = [cell.strip(' "') for cell in line.split(sign)]
        if len(cells) > 1 and sum(cell.casefold() in known for cell in cells) > sum(cell in known for cell in header):
            return f"; the cells have {name} between: save the table as CSV with commas"
    return ""


def _unnamed(column: str) -> str:
    index = column == "" or column.startswith(("Unnamed:", "__index_level_"))
    return "; is it the index of a pandas table? Write it with index=False" if index else ""


def _csv(path: Path, known: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    data = path.read_bytes()
    starts = {
        b"PK\3\4": "a packed file, such as Excel's: save the table as CSV",
        b"PAR1": "a Parquet file: its name must end in .parquet",
        b"\xff\xfe": "in UTF-16: save the table as CSV in UTF-8",
        b"\xfe\xff": "in UTF-16: save the table as CSV in UTF-8",
    }
    if found := next((kind for start, kind in starts.items() if data.startswith(start)), None):
        raise DataSetError(f"{path} is {found}")
    if b"\0" in data:
        raise DataSetError(f"{path} is not a CSV file in UTF-8: it holds zeros, as UTF-16 does; save it in UTF-8")
    try:
        text = data.decode("utf-8-sig").removeprefix("\ufeff")  # some programs write the mark twice
        table = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""), strict=True)]
    except UnicodeDecodeError as error:
        raise DataSetError(f"{path} is not a CSV file in UTF-8: {error}; save the table as CSV in UTF-8") from error
    except csv.Error as error:
        hint = _separated(text.partition("\n")[0].split(","), known)
        raise DataSetError(f"{path} is not a CSV file in UTF-8: {error}{hint}") from error
    return (table[0], table[1:]) if table else ([], [])


def _parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    import pyarrow.parquet  # a third of a second, for Parquet alone

    try:
        table = pyarrow.parquet.read_table(path)
        names = [name.strip() for name in table.column_names]
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataSetError(f"{path} is not a Parquet file: {error}") from error
    columns = [_column(path, name, column) for name, column in zip(names, table.columns, strict=True)]
    return names, [list(cells) for cells in zip(*columns, strict=True)]


def _column(path: Path, name: str, column: "pyarrow.ChunkedArray") -> list[str]:
    """The cells of a column. Raises ValueError, naming file, row and column, for a value that Python cannot hold."""
    import pyarrow

    if pyarrow.types.is_timestamp(column.type) and column.type.unit == "ns":  # as Python's, without pandas
        column = column.cast(pyarrow.timestamp("us", tz=column.type.tz), safe=False)
    elif pyarrow.types.is_duration(column.type) and column.type.unit == "ns":
        column = column.cast(pyarrow.duration("us"), safe=False)
    cells = []
    for number, value in enumerate(column, start=2):
        try:
            cells.append(_cell(value.as_py()))
        except (ValueError, OverflowError, KeyError, pyarrow.ArrowException) as error:  # KeyError: of a time zone
            reason = f"{column.type} that cannot be read ({error}); write the column as text"
            raise DataSetError(f"{path}, row {number}, column {name}: {reason}") from error
    return cells


def _cell(value: Any) -> str:
    """A Parquet value as it would stand in a CSV file."""
    if value is None or (isinstance(value, float | Decimal) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return str(int(value))  # a column of whole numbers with gaps becomes one of floats in pandas
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace").strip()
    if isinstance(value, list):  # plate_corners as numbers
        return " ".join(map(_cell, value))
    return str(value).strip()
