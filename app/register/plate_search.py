"""Plates as people write them, and those of a register that are near to a recognised text, whatever the vehicle.

Look-alike characters cost little, one real error is allowed.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.register.database import Database
from app.register.errors import RegisterError
from app.register.records import changes_since
from app.register.schema import Plate
from models.alphabet import plain

_LONGEST_PLATE = 16
LOOK_ALIKES = ("0ODQ", "1IL", "2Z", "4A", "5S", "6G", "7T", "8B", "UV", "MNHW")
"""Characters that are taken for one another. Chosen by their shapes, not measured: closed rounds, single strokes, and
pairs that differ by a serif, a gap or the angle of a stroke. Each character stands in one group, so that every text has
one form in which look-alikes are equal."""
LOOK_ALIKE_COST, ERROR_COST = 0.25, 1.0
MOST_COST = 1.5
"""An error and two look-alikes, or six look-alikes. Less than two errors: there is at most one."""
_LEAST_WITH_ERROR = 4  # characters read: of fewer, one error leaves too little
_FORM = str.maketrans({other: group[0] for group in LOOK_ALIKES for other in group[1:]})
_CHUNK = 500  # numbers in one query


def normal_plate(text: str) -> str:
    """Capital letters and digits alone: "ab 12-c" and "AB12C" are one plate.

    Raises RegisterError if nothing or too much is left."""
    normal = "".join(letter for letter in unicodedata.normalize("NFKC", text).upper() if letter.isalnum())
    if not 1 <= len(normal) <= _LONGEST_PLATE:
        raise RegisterError(f"not a plate: {text!r}")
    return normal


def form(text: str) -> str:
    """A text in which look-alikes are one character; as long as before."""
    return text.translate(_FORM)


def cost(read: str, plate: str) -> float | None:
    """Cost of the cheapest edit from one text to the other: `LOOK_ALIKE_COST` for each look-alike, and `ERROR_COST` for
    at most one character that is missing, too many or another one. None if there is no such edit, or none up to
    `MOST_COST`.

    Both texts in `models.alphabet.plain` form."""
    if len(read) == len(plate):
        errors = sum(a != b for a, b in zip(form(read), form(plate), strict=True))
        alike = _differing(read, plate) - errors
    else:
        shorter, longer = sorted((read, plate), key=len)
        rests = [longer[:place] + longer[place + 1 :] for place in range(len(longer))]
        errors, alike = 1, min((_differing(rest, shorter) for rest in rests if form(rest) == form(shorter)), default=-1)
        if alike < 0:
            return None
    if errors and len(read) < _LEAST_WITH_ERROR:
        return None
    total = errors * ERROR_COST + alike * LOOK_ALIKE_COST
    return total if total <= MOST_COST else None


def _differing(first: str, second: str) -> int:
    return sum(a != b for a, b in zip(first, second, strict=True))


@dataclass(frozen=True)
class PlateCandidate:
    """A plate of the register near to a text.

    Args:
        plate: as it was enrolled.
        cost: see `cost`; 0 for the same text.
    """

    vehicle: int
    plate: str
    cost: float


class PlateTable:
    """Plates by vehicle, as arrays of characters that are compared all at once: 100,000 take some milliseconds."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[str, str]] = {}  # by vehicle: as enrolled, and plain
        self._rows: dict[int, tuple[NDArray[np.int64], NDArray[np.uint32]]] = {}  # by length L: (N,), (L, N)

    def put(self, plates: Iterable[tuple[int, str]]) -> None:
        """Add plates of vehicles that have none here."""
        lengths: dict[int, list[tuple[int, str]]] = {}
        for vehicle, text in plates:
            if read := plain(text):
                self._held[vehicle] = text, read
                lengths.setdefault(len(read), []).append((vehicle, form(read)))
        for length, rows in lengths.items():
            vehicles, forms = (list(column) for column in zip(*rows, strict=True))
            numbers, characters = np.array(vehicles, np.int64), _characters(forms)
            if length in self._rows:
                before = self._rows[length]
                numbers, characters = np.append(before[0], numbers), np.hstack([before[1], characters])
            self._rows[length] = numbers, characters

    def drop(self, vehicles: Iterable[int]) -> None:
        """Take plates out; vehicles without one are skipped."""
        gone: dict[int, list[int]] = {}
        for vehicle in vehicles:
            if vehicle in self._held:
                gone.setdefault(len(self._held.pop(vehicle)[1]), []).append(vehicle)
        for length, numbers in gone.items():
            kept = ~np.isin(self._rows[length][0], numbers)
            self._rows[length] = self._rows[length][0][kept], self._rows[length][1][:, kept]

    def plain_plate(self, vehicle: int) -> str | None:
        """The plate of a vehicle in `plain` form; None without one."""
        held = self._held.get(vehicle)
        return held and held[1]

    def find(self, text: str) -> list[PlateCandidate]:
        """Plates with a `cost` from a text in `plain` form, cheapest first, then by vehicle."""
        if not text:
            return []
        characters_read = _characters([form(text)])[:, 0]
        near: list[int] = []
        for length in (len(text) - 1, len(text), len(text) + 1):
            if length in self._rows:
                numbers, characters = self._rows[length]
                near += numbers[_one_apart(characters, characters_read)].tolist()
        found = []
        for vehicle in near:
            plate, read = self._held[vehicle]
            if (its := cost(text, read)) is not None:
                found.append(PlateCandidate(vehicle, plate, its))
        return sorted(found, key=lambda candidate: (candidate.cost, candidate.vehicle))


