"""Lists of sightings and incidents: filtered, a page at a time from the newest on, and as tables."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import partial
from typing import TypeVar, TypeVarTuple

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.register.cells import quoted
from app.register.database import Database
from app.register.records import get, trail
from app.register.schema import Confirmation, Incident, Plate, Sighting, now

Ts = TypeVarTuple("Ts")
PAGE = 50
_CHUNK = 1000  # rows of a table that are read at once


@dataclass(frozen=True)
class Chosen:
    """The rows of a list that somebody wants to see; None for all.

    Args:
        day: in the time zone `zone`.
        decision: of sightings, by the name of an outcome.
        vehicle: of an incident; of a sighting as it was named, or as somebody confirmed.
        account: whose they are.
        camera: name of the one that took the photographs of a sighting.
        is_open: of incidents.
    """

    day: date | None = None
    decision: str | None = None
    vehicle: int | None = None
    account: str | None = None
    camera: str | None = None
    is_open: bool | None = None
    zone: tzinfo = UTC


@dataclass(frozen=True)
class Seen:
    """A sighting in a list.

    Args:
        vehicle: as somebody confirmed, or as it was named; None for nobody that is registered.
        plate: of that vehicle.
        confirmed: the truth that somebody stated; None if nobody did.
        incidents: numbers of those that were reported of it.
    """

    sighting: Sighting
    vehicle: int | None
    plate: str | None
    confirmed: str | None
    incidents: list[int]

    @property
    def number(self) -> int:
        """Of the sighting."""
        return self.sighting.id

    @property
    def plate_read(self) -> str | None:
        """The plate text of the photographs."""
        text = self.sighting.answer.get("plate_text")
        return text["text"] if text else None


@dataclass(frozen=True)
class Reported:
    """An incident in a list, with the plate of its vehicle and the photographs of its sighting."""

    incident: Incident
    plate: str | None
    images: list[str]

    @property
    def number(self) -> int:
        """Of the incident."""
        return self.incident.id


Listed = TypeVar("Listed", Seen, Reported)


class History:
    """The sightings and incidents of a database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def sightings(self, chosen: Chosen, before: int | None = None, limit: int = PAGE) -> list[Seen]:
        """Sightings, newest first, from the one before number `before`."""
        with self.database.reading() as session:
            query = _before(_of_sightings(chosen), Sighting.id, before)
            return _seen(session, list(session.execute(query.limit(limit))))

    def sighting(self, number: int) -> Seen:
        """One sighting. Raises NotEnrolledError."""
        with self.database.reading() as session:
            get(session, Sighting, number)
            query = _of_sightings(Chosen()).where(Sighting.id == number)
            return _seen(session, list(session.execute(query)))[0]

    def incidents(self, chosen: Chosen, before: int | None = None, limit: int = PAGE) -> list[Reported]:
        """Incidents, newest first, from the one before number `before`."""
        with self.database.reading() as session:
            query = _before(_of_incidents(chosen), Incident.id, before)
            rows = session.execute(query.limit(limit))
            return [Reported(incident, plate, images or []) for incident, plate, images in rows]

    def times_seen(self, vehicle: int, since: datetime) -> int:
        """How often a vehicle was seen since a moment."""
        query = _of_sightings(Chosen(vehicle=vehicle)).where(Sighting.created >= since).order_by(None)
        with self.database.reading() as session:
            counted = query.with_only_columns(func.count(Sighting.id))
            return session.scalar(counted) or 0

    def reopen_incident(self, number: int, account: str) -> None:
        """Mark an incident as open again; one that is stays as it is. Raises NotEnrolledError."""
        with self.database.writing() as session:
            incident = get(session, Incident, number)
            if incident.closed is not None:
                incident.closed = None
                trail(session, account, "reopen incident", f"incident {number}", {})

    def sightings_table(self, chosen: Chosen, account: str) -> Iterator[str]:
        """The chosen sightings as CSV, a part at a time; the trail says who took them away."""
        self._note_export("export sightings", chosen, account)
        yield from _table(_SIGHTING_CELLS, partial(self.sightings, chosen))

    def incidents_table(self, chosen: Chosen, account: str) -> Iterator[str]:
        """The chosen incidents as CSV, a part at a time; the trail says who took them away."""
        self._note_export("export incidents", chosen, account)
        yield from _table(_INCIDENT_CELLS, partial(self.incidents, chosen))

    def _note_export(self, action: str, chosen: Chosen, account: str) -> None:
        details = {
            "day": chosen.day and chosen.day.isoformat(),
            "vehicle": chosen.vehicle,
            "decision": chosen.decision,
            "camera": chosen.camera,
            "open": chosen.is_open,
        }
        with self.database.writing() as session:
            trail(session, account, action, "", {name: value for name, value in details.items() if value is not None})


def week_ago() -> datetime:
    """The moment a week before this one."""
    return now() - timedelta(days=7)


def _before(query: Select[*Ts], number: InstrumentedAttribute[int], before: int | None) -> Select[*Ts]:
    query = query.order_by(number.desc())
    return query if before is None else query.where(number < before)


