"""Search by what a person types: a vehicle's number, a plate or a part of one, a flat, a tag, an owner.

The texts are held in memory and followed by the rows of `change`, as plates are for identification: a transaction that
changes a plate, a tag, an owner's name or a flat adds a row for each of its vehicles.
"""

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import String, cast, delete, select
from sqlalchemy.orm import Session, joinedload, selectinload

from app.register.database import Database
from app.register.errors import RegisterError
from app.register.plate_search import PlateTable, form
from app.register.records import MOST_NUMBER, changes_since, trail
from app.register.schema import Found, Owner, Plate, Vehicle, now
from app.register.sightings import FOUND_FOR
from app.register.text_search import TextColumn, beginning, folded, has_wildcard, whole, with_wildcards
from models.alphabet import plain

PAGE = 20
LEAST_OF_GUARDS = 3
"""Letters and digits that a guard has to give."""
_LEAST_OF_A_PART = 2
_CHUNK = 500  # numbers in one query
_NUMBER = re.compile(r"(?:vehicle\s*|#)?(\d{1,10})", re.IGNORECASE | re.ASCII)
_FLAT = re.compile(r"flat\s+(\S.*)", re.IGNORECASE)
_TAG = re.compile(r"tag\s+(\S.*)", re.IGNORECASE)
_BETWEEN = "\x1f"  # on both sides of a tag; no tag holds one


class By(IntEnum):
    """The reason why a vehicle was found, the best first."""

    number = 0
    plate = 1
    flat = 2
    plate_begins = 3
    plate_part = 4
    plate_alike = 5
    plate_similar = 6
    tag = 7
    owner = 8


@dataclass(frozen=True)
class Hit:
    """A vehicle that was found.

    Args:
        owner: None without one, and where it was found by something else.
        image: name of its first enrolled image.
    """

    vehicle: int
    by: By
    plate: str | None
    flat: str | None
    owner: str | None
    image: str | None


