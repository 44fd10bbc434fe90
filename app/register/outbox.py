"""Outbox of a register: events are kept in the transaction of the sighting that they tell of, until they are delivered.

A process that is killed leaves a sighting with its events, or neither.
"""

import json
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.register.database import Database
from app.register.errors import NotEnrolledError
from app.register.event_tables import Event
from app.register.lists import Kind
from app.register.mail import NOTE
from app.register.matcher import PLATE_TEXT, Outcome
from app.register.receivers import (
    EVENTS_FILE,
    NOBODY,
    EventsFileError,
    Gate,
    Mail,
    Receiver,
    Receivers,
    Subscriber,
    is_address,
    read_receivers,
)
from app.register.records import get, trail
from app.register.schema import Incident, Sighting, Vehicle, now
from app.register.site_time import local

_log = logging.getLogger(__name__)
OPEN = "open"
"""Kind of an event that opens a gate."""
_LONGEST_ERROR = 300
_LOG_SECONDS = 60.0


@dataclass(frozen=True)
class Queue:
    """Events that wait for one receiver.

    Args:
        oldest: when the first of them was kept.
        tries, error: of the first one.
    """

    receiver: str
    events: int
    oldest: datetime
    tries: int
    error: str


class Outbox:
    """The events of a register.

    Args:
        folder: of the register, with the file of receivers.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self._read: tuple[tuple[int, ...], Receivers] | None = None
        self._logged = -_LOG_SECONDS

    def receivers(self) -> Receivers:
        """The receivers as the file names them now. Raises EventsFileError for a file that cannot be used; one that was
        changed into such a file while this process runs is logged, and the receivers before the change count."""
        state = _state(self.folder / EVENTS_FILE)
        if self._read is not None and self._read[0] == state:
            return self._read[1]
        try:
            self._read = state, read_receivers(self.folder)
        except EventsFileError as error:
            if self._read is None:
                raise
            if time.monotonic() - self._logged >= _LOG_SECONDS:
                self._logged = time.monotonic()
                _log.error("%s; the receivers before the change count", error)
        return self._read[1]

    def zone(self) -> str:
        """The site's time zone; "" for that of the machine."""
        return self.receivers().time_zone

    def add(self, session: Session, sighting_id: int, age: float = 0.0) -> None:
        """Keep the events of a sighting, in the transaction that keeps the sighting.

        Args:
            age: seconds since the vehicle was there; a gate opens for the rest of its time alone.
        """
        receivers = self.receivers()
        if receivers is NOBODY:
            return
        sighting = get(session, Sighting, sighting_id)
        news = _news(session, sighting, receivers.time_zone)
        for subscriber in (*receivers.webhook, *receivers.mqtt):
            if sighting.decision in subscriber.events and _is_from(sighting, subscriber):
                keep_event(
                    session, sighting, subscriber, sighting.decision, news | _owner(session, sighting, subscriber)
                )
        for mail in receivers.mail:
            if sighting.decision in mail.events and _is_from(sighting, mail):
                _keep_mails(session, sighting, mail, news)
        for gate in receivers.gate:
            left = gate.valid_seconds - age
            if left > 0 and _is_from(sighting, gate) and _is_allowed(session, sighting, gate):
                expires = sighting.created + timedelta(seconds=left)
                until = {"expires": _local(expires, receivers.time_zone)}
                keep_event(session, sighting, gate, OPEN, news | until, expires)

    def waiting(self, receiver: str, limit: int) -> list[Event]:
        """The first events of a receiver's queue."""
        with self.database.reading() as session:
            query = select(Event).where(Event.receiver == receiver).order_by(Event.id).limit(limit)
            return list(session.scalars(query))

    def delivered(self, number: int) -> None:
        """Take an event out of its queue."""
        with self.database.writing() as session:
            session.execute(delete(Event).where(Event.id == number))

    def failed(self, number: int, error: str) -> None:
        """Note a delivery that failed; the event stays where it is."""
        with self.database.writing() as session:
            event = session.get(Event, number)
            if event is not None:  # else its vehicle was forgotten meanwhile
                event.tries, event.error = event.tries + 1, error[:_LONGEST_ERROR]

    def give_up(self, event: Event, action: str) -> None:
        """Take an event out of its queue that cannot be delivered any more; the trail keeps that."""
        with self.database.writing() as session:
            session.execute(delete(Event).where(Event.id == event.id))
            if event.kind == NOTE and (incident := session.get(Incident, json.loads(event.body)["incident"])):
                incident.noted = None  # it was not sent: somebody may mend the address and write again
            details = {"event": event.key, "kind": event.kind}
            trail(session, f"{event.receiver} (events)", action, f"sighting {event.sighting_id}", details)

    def queues(self) -> list[Queue]:
        """Queues with events in them, by receiver."""
        with self.database.reading() as session:
            counts = select(Event.receiver, func.count(), func.min(Event.id)).group_by(Event.receiver)
            rows = session.execute(counts.order_by(Event.receiver)).all()
            firsts = {number: get(session, Event, number) for _, _, number in rows}
            return [
                Queue(name, count, firsts[number].created, firsts[number].tries, firsts[number].error)
                for name, count, number in rows
            ]

    def drop(self, receiver: str, account: str, *, first: bool = False) -> int:
        """Delete the events of a receiver undelivered, or its first one; how many. Raises NotEnrolledError where there
        is none."""
        with self.database.writing() as session:
            query = select(Event.id).where(Event.receiver == receiver).order_by(Event.id)
            numbers = list(session.scalars(query.limit(1) if first else query))
            if not numbers:
                raise NotEnrolledError(f"no event waits for {receiver!r}")
            session.execute(delete(Event).where(Event.receiver == receiver, Event.id <= numbers[-1]))
            trail(session, account, "drop events", receiver, {"events": len(numbers)})
            return len(numbers)


