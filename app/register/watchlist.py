"""Entries of the lists that concern the vehicle of a query: by its number, its plate, and texts near to a listed plate.

An entry counts as `exact` for the vehicle that matches, for its registered plate, and for a text that was read with
confidence and equals the listed plate but for blanks, hyphens, accents and capitals. Anything nearer than that is for
a person to compare. Errors lie on the side of the gate: what may be denied stops it, what may be allowed opens none.
"""

import logging
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.register.list_tables import ListEntry
from app.register.lists import Kind
from app.register.matcher import Decision, Outcome
from app.register.plate_evidence import PlateFinding, counting
from app.register.plate_search import PlateTable, cost, form
from app.register.schema import Plate, now
from models.alphabet import plain

_log = logging.getLogger(__name__)
_CHUNK = 500  # numbers in one query
_JUMP = timedelta(seconds=5)


@dataclass(frozen=True)
class Listed:
    """An entry that concerns the vehicle of a query.

    Args:
        exact: whether it does for certain; otherwise a person has to compare.
        stops: whether no gate may open because of it.
    """

    entry: int
    kind: str
    reason: str
    flat: str
    plate: str | None
    vehicle: int | None
    ends: datetime | None
    exact: bool
    stops: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.__dict__, "ends": self.ends and self.ends.isoformat()}


class SteadyClock:
    """The time of day, and a second one that follows it but never goes back while the process runs."""

    def __init__(self) -> None:
        self._wall, self._started = now(), time.monotonic()
        self._said = False

    def moments(self) -> tuple[datetime, datetime]:
        """The time of day, and the steady time: later where the clock was put back."""
        wall, elapsed = now(), time.monotonic()
        steady = self._wall + timedelta(seconds=elapsed - self._started)
        if wall >= steady - _JUMP:
            self._wall, self._started, self._said = wall, elapsed, False
            return wall, wall
        if not self._said:
            self._said = True
            back = (steady - wall).total_seconds()
            _log.warning("lists: the clock was put back by %d s; ends of entries still count", back)
        return wall, steady


@dataclass
class _Texts:
    """Plate texts of a query, in plain form.

    Args:
        read: all of them, with that of the camera itself.
        certain: those that were read with confidence.
        own: registered plate of the vehicle that matches.
        shown: registered plates of the vehicles that an unsure answer shows.
    """

    read: set[str]
    certain: set[str]
    own: str
    shown: set[str]


class Watchlist:
    """The listed plates of a database, in memory; for several threads. Every entry found there is read again in the
    transaction of the sighting, so that one that was removed or changed meanwhile does not count."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._clock = SteadyClock()
        self._clear()

    def _clear(self) -> None:
        self._table = PlateTable()
        self._newest = self._held = 0

    def listed(
        self,
        session: Session,
        decision: Decision,
        plate: PlateFinding | None,
        least_confidence: float,
        camera_plate: str = "",
    ) -> list[Listed]:
        """Entries that count now, denials first, then those that are exact."""
        with self._turn:
            if not self._follow(session):
                return []
        is_match = decision.outcome is Outcome.match
        vehicles = [decision.vehicle] if is_match and decision.vehicle else [each.vehicle for each in decision.shown()]
        texts = _texts(session, vehicles, is_match, plate, least_confidence, camera_plate)
        found: dict[int, tuple[bool, bool]] = {}  # exact and stops, by number of the entry
        for number in session.scalars(select(ListEntry.id).where(ListEntry.vehicle_id.in_(vehicles))):
            found[number] = is_match, True
        with self._turn:
            for number, exact, stops in self._by_plate(texts):
                before = found.get(number, (False, False))
                found[number] = before[0] or exact, before[1] or stops
        moments = self._clock.moments()
        rows = [row for row in _rows(session, found) if _counts(row, moments)]
        listed = [_listed(row, *found[row.id], texts) for row in rows]
        return sorted((each for each in listed if each), key=lambda each: (each.kind != Kind.deny, not each.exact))

    def _follow(self, session: Session) -> bool:
        """Whether there is any entry; those that came, or went, since the last time are followed."""
        newest, count = session.execute(select(func.max(ListEntry.id), func.count(ListEntry.folded))).one()
        added = self._read(session) if newest is not None and newest > self._newest else []
        if self._held + len(added) != count:  # some were removed
            self._clear()
            added = self._read(session)
        if added:
            self._table.put(added)
        self._newest, self._held = max(self._newest, newest or 0), self._held + len(added)
        return newest is not None

    def _read(self, session: Session) -> list[tuple[int, str]]:
        query = select(ListEntry.id, ListEntry.folded).where(ListEntry.id > self._newest)
        return [(number, folded) for number, folded in session.execute(query) if folded]

    def _by_plate(self, texts: _Texts) -> Iterable[tuple[int, bool, bool]]:
        """Entries near to a text, and whether each is exact and stops a gate."""
        for text in texts.read:
            for found in self._table.find(text):
                same, alike = not found.cost, form(found.plate) == form(text)
                if same or alike or text != texts.own:  # else it is another plate, read and known without an error
                    yield found.vehicle, same and text in texts.certain, True
        for text in texts.shown | ({texts.own} if texts.own else set()):
            for found in self._table.find(text):
                if form(found.plate) == form(text):
                    yield found.vehicle, not found.cost and text == texts.own, True


def _texts(
    session: Session,
    vehicles: Sequence[int],
    is_match: bool,
    plate: PlateFinding | None,
    least_confidence: float,
    camera_plate: str,
) -> _Texts:
    held = {plain(text) for text in session.scalars(select(Plate.text).where(Plate.vehicle_id.in_(vehicles)))}
    read, certain = {plain(camera_plate)}, set[str]()
    if plate is not None:
        certain = {plain(each.text) for each in counting(plate.reads, least_confidence)}
        joint = {plain(plate.together.text)} if plate.together else set()
        read |= {plain(each.text) for each in plate.reads} | joint
        certain |= joint if certain else set()
    return _Texts(read - {""}, certain - {""}, next(iter(held), "") if is_match else "", set() if is_match else held)


def _rows(session: Session, numbers: Collection[int]) -> Iterable[ListEntry]:
    wanted = sorted(numbers)
    for start in range(0, len(wanted), _CHUNK):
        yield from session.scalars(select(ListEntry).where(ListEntry.id.in_(wanted[start : start + _CHUNK])))


def _counts(row: ListEntry, moments: Sequence[datetime]) -> bool:
    """Whether an entry counts: a denial by either clock, any other by both."""
    by_clock = [
        (row.begins is None or row.begins <= moment) and (row.ends is None or moment < row.ends) for moment in moments
    ]
    return any(by_clock) if row.kind == Kind.deny else all(by_clock)


def _listed(row: ListEntry, exact: bool, stops: bool, texts: _Texts) -> Listed | None:
    """The entry as an answer has it; None for an allowed plate that differs from one that was read with confidence."""
    if row.kind != Kind.deny:
        # Photographs that show two plates open nothing; and a text that is a resident's own is no visitor's.
        agree = texts.certain == {row.folded} and all(cost(text, row.folded or "") is not None for text in texts.read)
        exact = exact and (row.vehicle_id is not None or row.folded == texts.own or agree)
        if not exact and texts.own and texts.own in texts.read:
            return None
    about = {name: getattr(row, name) for name in ("kind", "reason", "flat", "plate", "ends")}
    stops = stops and row.kind == Kind.deny
    return Listed(entry=row.id, vehicle=row.vehicle_id, exact=exact, stops=stops, **about)
