"""Corrections of what a register holds of a vehicle: plate, note, owner, images; and the undoing of the last one.

Every change is one transaction, and has a line in the trail by numbers. Whoever gives the version that they saw does
not overwrite what somebody else changed since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.register.errors import ChangedError, NotEnrolledError, RegisterError
from app.register.merging import Keep, merge_in, unmerge_in
from app.register.owners import OWNER_FIELDS, drop_without_vehicles, new_owner, owner_values, put_owner_back
from app.register.plate_search import normal_plate
from app.register.records import (
    UNDO_DAYS,
    NewOwner,
    get,
    keep_undo,
    require_free,
    trail,
    version_of,
)
from app.register.schema import Change, Owner, Plate, Vehicle, View, now
from app.register.tags import checked_tags
from app.register.texts import line, paragraph
from app.register.undo_table import Correction
from app.register.vehicles import Register


@dataclass(frozen=True)
class Edit:
    """New values of a vehicle: None leaves one as it is, "" takes it away.

    Args:
        plate, note, tags: of the vehicle.
        owner, flat, contact: of its owner, and so for all vehicles of that owner.
        owner_id: number of another owner who is enrolled; 0 for none.
        new_owner: `owner`, `flat` and `contact` are of somebody else, who is enrolled with this vehicle.
    """

    plate: str | None = None
    note: str | None = None
    owner: str | None = None
    flat: str | None = None
    contact: str | None = None
    owner_id: int | None = None
    new_owner: bool = False
    tags: Sequence[str] | None = None

    def of_owner(self) -> dict[str, str]:
        """The columns of an owner that are given."""
        given = {name: getattr(self, what) for name, what in OWNER_FIELDS.items()}
        return {name: line(OWNER_FIELDS[name], text) for name, text in given.items() if text is not None}


class Corrections:
    """Corrections of one register."""

    def __init__(self, register: Register) -> None:
        self.register = register
        self.database = register.database

    def edit(self, vehicle_id: int, edit: Edit, *, account: str, version: int | None = None) -> list[str]:
        """Change values of a vehicle; names of those that were others before.

        Args:
            version: of the vehicle, as it was seen; None changes it as it is now.

        Raises ChangedError, NotEnrolledError, DuplicatePlateError, TextError, RegisterError for values that do not go
        together."""
        with self.database.writing() as session:
            require_version(session, vehicle_id, version)
            return edit_in(session, vehicle_id, edit, account)

    def merge(
        self, vehicle_id: int, other: int, *, account: str, keep: Keep | None = None, version: int | None = None
    ) -> None:
        """Merge another vehicle into this one: its images, sightings, incidents and confirmations become this one's.

        Raises ChangedError, NotEnrolledError, and RegisterError for a vehicle with itself, and where owners or plates
        differ and `keep` does not say which one stays."""
        with self.database.writing() as session:
            require_version(session, vehicle_id, version)
            merge_in(session, vehicle_id, other, keep or Keep(), account)

    def remove_view(self, vehicle_id: int, view_id: int, *, account: str, version: int | None = None) -> None:
        """Delete an image of a vehicle with its embeddings, for good. Raises as `edit` does, and RegisterError for the
        last one."""
        with self.database.writing() as session:
            require_version(session, vehicle_id, version)
            view = view_of(session, vehicle_id, view_id)
            if len(view.vehicle.views) == 1:
                raise RegisterError(f"image {view_id} is the only one of vehicle {vehicle_id}: add another one first")
            images = _delete_views(session, vehicle_id, [view_id])
            session.execute(delete(Correction).where(Correction.vehicle_id == vehicle_id))
            trail(session, account, "remove view", f"vehicle {vehicle_id}", {"view": view_id})
            self.register.photos.doubtful.update(images)
        self.register.settle()

    def last(self, vehicle_id: int) -> Correction | None:
        """The last change of a vehicle, if it can be undone."""
        with self.database.reading() as session:
            row = session.get(Correction, vehicle_id)
            return row if row is not None and _can_be_undone(session, row) else None

    def undo(self, vehicle_id: int, *, account: str, version: int | None = None) -> str:
        """Undo the last change of a vehicle but that of an image, which `app.register.view_edits` embeds; its kind.

        Raises ChangedError, also for the change of an image, NotEnrolledError, and RegisterError where nothing can be
        undone."""
        with self.database.writing() as session:
            require_version(session, vehicle_id, version)
            get(session, Vehicle, vehicle_id)
            row = session.get(Correction, vehicle_id)
            if row is None or not _can_be_undone(session, row):
                raise RegisterError(f"vehicle {vehicle_id} has no last change that can be undone")
            kind, before, images = row.kind, row.before, list[str]()
            if kind == "edit":
                _restore(session, vehicle_id, before)
            elif kind == "merge":
                unmerge_in(session, vehicle_id, before)
            elif kind == "add":
                images = _delete_views(session, vehicle_id, before["views"])
            else:  # somebody corrected an image a moment ago
                raise _changed(vehicle_id)
            session.execute(delete(Correction).where(Correction.vehicle_id == vehicle_id))
            trail(session, account, f"undo {kind}", f"vehicle {vehicle_id}", {})
            self.register.photos.doubtful.update(images)
        self.register.settle()
        return kind


def require_version(session: Session, vehicle_id: int, version: int | None) -> None:
    """Raise NotEnrolledError for a vehicle that is not there, and ChangedError if its version is another one."""
    get(session, Vehicle, vehicle_id)
    if version is not None and version_of(session, vehicle_id) != version:
        raise _changed(vehicle_id)


def _changed(vehicle_id: int) -> ChangedError:
    return ChangedError(
        f"somebody else changed vehicle {vehicle_id} meanwhile; nothing was changed: load it again, and repeat what is "
        "still needed"
    )


def view_of(session: Session, vehicle_id: int, view_id: int) -> View:
    """An image of a vehicle. Raises NotEnrolledError."""
    view = get(session, View, view_id)
    if view.vehicle_id != vehicle_id:
        raise NotEnrolledError(f"vehicle {vehicle_id} has no image {view_id}")
    return view


def edit_in(session: Session, vehicle_id: int, edit: Edit, account: str) -> list[str]:
    """`Corrections.edit`, in a transaction that is under way."""
    vehicle = get(session, Vehicle, vehicle_id)
    before: dict[str, Any] = {
        "note": vehicle.note,
        "tags": list(vehicle.tags),
        "plate": vehicle.plate and {"text": vehicle.plate.text, "normal": vehicle.plate.normal},
        "owner_id": vehicle.owner_id,
    }
    owner = vehicle.owner and owner_values(vehicle.owner)
    changed = [
        *_set_plate(session, vehicle, edit.plate),
        *_set_note(vehicle, edit.note),
        *_set_tags(vehicle, edit.tags),
    ]
    if names := _set_owner(session, vehicle, edit):
        changed += names
        before["owner"] = owner
    if not changed:
        return []
    touched = {vehicle_id}
    if names and vehicle.owner_id == before["owner_id"]:
        touched.update(session.scalars(select(Vehicle.id).where(Vehicle.owner_id == vehicle.owner_id)))
    session.add_all(Change(vehicle_id=number) for number in sorted(touched))
    session.flush()
    trail(session, account, "correct", f"vehicle {vehicle_id}", {"fields": changed, "owner": vehicle.owner_id})
    keep_undo(session, vehicle_id, "edit", before, account)
    return changed


def _set_plate(session: Session, vehicle: Vehicle, text: str | None) -> list[str]:
    if text is None or (text := line("plate", text)) == (vehicle.plate.text if vehicle.plate else ""):
        return []
    normal = normal_plate(text) if text else ""
    if vehicle.plate is None or normal != vehicle.plate.normal:
        if normal:
            require_free(session, normal)
        vehicle.plate = None
        session.flush()  # the row of the plate has the number of the vehicle for a key
        vehicle.plate = Plate(text=text, normal=normal) if normal else None
    else:
        vehicle.plate.text = text
    return ["plate"]


def _set_note(vehicle: Vehicle, text: str | None) -> list[str]:
    if text is None or (text := paragraph("note", text)) == vehicle.note:
        return []
    vehicle.note = text
    return ["note"]


def _set_tags(vehicle: Vehicle, given: Sequence[str] | None) -> list[str]:
    if given is None or (tags := checked_tags(given)) == vehicle.tags:
        return []
    vehicle.tags = tags
    return ["tags"]


def _set_owner(session: Session, vehicle: Vehicle, edit: Edit) -> list[str]:
    """Change the owner of a vehicle, or make it somebody else's; names of what changed."""
    given, held = edit.of_owner(), vehicle.owner_id
    if edit.owner_id is not None:
        if given or edit.new_owner:
            raise RegisterError("give the number of an owner, or name, flat and contact")
        if edit.owner_id == (held or 0):
            return []
        vehicle.owner = get(session, Owner, edit.owner_id) if edit.owner_id else None
        drop_without_vehicles(session, held)
        return ["owner_id"]
    if edit.new_owner or (given and vehicle.owner is None):
        if not edit.new_owner and not any(given.values()):
            return []
        vehicle.owner = new_owner(NewOwner(**{"name": "", **given}))
        drop_without_vehicles(session, held)
        return ["owner_id"]
    if vehicle.owner is None:
        return []
    if given.get("name") == "":
        raise RegisterError("an owner needs a name; owner number 0 takes the owner away from the vehicle")
    changed = [name for name, text in given.items() if text != getattr(vehicle.owner, name)]
    for name in changed:
        setattr(vehicle.owner, name, given[name])
    return [OWNER_FIELDS[name] for name in changed]