@dataclass(frozen=True)
class Hits:
    """One page of what was found.

    Args:
        total: hits of all pages.
    """

    page: int
    total: int
    hits: list[Hit]

    @property
    def pages(self) -> int:
        """Number of pages, 1 for nothing."""
        return max(1, -(-self.total // PAGE))


class Search:
    """Search in a database, for several threads. It is read at the first search, and followed from then on."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._turn = threading.Lock()
        self._seen = -1
        self._clear()

    def _clear(self) -> None:
        self._plates, self._forms = TextColumn(), TextColumn()  # `plain`, and with look-alikes as one character
        self._near = PlateTable()
        self._owners, self._flats, self._tags = TextColumn(), TextColumn(), TextColumn()

    def for_manager(self, text: str, page: int, account: str) -> Hits:
        """One page of the vehicles that a text finds. Where an owner's name found one, the trail says who saw it.

        Raises RegisterError for a text without a letter or digit."""
        _require(text, 1)
        with self._turn:
            self._follow()
            vehicles, reasons = _best(self._found(text))
        chosen = slice((page - 1) * PAGE, page * PAGE)
        hits = self._hits(vehicles[chosen], reasons[chosen])
        if by_owner := [hit.vehicle for hit in hits if hit.by is By.owner]:
            with self.database.writing() as session:
                trail(session, account, "search owners", "", {"vehicles": by_owner})
        return Hits(page, len(vehicles), hits)

    def for_guard(self, text: str, account: str) -> Hits:
        """The first vehicles that a plate or a part of one finds. Flat and image are shown of a vehicle whose whole
        plate was given, and the guard may look at that one for the next twelve hours; the trail says so.

        Raises RegisterError for a text of fewer than `LEAST_OF_GUARDS` letters and digits."""
        _require(text, LEAST_OF_GUARDS)
        with self._turn:
            self._follow()
            vehicles, reasons = _best(self._by_plate(text))
        hits = [
            hit if hit.by is By.plate else Hit(hit.vehicle, hit.by, hit.plate, None, None, None)
            for hit in self._hits(vehicles[:PAGE], reasons[:PAGE])
        ]
        if hits:
            shown = [hit.vehicle for hit in hits if hit.by is By.plate]
            with self.database.writing() as session:
                session.execute(delete(Found).where(Found.created < now() - FOUND_FOR))
                there = session.scalars(select(Vehicle.id).where(Vehicle.id.in_(shown)))
                session.add_all(Found(account=account, vehicle_id=number) for number in there)
                trail(session, account, "search plates", "", {"plates": len(hits), "shown": shown})
        return Hits(1, len(vehicles), hits)

    def prepare(self) -> None:
        """Read what changed since the last time, all of it at first."""
        with self._turn:
            self._follow()

    def _found(self, text: str) -> list[tuple[By, NDArray[np.int64]]]:
        """Vehicles by reason."""
        found = []
        if match := _NUMBER.fullmatch(text):
            found.append((By.number, self._by_number(int(match[1]))))
        if match := _FLAT.fullmatch(text):
            return [(By.flat, self._flats.find(whole(with_wildcards(match[1], folded))))]
        if match := _TAG.fullmatch(text):
            return [(By.tag, self._tags.find(_tag(with_wildcards(match[1], folded))))]
        pattern = with_wildcards(text, folded)
        found += [*self._by_plate(text), (By.flat, self._flats.find(whole(pattern)))]
        if pattern and not has_wildcard(text):
            found.append((By.tag, self._tags.find(_tag(pattern))))
        if has_wildcard(text):
            return [*found, (By.owner, self._owners.find(whole(pattern)))]
        if len(pattern) >= _LEAST_OF_A_PART:
            found.append((By.owner, self._by_words(pattern.split())))
        return found

    def _by_number(self, number: int) -> NDArray[np.int64]:
        with self.database.reading() as session:
            is_there = number <= MOST_NUMBER and session.get(Vehicle, number) is not None
        return np.array([number] if is_there else [], np.int64)

    def _by_plate(self, text: str) -> list[tuple[By, NDArray[np.int64]]]:
        pattern = with_wildcards(text, plain)
        if not pattern:
            return []
        if has_wildcard(text):
            alike = self._forms.find(whole(form(pattern)))
            return [(By.plate_part, self._plates.find(whole(pattern))), (By.plate_alike, alike)]
        found = [(By.plate, self._plates.find(whole(pattern)))]
        if len(pattern) < _LEAST_OF_A_PART:
            return found
        near = [candidate.vehicle for candidate in self._near.find(pattern)]
        return [
            *found,
            (By.plate_begins, self._plates.find(beginning(pattern))),
            (By.plate_part, self._plates.find(pattern)),
            (By.plate_alike, self._forms.find(form(pattern))),
            (By.plate_similar, np.array(near, np.int64)),
        ]

    def _by_words(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Vehicles of owners whose name has every word, in any order."""
        found = self._owners.find(words[0])
        for word in words[1:]:
            found = np.intersect1d(found, self._owners.find(word), assume_unique=True)
        return found

    def _hits(self, vehicles: NDArray[np.int64], reasons: NDArray[np.int64]) -> list[Hit]:
        """What is shown of vehicles; those that were forgotten meanwhile are left out."""
        numbers = vehicles.tolist()
        with self.database.reading() as session:
            options = joinedload(Vehicle.plate), joinedload(Vehicle.owner), selectinload(Vehicle.views)
            rows = session.scalars(select(Vehicle).where(Vehicle.id.in_(numbers)).options(*options))
            held = {row.id: row for row in rows}
        return [
            _hit(held[number], By(by)) for number, by in zip(numbers, reasons.tolist(), strict=True) if number in held
        ]

    def _follow(self) -> None:
        with self.database.reading() as session:
            last, changed = changes_since(session, self._seen)
            if self._seen < 0:
                self._clear()
                self._read(session, None)
            vehicles = sorted(changed)
            for column in (self._plates, self._forms, self._owners, self._flats, self._tags, self._near):
                column.drop(vehicles)
            for start in range(0, len(vehicles), _CHUNK):
                self._read(session, vehicles[start : start + _CHUNK])
            self._seen = last

    def _read(self, session: Session, vehicles: list[int] | None) -> None:
        plates = select(Plate.vehicle_id, Plate.text)
        owners = select(Vehicle.id, Owner.name, Owner.flat).join(Owner, Vehicle.owner_id == Owner.id)
        tags = select(Vehicle.id, Vehicle.tags).where(cast(Vehicle.tags, String) != "[]")
        if vehicles is not None:
            tags = tags.where(Vehicle.id.in_(vehicles))
            plates, owners = plates.where(Plate.vehicle_id.in_(vehicles)), owners.where(Vehicle.id.in_(vehicles))
        held = [(vehicle, text) for vehicle, text in session.execute(plates)]
        whose = [(vehicle, name, flat) for vehicle, name, flat in session.execute(owners)]
        self._near.put(held)
        compared = [(vehicle, plain(text)) for vehicle, text in held]
        self._plates.put(compared)
        self._forms.put((vehicle, form(text)) for vehicle, text in compared)
        self._owners.put((vehicle, folded(name)) for vehicle, name, _ in whose)
        self._flats.put((vehicle, folded(flat)) for vehicle, _, flat in whose)
        self._tags.put((vehicle, "".join(map(_tag, map(folded, held)))) for vehicle, held in session.execute(tags))


def _tag(pattern: str) -> str:
    return f"{_BETWEEN}{pattern}{_BETWEEN}"


def _require(text: str, least: int) -> None:
    if sum(len(plain(character)) > 0 for character in text) < least:  # signs of which nothing is compared do not count
        raise RegisterError(
            f"type at least {LEAST_OF_GUARDS} letters or digits of the plate"
            if least > 1
            else "type a plate, an owner, a flat or the number of a vehicle"
        )


def _best(found: Iterable[tuple[By, NDArray[np.int64]]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each vehicle once, with the best reason; by reason, then in the order in which they were found."""
    ordered = sorted(found, key=lambda pair: pair[0])
    vehicles = np.concatenate([np.empty(0, np.int64), *(each for _, each in ordered)])
    reasons = np.repeat(np.array([by for by, _ in ordered], np.int64), [len(each) for _, each in ordered])
    first = np.sort(np.unique(vehicles, return_index=True)[1])
    return vehicles[first], reasons[first]


def _hit(vehicle: Vehicle, by: By) -> Hit:
    plate, owner = vehicle.plate, vehicle.owner
    image = vehicle.views[0].picture if vehicle.views else None
    name = owner.name if owner and by is By.owner else None
    return Hit(vehicle.id, by, plate.text if plate else None, owner.flat if owner else None, name, image)
