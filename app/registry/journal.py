"""What happened: look-ups, incidents, and the audit trail."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from app.registry.database import Database
from app.registry.errors import RegisterError
from app.registry.matcher import Decision
from app.registry.rows import get, trail
from app.registry.schema import Audit, Incident, Sighting, Vehicle, now


class Journal:
    """The tables of what happened."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def record_sighting(self, decision: Decision, pictures: Sequence[str], account: str) -> int:
        """Keep a look-up with its pictures; its number."""
        with self.database.writing() as session:
            there = decision.vehicle is not None and session.get(Vehicle, decision.vehicle) is not None
            sighting = Sighting(
                vehicle_id=decision.vehicle if there else None,
                decision=decision.outcome.value,
                answer=decision.as_dict(),
                pictures=list(pictures),
                account=account,
            )
            session.add(sighting)
            session.flush()
            trail(session, account, "identify", f"sighting {sighting.id}", {"decision": decision.outcome.value})
            return sighting.id

    def report_incident(self, sighting_id: int, kind: str, note: str, account: str) -> int:
        """Keep what a guard reports about a sighting; its number. Raises NotEnrolledError."""
        if not kind.strip():
            raise RegisterError("an incident needs a kind")
        with self.database.writing() as session:
            sighting = get(session, Sighting, sighting_id)
            incident = Incident(
                sighting_id=sighting.id, vehicle_id=sighting.vehicle_id, kind=kind, note=note, account=account
            )
            session.add(incident)
            session.flush()
            trail(session, account, "report incident", f"incident {incident.id}", {"sighting": sighting_id})
            return incident.id

    def incident(self, incident_id: int) -> Incident:
        """One incident. Raises NotEnrolledError."""
        with self.database.reading() as session:
            return get(session, Incident, incident_id)

    def incidents(self, *, open_only: bool = False, limit: int = 200) -> list[Incident]:
        """Incidents, newest first."""
        with self.database.reading() as session:
            wanted = select(Incident).order_by(Incident.id.desc()).limit(limit)
            return list(session.scalars(wanted.where(Incident.closed.is_(None)) if open_only else wanted))

    def close_incident(self, incident_id: int, account: str) -> None:
        """Mark an incident as dealt with. Raises NotEnrolledError."""
        with self.database.writing() as session:
            get(session, Incident, incident_id).closed = now()
            trail(session, account, "close incident", f"incident {incident_id}", {})

    def audit(self, limit: int | None = None) -> list[Audit]:
        """The trail, newest first."""
        with self.database.reading() as session:
            return list(session.scalars(select(Audit).order_by(Audit.id.desc()).limit(limit)))

    def write(self, account: str, action: str, subject: str = "", details: Mapping[str, Any] | None = None) -> None:
        """Write a line of the trail."""
        with self.database.writing() as session:
            trail(session, account, action, subject, details or {})
