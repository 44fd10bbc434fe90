"""Cells of a table as text, from CSV or Parquet."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet


def read_rows(path: Path, *, known: Sequence[str], required: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Row number, from 2, and cells of each row that holds something.

    Raises ValueError, naming file, row and column, for a file of another kind, a column that is not known, stands twice
    or is missing, and a row of another length."""
    readers: dict[str, Callable[[Path], tuple[list[str], list[list[str]]]]] = {".csv": _csv, ".parquet": _parquet}
    if (reader := readers.get(path.suffix.lower())) is None:
        raise ValueError(f"a manifest is a .csv or a .parquet file, not {path}")
    header, table = reader(path)
    for column in header:
        if column not in known:
            raise ValueError(f"{path}, row 1: unknown column {column!r}; known: {', '.join(known)}")
        if header.count(column) > 1:
            raise ValueError(f"{path}, row 1: column {column!r} stands twice")
    for column in required:
        if column not in header:
            raise ValueError(f"{path}, row 1: column {column!r} is missing")
    rows = []
    for number, cells in enumerate(table, start=2):
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise ValueError(f"{path}, row {number}: {len(cells)} cells under {len(header)} columns")
        rows.append((number, dict(zip(header, cells, strict=True))))
    return rows


def _csv(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")  # read_text would make another character of a carriage return
        table = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""), strict=True)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}") from error
    return (table[0], table[1:]) if table else ([], [])


def _parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from error
    columns = [[_cell(value) for value in column.to_pylist()] for column in table.columns]
    return table.column_names, [list(cells) for cells in zip(*columns, strict=True)]


def _cell(value: Any) -> str:
    """A Parquet value as it would stand in a CSV file."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of whole numbers with gaps becomes one of floats in pandas
    if isinstance(value, date):
        return value.isoformat()
    return str(value).strip()