class PlateSearch:
    """The plates of a database. It is read at the first query, and followed from then on."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.table = PlateTable()
        self._seen = -1

    def find(self, text: str) -> list[PlateCandidate]:
        """`PlateTable.find` in the register as it is now."""
        self.prepare()
        return self.table.find(text)

    def plain_plate(self, vehicle: int) -> str | None:
        """`PlateTable.plain_plate` in the register as it is now."""
        self.prepare()
        return self.table.plain_plate(vehicle)

    def prepare(self) -> None:
        """Read what changed since the last time."""
        with self.database.reading() as session:
            last, changed = changes_since(session, self._seen)
            if self._seen < 0:
                self._read(session, None)
            self.table.drop(changed)
            vehicles = sorted(changed)
            for start in range(0, len(vehicles), _CHUNK):
                self._read(session, vehicles[start : start + _CHUNK])
            self._seen = last

    def _read(self, session: Session, vehicles: list[int] | None) -> None:
        query = select(Plate.vehicle_id, Plate.text).order_by(Plate.vehicle_id)
        rows = session.execute(query if vehicles is None else query.where(Plate.vehicle_id.in_(vehicles)))
        self.table.put((vehicle, text) for vehicle, text in rows)


def _characters(texts: list[str]) -> NDArray[np.uint32]:
    """Texts of one length L as numbers of their characters (L, N): a place of all texts lies together in memory."""
    rows = np.array(texts, f"U{len(texts[0])}").view(np.uint32).reshape(len(texts), -1)
    return np.ascontiguousarray(rows.T)


def _one_apart(plates: NDArray[np.uint32], text: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Mask (N,) of plates (P, N) at most one insertion, deletion or replacement from a text (L,); |P - L| <= 1."""
    length = min(len(plates), len(text))
    left = np.stack([plates[place] == text[place] for place in range(length)])  # (length, N)
    if len(plates) == len(text):
        return np.count_nonzero(left, axis=0) >= length - 1
    # One of the two has one character more: what agrees from the left and from the right makes up the shorter one.
    right = np.stack([plates[-place] == text[-place] for place in range(1, length + 1)])
    return _run(left) + _run(right) >= length


def _run(equal: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Length of the run of True from the first place on, of each column (L, N)."""
    going, count = np.ones(equal.shape[1], bool), np.zeros(equal.shape[1], np.intp)
    for row in equal:
        going &= row
        count += going
    return count