def _delete_views(session: Session, vehicle_id: int, numbers: Sequence[int]) -> list[str]:
    """Delete images of a vehicle; names of their files."""
    views = list(session.scalars(select(View).where(View.vehicle_id == vehicle_id, View.id.in_(numbers))))
    names = [name for view in views for name in (view.picture, view.plate_picture) if name]
    for view in views:
        session.delete(view)
    session.add(Change(vehicle_id=vehicle_id))
    session.flush()
    return names


def _can_be_undone(session: Session, row: Correction) -> bool:
    return row.change == version_of(session, row.vehicle_id) and row.created >= now() - timedelta(days=UNDO_DAYS)


def _restore(session: Session, vehicle_id: int, before: Mapping[str, Any]) -> None:
    """Give a vehicle the values that it had before an edit."""
    vehicle = get(session, Vehicle, vehicle_id)
    held, touched = vehicle.owner_id, {vehicle_id}
    put_owner_back(session, before.get("owner"), corrected=held == before["owner_id"])
    vehicle.owner_id, vehicle.note = before["owner_id"], before["note"]
    vehicle.tags = before.get("tags", vehicle.tags)
    session.flush()
    if held != before["owner_id"]:
        drop_without_vehicles(session, held)
    elif held is not None:
        touched.update(session.scalars(select(Vehicle.id).where(Vehicle.owner_id == held)))
    plate = before["plate"]
    if plate != (vehicle.plate and {"text": vehicle.plate.text, "normal": vehicle.plate.normal}):
        vehicle.plate = None
        session.flush()
        if plate:
            require_free(session, plate["normal"])
            vehicle.plate = Plate(**plate)
    session.add_all(Change(vehicle_id=number) for number in sorted(touched))
    session.flush()
