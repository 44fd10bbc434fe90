"""Journal of identifications, incidents, and the audit trail; vehicles that an answer showed to an account."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.register.database import Database
from app.register.errors import NotEnrolledError, RegisterError
from app.register.matcher import Decision, Outcome
from app.register.records import MOST_NUMBER, Also, NewView, SeenBy, get, nothing_else, trail
from app.register.schema import Audit, Found, Incident, Shown, Sighting, Vehicle, View, now
from app.register.texts import line, paragraph

FOUND_FOR = timedelta(hours=12)
"""For so long a guard may look at a vehicle found by its plate: as long as a session lasts."""
_CHUNK = 10_000  # names in one query; each reads all enrolled images, and SQLite takes 32,766


class Journal:
    """The tables of sightings and incidents, and the audit trail."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def record_sighting(
        self,
        session: Session,
        decision: Decision,
        views: Sequence[NewView],
        account: str,
        *,
        enrolled: int | None = None,
        shown: Sequence[int] = (),
        plate_text: Mapping[str, Any] | None = None,
        camera: SeenBy | None = None,
        listed: Sequence[Mapping[str, Any]] = (),
    ) -> int:
        """Keep an identification with its images, in a transaction that is under way; its number.

        Args:
            views: the photographs, without vectors; their boxes are kept, so that they can be embedded again.
            enrolled: the vehicle that was enrolled because of it.
            shown: vehicles of which the account gets to see something; it may look at these from now on.
            plate_text: the recognised plate text, if any. It stays with the sighting, the trail does not hold it.
            camera: the camera that took the photographs; None for a person.
            listed: entries of the lists that concern the vehicle, as they are now.
        """
        matched = decision.vehicle if decision.outcome is Outcome.match else enrolled  # the nearest may be another's
        if matched is not None and session.get(Vehicle, matched) is None:
            matched = None  # forgotten meanwhile
        images = [name for view in views for name in (view.image, view.plate_image) if name]
        sighting = Sighting(
            vehicle_id=matched,
            decision=decision.outcome.value,
            answer={
                **decision.as_dict(),
                "plate_text": plate_text,
                "views": [each.as_dict() for each in views],
                **({"camera_plate": camera.plate} if camera and camera.plate else {}),
                **({"listed": [dict(each) for each in listed]} if listed else {}),
            },
            pictures=images,
            account=account,
            camera=camera and camera.name,
            place=camera and camera.place,
        )
        session.add(sighting)
        session.flush()
        there = [number for number in shown if session.get(Vehicle, number) is not None]
        session.add_all(Shown(account=account, sighting_id=sighting.id, vehicle_id=number) for number in there)
        session.add_all(Shown(account=account, sighting_id=sighting.id, picture=name) for name in images)
        details = {"decision": decision.outcome.value, "shown": list(shown)}
        trail(session, account, "identify", f"sighting {sighting.id}", details)
        return sighting.id

    def forget_sightings(self, before: datetime, account: str, most: int | None = None) -> list[str]:
        """Delete sightings that are older and that no incident names, at most so many; the names of their images, to be
        deleted."""
        with self.database.writing() as session:
            old = session.scalars(_forgettable(before).limit(most)).all()
            named = [name for sighting in old for name in sighting.pictures]
            held = _enrolled(session, named)
            images = [name for name in named if name not in held]
            for sighting in old:
                session.delete(sighting)
            trail(session, account, "forget sightings", "", {"sightings": len(old)})
            return images

    def has_sightings(self, before: datetime) -> bool:
        """Whether `forget_sightings` would delete any."""
        with self.database.reading() as session:
            return session.scalar(_forgettable(before).with_only_columns(Sighting.id).limit(1)) is not None

    def report_incident(
        self,
        sighting_id: int,
        kind: str,
        note: str,
        account: str,
        vehicle_id: int | None = None,
        also: Also = nothing_else,
    ) -> int:
        """Keep a guard's report about a sighting; its number. Raises NotEnrolledError, and TextError.

        Args:
            vehicle_id: the vehicle, if the guard knows better than an unsure identification.
            also: writes further rows in the same transaction, given the incident's number.
        """
        kind, note = line("kind", kind), paragraph("note", note)
        if not kind:
            raise RegisterError("an incident needs a kind")
        with self.database.writing() as session:
            sighting = get(session, Sighting, sighting_id)
            vehicle = get(session, Vehicle, vehicle_id).id if vehicle_id else sighting.vehicle_id
            incident = Incident(sighting_id=sighting.id, vehicle_id=vehicle, kind=kind, note=note, account=account)
            session.add(incident)
            session.flush()
            trail(session, account, "report incident", f"incident {incident.id}", {"sighting": sighting_id})
            also(session, incident.id)
            return incident.id

    def incident(self, incident_id: int) -> Incident:
        """One incident. Raises NotEnrolledError."""
        with self.database.reading() as session:
            return get(session, Incident, incident_id)

    def incidents(self, *, open_only: bool = False, limit: int = 200) -> list[Incident]:
        """Incidents, newest first."""
        with self.database.reading() as session:
            query = select(Incident).order_by(Incident.id.desc()).limit(limit)
            return list(session.scalars(query.where(Incident.closed.is_(None)) if open_only else query))

    def close_incident(self, incident_id: int, account: str) -> None:
        """Mark an incident as dealt with; one that is already stays as it is. Raises NotEnrolledError."""
        with self.database.writing() as session:
            incident = get(session, Incident, incident_id)
            if incident.closed is not None:
                return
            incident.closed = now()
            trail(session, account, "close incident", f"incident {incident_id}", {})

    def audit(self, limit: int | None = None) -> list[Audit]:
        """The trail, newest first."""
        with self.database.reading() as session:
            return list(session.scalars(select(Audit).order_by(Audit.id.desc()).limit(limit)))

    def write(self, account: str, action: str, subject: str = "", details: Mapping[str, Any] | None = None) -> None:
        """Write a line of the trail."""
        with self.database.writing() as session:
            trail(session, account, action, subject, details or {})


