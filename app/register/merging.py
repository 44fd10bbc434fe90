"""Two vehicles of a register that are one: everything of the second becomes the first one's, and back again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.register.errors import RegisterError
from app.register.list_tables import ListEntry
from app.register.owners import drop_without_vehicles, owner_values, put_owner_back
from app.register.records import get, keep_undo, require_free, trail
from app.register.schema import (
    Change,
    Confirmation,
    Found,
    Imported,
    Incident,
    Owner,
    Plate,
    Shown,
    Sighting,
    Vehicle,
    View,
)
from app.register.tags import checked_tags
from app.register.texts import paragraph

FOLLOW: dict[str, tuple[type[Any], InstrumentedAttribute[Any]]] = {
    "views": (View, View.id),
    "sightings": (Sighting, Sighting.id),
    "incidents": (Incident, Incident.id),
    "confirmations": (Confirmation, Confirmation.sighting_id),
    "shown": (Shown, Shown.id),
    "found": (Found, Found.id),
    "imported": (Imported, Imported.digest),
    "list_entries": (ListEntry, ListEntry.id),
}
"""Tables whose rows name a vehicle in the column `vehicle_id`, and by what each row is found again."""
_CHUNK = 500  # keys in one statement


@dataclass(frozen=True)
class Keep:
    """What stays where two vehicles differ.

    Args:
        owner_of, plate_of: number of the vehicle whose owner, or plate, stays.
    """

    owner_of: int | None = None
    plate_of: int | None = None


def merge_in(session: Session, vehicle_id: int, other_id: int, keep: Keep, account: str) -> None:
    """Merge a vehicle into another one, in a transaction that is under way; see `Corrections.merge`."""
    if vehicle_id == other_id:
        raise RegisterError(f"vehicle {vehicle_id} cannot be merged with itself")
    vehicle, other = get(session, Vehicle, vehicle_id), get(session, Vehicle, other_id)
    both = (vehicle, other)
    owner_id = _kept("owner", keep.owner_of, both, [each.owner_id for each in both])
    plates = [each.plate and _plate(each.plate) for each in both]
    plate = _kept("plate", keep.plate_of, both, plates)
    gone = next((each.owner for each in both if each.owner and each.owner_id != owner_id), None)
    before: dict[str, Any] = {
        "note": vehicle.note,
        "tags": list(vehicle.tags),
        "owner_id": vehicle.owner_id,
        "plate": plates[0],
        "other": {
            "id": other_id,
            "note": other.note,
            "tags": list(other.tags),
            "owner_id": other.owner_id,
            "created": other.created.isoformat(),
            "plate": plates[1],
        },
        "rows": {name: list(_keys(session, name, other_id)) for name in FOLLOW},
    }
    values, notes = gone and owner_values(gone), [vehicle.note, other.note]
    tags = checked_tags([*vehicle.tags, *other.tags])
    counts = {name: len(keys) for name, keys in before["rows"].items() if name not in ("shown", "found", "imported")}
    session.expunge_all()  # what follows moves rows, of which objects would know nothing
    for name in FOLLOW:
        _move(session, name, before["rows"][name], vehicle_id)
    session.execute(delete(Plate).where(Plate.vehicle_id.in_((vehicle_id, other_id))))
    session.execute(delete(Vehicle).where(Vehicle.id == other_id))
    note = paragraph("note", "\n".join(dict.fromkeys(text for text in notes if text)))
    session.execute(update(Vehicle).where(Vehicle.id == vehicle_id).values(note=note, owner_id=owner_id, tags=tags))
    if plate:
        session.execute(insert(Plate).values(vehicle_id=vehicle_id, **plate))
    before["owner"] = values if values and drop_without_vehicles(session, values["id"]) else None
    session.add_all([Change(vehicle_id=vehicle_id), Change(vehicle_id=other_id)])
    trail(session, account, "merge", f"vehicle {vehicle_id}", {"other": other_id, "owner": owner_id, **counts})
    keep_undo(session, vehicle_id, "merge", before, account)


def unmerge_in(session: Session, vehicle_id: int, before: Mapping[str, Any]) -> None:
    """Undo a merge: the other vehicle is there again, under its number, with what it had. What came since stays.

    Raises RegisterError, and DuplicatePlateError for a plate that another vehicle has by now."""
    other = before["other"]
    put_owner_back(session, before["owner"])
    for number in (before["owner_id"], other["owner_id"]):
        if number is not None and session.get(Owner, number) is None:
            raise RegisterError(f"owner {number} was forgotten meanwhile: the merge cannot be undone")
    session.expunge_all()
    row = {name: other[name] for name in ("id", "note", "owner_id", "tags") if name in other}
    session.execute(insert(Vehicle).values(**row, created=datetime.fromisoformat(other["created"])))
    for name, keys in before["rows"].items():
        _move(session, name, keys, other["id"])
    session.execute(delete(Plate).where(Plate.vehicle_id == vehicle_id))
    for number, plate in ((vehicle_id, before["plate"]), (other["id"], other["plate"])):
        if plate:
            require_free(session, plate["normal"])
            session.execute(insert(Plate).values(vehicle_id=number, **plate))
    kept = {name: before[name] for name in ("note", "owner_id", "tags") if name in before}
    session.execute(update(Vehicle).where(Vehicle.id == vehicle_id).values(**kept))
    session.add_all([Change(vehicle_id=vehicle_id), Change(vehicle_id=other["id"])])
    session.flush()


def _kept(what: str, chosen: int | None, both: Sequence[Vehicle], values: Sequence[Any]) -> Any:
    """The one of two values that stays. Raises RegisterError where both are there, differ, and none was chosen."""
    first, second = (each.id for each in both)
    if chosen is not None and chosen not in (first, second):
        raise RegisterError(f"the {what} of vehicle {chosen} cannot stay: {first} and {second} are merged")
    if chosen is not None:
        return values[0 if chosen == first else 1]
    there = [value for value in values if value is not None]
    if len(there) == 2 and there[0] != there[1]:
        raise RegisterError(
            f"vehicles {first} and {second} have different {what}s: say whose {what} stays, with `{what}_of` "
            f"{first} or {second}"
        )
    return there[0] if there else None


def _plate(plate: Plate) -> dict[str, str]:
    return {"text": plate.text, "normal": plate.normal}


def _keys(session: Session, name: str, vehicle_id: int) -> Iterable[Any]:
    table, key = FOLLOW[name]
    return session.scalars(select(key).where(table.vehicle_id == vehicle_id).order_by(key))


def _move(session: Session, name: str, keys: Sequence[Any], vehicle_id: int) -> None:
    table, key = FOLLOW[name]
    for part in _parts(keys):
        session.execute(update(table).where(key.in_(part)).values(vehicle_id=vehicle_id))


def _parts(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK]
