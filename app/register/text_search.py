"""Texts by vehicle, in which a part is found among 100,000 in some milliseconds.

All texts lie in one array of characters, each between two ends of a line, and are compared at once. A pattern is a text
with wildcards: `*` stands for any characters, `?` for one.
"""

import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_END = "\n"  # on both sides of a text; no text holds one
_ONE, _MANY = "?", "*"
_NOWHERE = np.iinfo(np.int64).max
_LEAST_GAPS = 1000  # texts that were taken out before the array is made anew


def folded(text: str) -> str:
    """A text as it is compared: small letters without accents; words of letters and digits, one blank between two."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = (character for character in decomposed if not unicodedata.combining(character))
    return " ".join("".join(character if character.isalnum() else " " for character in letters).split())


def has_wildcard(text: str) -> bool:
    """Whether a text has a wildcard."""
    return _ONE in text or _MANY in text


def with_wildcards(text: str, fold: Any) -> str:
    """A text whose parts between wildcards are folded, the wildcards as they are."""
    parts, part = list[str](), ""
    for character in text:
        if character in (_ONE, _MANY):
            parts += [fold(part), character]
            part = ""
        else:
            part += character
    return "".join([*parts, fold(part)])


def whole(pattern: str) -> str:
    """The pattern of a text that is all of this."""
    return f"{_END}{pattern}{_END}"


def beginning(pattern: str) -> str:
    """The pattern of a text that begins so."""
    return f"{_END}{pattern}"


class TextColumn:
    """One text for each vehicle that has one."""

    def __init__(self) -> None:
        self._row: dict[int, int] = {}
        self._clear()

    def _clear(self) -> None:
        self._vehicles = np.empty(0, np.int64)  # (N,)
        self._starts = np.empty(0, np.int64)  # (N,): place of each text's first end
        self._is_held = np.empty(0, np.bool_)  # (N,): False for one that was taken out
        self._characters = np.empty(0, np.uint32)  # (T,)
        self._rows = np.empty(0, np.int32)  # (T,): the row of each character

    def put(self, texts: Iterable[tuple[int, str]]) -> None:
        """Add texts of vehicles that have none here; empty ones are left out."""
        new = [(vehicle, text.replace(_END, " ")) for vehicle, text in texts if text]
        if not new:
            return
        first = len(self._vehicles)
        lines = [f"{_END}{text}{_END}" for _, text in new]
        self._row.update((vehicle, row) for row, (vehicle, _) in enumerate(new, start=first))
        lengths = np.fromiter(map(len, lines), np.int64, len(lines))
        numbers = np.arange(first, first + len(new), dtype=np.int32)
        self._starts = np.append(self._starts, len(self._characters) + np.cumsum(lengths) - lengths)
        self._vehicles = np.append(self._vehicles, np.array([vehicle for vehicle, _ in new], np.int64))
        self._is_held = np.append(self._is_held, np.ones(len(new), np.bool_))
        self._characters = np.append(self._characters, _codes("".join(lines)))
        self._rows = np.append(self._rows, np.repeat(numbers, lengths))

    def drop(self, vehicles: Iterable[int]) -> None:
        """Take texts out; vehicles without one are skipped."""
        for row in [self._row.pop(vehicle) for vehicle in vehicles if vehicle in self._row]:
            self._is_held[row] = False
            end = self._starts[row + 1] if row + 1 < len(self._starts) else len(self._characters)
            # What was forgotten must not stay in memory: its characters go at once, its place later.
            self._characters[self._starts[row] : end] = 0
        if len(self._vehicles) - len(self._row) > max(_LEAST_GAPS, len(self._row) // 10):
            self._close_gaps()

    def _close_gaps(self) -> None:
        kept = self._is_held[self._rows]
        rows = np.cumsum(self._is_held) - 1
        self._starts = (np.cumsum(kept) - 1)[self._starts[self._is_held]]
        self._characters, self._rows = self._characters[kept], rows[self._rows[kept]].astype(np.int32)
        self._vehicles = self._vehicles[self._is_held]
        self._is_held = np.ones(len(self._vehicles), np.bool_)
        self._row = {vehicle: row for row, vehicle in enumerate(self._vehicles.tolist())}

    def find(self, pattern: str) -> NDArray[np.int64]:
        """Vehicles whose text has the pattern somewhere, ascending; see `whole` and `beginning`."""
        ends: NDArray[np.int64] | None = None
        for part in pattern.split(_MANY):
            if part in ("", _END):  # an end alone, at either side of the pattern, is always there
                continue
            places = self._places(part)
            rows = self._rows[places]
            if ends is not None:
                behind = places >= ends[rows]
                places, rows = places[behind], rows[behind]
            first = np.ones(len(rows), np.bool_)
            first[1:] = rows[1:] != rows[:-1]
            ends = np.full(len(self._vehicles), _NOWHERE)
            ends[rows[first]] = places[first] + len(part)
        if ends is None:
            return np.empty(0, np.int64)
        return np.sort(self._vehicles[(ends != _NOWHERE) & self._is_held])

    def _places(self, part: str) -> NDArray[np.int64]:
        """Where a part without `*` begins, ascending."""
        codes, last = _codes(part), len(self._characters) - len(part) + 1
        if last <= 0:
            return np.empty(0, np.int64)
        known = [index for index, character in enumerate(part) if character != _ONE]
        # A letter or digit first: ends of lines are everywhere.
        known.sort(key=lambda index: part[index] == _END)
        start = known[0] if known else 0
        here = self._characters[start : start + last]
        places = np.flatnonzero(here == codes[start] if known else here != ord(_END)).astype(np.int64)
        for index in known[1:]:
            places = places[self._characters[places + index] == codes[index]]
        for index, character in enumerate(part):
            if character == _ONE:
                places = places[self._characters[places + index] != ord(_END)]
        return places[self._rows[places] == self._rows[places + len(part) - 1]]


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint32)
