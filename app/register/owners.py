"""Owners of vehicles: new ones, those without a vehicle left, and those that come back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.register.errors import RegisterError
from app.register.records import MOST_NUMBER, NewOwner
from app.register.schema import Owner, Vehicle
from app.register.texts import line
from app.register.undo_table import Correction

OWNER_FIELDS = {"name": "owner", "flat": "flat", "contact": "contact"}
"""Columns of an owner, by what they are called to people."""


def new_owner(given: NewOwner) -> Owner:
    """The row of an owner. Raises TextError, and RegisterError without a name."""
    named = {name: line(what, getattr(given, name)) for name, what in OWNER_FIELDS.items()}
    if not named["name"]:
        raise RegisterError("a flat or a contact needs an owner")
    return Owner(**named)


def owner_values(owner: Owner) -> dict[str, Any]:
    """The row of an owner, for JSON."""
    named = {name: getattr(owner, name) for name in ("id", *OWNER_FIELDS)}
    return {**named, "created": owner.created.isoformat()}


def put_owner_back(session: Session, values: Mapping[str, Any] | None, *, corrected: bool = False) -> None:
    """Let an owner who is gone come back under the same number; one who is there stays as they are, unless their own
    values were `corrected`."""
    if values is None or (not corrected and session.get(Owner, values["id"]) is not None):
        return
    session.merge(Owner(**{**values, "created": datetime.fromisoformat(values["created"])}))
    session.flush()


def drop_without_vehicles(session: Session, owner_id: int | None) -> bool:
    """Delete an owner who has no vehicle left; whether it was so."""
    session.flush()
    if owner_id is None or session.scalar(select(Vehicle.id).where(Vehicle.owner_id == owner_id).limit(1)) is not None:
        return False
    session.execute(delete(Owner).where(Owner.id == owner_id))
    return True


def forget_corrections_of(session: Session, owner_id: int) -> bool:
    """Delete what could undo a correction and holds the name of an owner; whether there was any."""
    if not 0 < owner_id <= MOST_NUMBER:
        return False
    found = session.scalars(select(Correction).where(Correction.owner_id == owner_id)).all()
    for row in found:
        session.delete(row)
    return bool(found)