def trial_body(zone: str) -> dict[str, Any]:
    """A body without a sighting, to try a receiver with."""
    return {"id": uuid.uuid4().hex, "event": "test", "time": _local(now(), zone)}


def _state(path: Path) -> tuple[int, ...]:
    """Changes when the file does; empty without one."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return ()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_mode


def keep_event(
    session: Session,
    sighting: Sighting,
    receiver: Receiver,
    kind: str,
    news: Mapping[str, Any],
    expires: datetime | None = None,
) -> None:
    """Put an event at the end of a receiver's queue, in a transaction that is under way."""
    key = uuid.uuid4().hex
    body = json.dumps({"id": key, "event": kind, **news}, ensure_ascii=False)
    session.add(Event(key=key, receiver=receiver.name, kind=kind, sighting_id=sighting.id, body=body, expires=expires))
    session.flush()  # the order of the numbers is that of the queue


def _keep_mails(session: Session, sighting: Sighting, mail: Mail, news: dict[str, Any]) -> None:
    """One mail for each address, so that each is sent, or tried again, by itself."""
    attached = {"picture": sighting.pictures[0]} if mail.photo and sighting.pictures else {}
    if mail.to:
        whole = news | attached | _owner(session, sighting, mail)
        for address in mail.to:
            keep_event(session, sighting, mail, sighting.decision, whole | {"to": address})
    is_match = mail.to_owner and sighting.decision == Outcome.match and sighting.vehicle_id is not None
    vehicle = session.get(Vehicle, sighting.vehicle_id) if is_match else None
    if vehicle is not None and vehicle.owner is not None and is_address(vehicle.owner.contact):
        its = {name: news[name] for name in ("time", "sighting", "camera", "place", "vehicle", "plate")}
        keep_event(session, sighting, mail, sighting.decision, its | {"to": vehicle.owner.contact, "to_owner": True})
        details = {"owner": vehicle.owner_id}
        trail(session, f"{mail.name} (events)", "write to owner", f"vehicle {vehicle.id}", details)