def _of_sightings(chosen: Chosen) -> Select[Sighting, Confirmation]:
    """Sightings with their confirmations."""
    query = select(Sighting, Confirmation).outerjoin(Confirmation, Confirmation.sighting_id == Sighting.id)
    conditions = _on_day(Sighting.created, chosen)
    if chosen.decision is not None:
        conditions.append(Sighting.decision == chosen.decision)
    if chosen.account is not None:
        conditions.append(Sighting.account == chosen.account)
    if chosen.camera is not None:
        conditions.append(Sighting.camera == chosen.camera)
    if chosen.vehicle is not None:
        as_named = and_(Sighting.vehicle_id == chosen.vehicle, Confirmation.sighting_id.is_(None))
        conditions.append(or_(as_named, Confirmation.vehicle_id == chosen.vehicle))
    return query.where(*conditions)


def _of_incidents(chosen: Chosen) -> Select[Incident, str, list[str]]:
    """Incidents with the plates of their vehicles and the photographs of their sightings."""
    query = select(Incident, Plate.text, Sighting.pictures)
    query = query.outerjoin(Plate, Plate.vehicle_id == Incident.vehicle_id)
    query = query.outerjoin(Sighting, Sighting.id == Incident.sighting_id)
    conditions = _on_day(Incident.created, chosen)
    if chosen.account is not None:
        conditions.append(Incident.account == chosen.account)
    if chosen.vehicle is not None:
        conditions.append(Incident.vehicle_id == chosen.vehicle)
    if chosen.is_open is not None:
        conditions.append(Incident.closed.is_(None) if chosen.is_open else Incident.closed.is_not(None))
    return query.where(*conditions)


def _on_day(created: InstrumentedAttribute[datetime], chosen: Chosen) -> list[ColumnElement[bool]]:
    if chosen.day is None:
        return []
    first, last = (datetime.combine(chosen.day, moment, chosen.zone) for moment in (time(), time.max))
    return [created >= _in_utc(first, datetime.min), created <= _in_utc(last, datetime.max)]


def _in_utc(moment: datetime, otherwise: datetime) -> datetime:
    """A moment in UTC, which has fewer of them at the ends of the calendar."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return otherwise.replace(tzinfo=UTC)


def _seen(session: Session, rows: Sequence[tuple[Sighting, Confirmation | None]]) -> list[Seen]:
    """Sightings with the plates of their vehicles, and the incidents that name them."""
    vehicles = [said.vehicle_id if said else sighting.vehicle_id for sighting, said in rows]
    numbers = [sighting.id for sighting, _ in rows]
    held = select(Plate.vehicle_id, Plate.text).where(Plate.vehicle_id.in_({each for each in vehicles if each}))
    plates: dict[int, str] = dict(session.execute(held).all())
    reported: dict[int | None, list[int]] = {}
    named = select(Incident.sighting_id, Incident.id).where(Incident.sighting_id.in_(numbers)).order_by(Incident.id)
    for sighting_id, incident in session.execute(named):
        reported.setdefault(sighting_id, []).append(incident)
    return [
        Seen(
            sighting,
            vehicle,
            plates.get(vehicle) if vehicle else None,
            said.truth if said else None,
            reported.get(sighting.id, []),
        )
        for (sighting, said), vehicle in zip(rows, vehicles, strict=True)
    ]


def _table(
    cells: Mapping[str, Callable[[Listed], object]], read: Callable[[int | None, int], list[Listed]]
) -> Iterator[str]:
    """A list as CSV, a part at a time.

    Args:
        cells: of a row, by column.
        read: rows before a number, so many.
    """
    yield csv_lines([list(cells)])
    before: int | None = None
    while rows := read(before, _CHUNK):
        yield csv_lines([cell(row) for cell in cells.values()] for row in rows)
        before = rows[-1].number


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; no cell is one that a spreadsheet would compute."""
    file = io.StringIO()
    csv.writer(file).writerows([quoted(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return file.getvalue()


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


_SIGHTING_CELLS: Mapping[str, Callable[[Seen], object]] = {
    "sighting": lambda row: row.number,
    "time": lambda row: _moment(row.sighting.created),
    "decision": lambda row: row.sighting.decision,
    "vehicle": lambda row: row.vehicle,
    "plate": lambda row: row.plate,
    "plate_read": lambda row: row.plate_read,
    "confirmed": lambda row: row.confirmed,
    "account": lambda row: row.sighting.account,
    "camera": lambda row: row.sighting.camera,
    "place": lambda row: row.sighting.place,
    "photos": lambda row: len(row.sighting.pictures),
}
_INCIDENT_CELLS: Mapping[str, Callable[[Reported], object]] = {
    "incident": lambda row: row.number,
    "time": lambda row: _moment(row.incident.created),
    "kind": lambda row: row.incident.kind,
    "vehicle": lambda row: row.incident.vehicle_id,
    "plate": lambda row: row.plate,
    "note": lambda row: row.incident.note,
    "account": lambda row: row.incident.account,
    "sighting": lambda row: row.incident.sighting_id,
    "closed": lambda row: _moment(row.incident.closed),
}