class Visible:
    """Vehicles and images that the answers of a register showed, by account, and vehicles that it found by their whole
    plates.

    They stay visible as long as the sighting is kept whose answer showed them, or for `FOUND_FOR`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def require_vehicle(self, number: int, account: str) -> None:
        """Raise NotEnrolledError for a vehicle that no answer showed to the account; the same for one that is not
        there, so that numbers disclose nothing."""
        if number not in self.vehicles(account, {number}):
            raise NotEnrolledError(f"there is no vehicle {number} that an answer showed to you")

    def vehicles(self, account: str, numbers: set[int]) -> set[int]:
        """The numbers of `numbers` whose vehicles an answer showed to the account, or a search found for it."""
        possible = [number for number in numbers if 0 < number <= MOST_NUMBER]
        queries = [query.where(table.vehicle_id.in_(possible)) for table, query in _visible(account)]
        with self.database.reading() as session:
            return {number for query in queries for number in session.scalars(query)}

    def has_image(self, name: str, account: str) -> bool:
        """Whether an image is one of the account's own queries, or of a vehicle that is visible to it."""
        own = select(Shown.id).where(Shown.account == account, Shown.picture == name)
        views = select(View.id).where((View.picture == name) | (View.plate_picture == name))
        held = [views.where(View.vehicle_id.in_(query)) for _, query in _visible(account)]
        with self.database.reading() as session:
            return any(session.scalar(query.limit(1)) is not None for query in (own, *held))

    def require_sighting(self, number: int, account: str) -> None:
        """Raise NotEnrolledError for a sighting that is not of one of the account's own queries."""
        with self.database.reading() as session:
            sighting = session.get(Sighting, number) if 0 < number <= MOST_NUMBER else None
            if sighting is None or sighting.account != account:
                raise NotEnrolledError(f"there is no sighting {number} of yours")


def _visible(account: str) -> list[tuple[type[Shown] | type[Found], Select[Any]]]:
    """Vehicles visible to an account, each by one table."""
    shown = select(Shown.vehicle_id).where(Shown.account == account, Shown.vehicle_id.is_not(None))
    found = select(Found.vehicle_id).where(Found.account == account, Found.created >= now() - FOUND_FOR)
    return [(Shown, shown), (Found, found)]


def _enrolled(session: Session, names: Sequence[str]) -> set[str]:
    """The images of `names` that are enrolled. All names of a register of 100,000 vehicles are not read for it: other
    writers wait meanwhile."""
    found = set[str]()
    for start in range(0, len(names), _CHUNK):
        part = names[start : start + _CHUNK]
        for column in (View.picture, View.plate_picture):
            found.update(name for name in session.scalars(select(column).where(column.in_(part))) if name)
    return found


def _forgettable(before: datetime) -> Select[Any]:
    """Sightings that are older and that no incident names."""
    named = select(Incident.sighting_id).where(Incident.sighting_id.is_not(None))
    return select(Sighting).where(Sighting.created < before, Sighting.id.not_in(named))
