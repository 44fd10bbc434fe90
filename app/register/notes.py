"""Notes to owners about incidents: a mail to the owner's contact, queued in the outbox."""

from collections.abc import Iterable

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.register.errors import ChangedError, RegisterError
from app.register.event_tables import Event
from app.register.mail import NOTE
from app.register.outbox import Outbox, keep_event
from app.register.receivers import EVENTS_FILE, Mail, is_address
from app.register.records import get, trail
from app.register.schema import Incident, Sighting, Vehicle, now
from app.register.site_time import local
from app.register.texts import paragraph


class NoteError(RegisterError):
    """The owner of an incident's vehicle cannot be written to; the message says why."""


class NotedError(ChangedError):
    """The owner was written to about this incident before."""


def queue_note(outbox: Outbox, incident_id: int, text: str, account: str) -> Incident:
    """Queue a mail to the owner of an incident's vehicle, once for each incident; the trail says who did.

    Args:
        text: what the owner reads below the kind and the time of the incident; the guard's own note is not sent.

    Raises NotEnrolledError, NoteError without an owner, an address, or a receiver for notes, and NotedError."""
    text = paragraph("text", text)
    receivers = outbox.receivers()
    way = next((mail for mail in receivers.mail if mail.notes), None)
    if way is None:
        raise NoteError(f"no [[mail]] in {EVENTS_FILE} has notes = true")
    with outbox.database.writing() as session:
        incident = get(session, Incident, incident_id)
        if incident.noted is not None:
            when = local(incident.noted, receivers.time_zone).strftime("%Y-%m-%d %H:%M")
            raise NotedError(f"the owner was written to about incident {incident_id}: {when}")
        _keep(session, incident, way, text, receivers.time_zone, account)
        incident.noted = now()
        return incident


def _keep(session: Session, incident: Incident, way: Mail, text: str, zone: str, account: str) -> None:
    vehicle = session.get(Vehicle, incident.vehicle_id) if incident.vehicle_id else None
    sighting = session.get(Sighting, incident.sighting_id) if incident.sighting_id else None
    if vehicle is None or vehicle.owner is None or sighting is None:
        raise NoteError(f"incident {incident.id} is about no vehicle with a known owner")
    if not is_address(vehicle.owner.contact):
        raise NoteError("the owner's contact is no mail address")
    news = {
        "time": local(sighting.created, zone).isoformat(timespec="seconds"),
        "incident": incident.id,
        "incident_kind": incident.kind,
        "plate": vehicle.plate.text if vehicle.plate else None,
        "text": text,
        "to": vehicle.owner.contact,
    }
    keep_event(session, sighting, way, NOTE, news)
    details = {"vehicle": vehicle.id, "owner": vehicle.owner_id}
    trail(session, account, "note to owner", f"incident {incident.id}", details)


def forget_notes(session: Session, incidents: Iterable[Incident]) -> None:
    """Delete notes that wait: the sighting of an incident may be of another vehicle, and stay."""
    sightings = [incident.sighting_id for incident in incidents if incident.noted is not None]
    session.execute(delete(Event).where(Event.kind == NOTE, Event.sighting_id.in_(sightings)))