def _news(session: Session, sighting: Sighting, zone: str) -> dict[str, Any]:
    """Common part of the bodies about a sighting."""
    is_match, is_unsure = (sighting.decision == each for each in (Outcome.match, Outcome.unsure))
    vehicle = sighting.answer["vehicle"] if is_unsure else sighting.vehicle_id
    held = session.get(Vehicle, sighting.vehicle_id) if is_match and sighting.vehicle_id else None
    read = sighting.answer["plate_text"]
    return {
        "time": _local(sighting.created, zone),
        "sighting": sighting.id,
        "camera": sighting.camera,
        "place": sighting.place,
        "vehicle": vehicle,
        "plate": held.plate.text if held and held.plate else None,
        "tags": held.tags if held else [],
        "plate_text": read and (read["combined"] or read)["text"],
        "camera_plate": sighting.answer.get("camera_plate"),
        "listed": [_listed(each, zone) for each in sighting.answer.get("listed", [])],
    }


def _listed(kept: dict[str, Any], zone: str) -> dict[str, Any]:
    """An entry of the lists in the body of an event."""
    ends = kept["ends"] and _local(datetime.fromisoformat(kept["ends"]), zone)
    return {name: kept[name] for name in ("entry", "kind", "reason", "flat", "exact")} | {"ends": ends}


def _owner(session: Session, sighting: Sighting, subscriber: Subscriber) -> dict[str, Any]:
    """The owner of a match, for a receiver that may have it; the trail says that it got it."""
    if not subscriber.owner:
        return {}
    is_match = sighting.decision == Outcome.match and sighting.vehicle_id is not None
    vehicle = session.get(Vehicle, sighting.vehicle_id) if is_match else None
    if vehicle is None or vehicle.owner is None:
        return {"owner": None}
    its = vehicle.owner
    trail(session, f"{subscriber.name} (events)", "look at owner", f"vehicle {vehicle.id}", {"owner": its.id})
    return {"owner": {"name": its.name, "flat": its.flat, "contact": its.contact}}


def _is_from(sighting: Sighting, receiver: Receiver) -> bool:
    return not receiver.cameras or sighting.camera in receiver.cameras


def _is_allowed(session: Session, sighting: Sighting, gate: Gate) -> bool:
    """Whether a gate opens for a sighting: a match of a vehicle that is allowed, or, where the gate takes lists, a
    plate that is listed for certain; never for what may be denied."""
    listed, number = sighting.answer.get("listed", []), sighting.vehicle_id
    if any(each["stops"] for each in listed):
        return False
    is_match = sighting.decision == Outcome.match and number is not None
    if is_match and number in gate.except_vehicles:
        return False
    if gate.listed and any(each["exact"] and each["kind"] != Kind.deny for each in listed):
        return True
    if not is_match or (sighting.answer["decided_by"] == PLATE_TEXT and not gate.plate_alone):
        return False
    vehicle = session.get(Vehicle, number)
    has_owner = vehicle is not None and vehicle.owner_id is not None
    return number in gate.vehicles if gate.vehicles else has_owner


def _local(moment: datetime, zone: str) -> str:
    """A moment with its zone, in the local time of the site."""
    return local(moment, zone).isoformat(timespec="milliseconds")


def is_expired(event: Event, waited: float) -> bool:
    """Whether an event must not be delivered any more, by the clock, or by the seconds that this process saw it wait:
    a clock that was put back must not open a gate late."""
    if event.expires is None:
        return False
    return datetime.now(UTC) >= event.expires or waited >= (event.expires - event.created).total_seconds()


def receiver_named(receivers: Receivers, name: str) -> Any:
    """A receiver by name. Raises NotEnrolledError with the names that there are."""
    found = next((each for each in receivers.every() if each.name == name), None)
    if found is None:
        known: Sequence[str] = [each.name for each in receivers.every()]
        raise NotEnrolledError(f"no receiver {name!r} in {EVENTS_FILE}; there are: {', '.join(known) or 'none'}")
    return found
