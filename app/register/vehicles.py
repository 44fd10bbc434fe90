"""The register: owners, vehicles, plates, and images with their embeddings.

Every method is one transaction: it succeeds as a whole, or raises a `RegisterError` and changes nothing.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload, selectinload

from app.register.database import Database
from app.register.errors import AnotherModelError, RegisterError
from app.register.matcher import held_name
from app.register.notes import forget_notes
from app.register.owners import forget_corrections_of, new_owner
from app.register.photos import Photos
from app.register.plate_search import normal_plate
from app.register.records import (
    MOST_NUMBER,
    Also,
    Forgotten,
    Glance,
    NewOwner,
    NewView,
    active_model,
    embeddings,
    get,
    keep_undo,
    named_images,
    nothing_else,
    require_free,
    trail,
)
from app.register.schema import (
    Change,
    Confirmation,
    Incident,
    Owner,
    Plate,
    Sighting,
    Vehicle,
    View,
)
from app.register.texts import line, paragraph

_ORPHAN_SECONDS = 3600.0  # an image is written before its row


class Register:
    """One site's register.

    Args:
        database: its tables.
        photos: its images.
    """

    def __init__(self, database: Database, photos: Photos) -> None:
        self.database = database
        self.photos = photos

    def enrol(
        self,
        views: Sequence[NewView],
        *,
        model_id: int,
        account: str,
        owner: NewOwner | int | None = None,
        plate: str = "",
        note: str = "",
        also: Also = nothing_else,
    ) -> int:
        """Enrol a vehicle with its images; its number.

        Args:
            also: writes further rows in the same transaction, given the vehicle's number.
            owner: a new one, or the number of one who is there; None for an unknown vehicle.
            plate: its text, "" if not known.

        Raises DuplicatePlateError, NotEnrolledError for an owner who is not there, AnotherModelError if another model
        is active by now, TextError for a text that is not kept, RegisterError without images, or for an owner without a
        name."""
        with self.database.writing() as session:
            number = self.enrol_in(
                session, views, model_id=model_id, account=account, owner=owner, plate=plate, note=note
            )
            also(session, number)
            return number

    def enrol_in(
        self,
        session: Session,
        views: Sequence[NewView],
        *,
        model_id: int,
        account: str,
        owner: NewOwner | int | None = None,
        plate: str = "",
        note: str = "",
    ) -> int:
        """`enrol`, in a transaction that is under way."""
        if not views:
            raise RegisterError("a vehicle needs at least one photo")
        plate, note = line("plate", plate), paragraph("note", note)
        normal = normal_plate(plate) if plate else ""
        if normal:
            require_free(session, normal)
        who = None
        if owner is not None:
            who = new_owner(owner) if isinstance(owner, NewOwner) else get(session, Owner, owner)
        vehicle = Vehicle(note=note, owner=who, plate=Plate(text=plate, normal=normal) if normal else None)
        session.add(vehicle)
        session.flush()
        self._add(session, vehicle, views, model_id)
        trail(session, account, "enrol", f"vehicle {vehicle.id}", {"owner": vehicle.owner_id, "views": len(views)})
        return vehicle.id

    def add_views(
        self,
        vehicle_id: int,
        views: Sequence[NewView],
        *,
        model_id: int,
        account: str,
        also: Also = nothing_else,
    ) -> None:
        """Enrol further images of a vehicle. Raises as `enrol` does."""
        with self.database.writing() as session:
            added = self._add(session, get(session, Vehicle, vehicle_id), views, model_id)
            trail(session, account, "add views", f"vehicle {vehicle_id}", {"views": len(views)})
            keep_undo(session, vehicle_id, "add", {"views": added}, account)
            also(session, vehicle_id)

    def _add(self, session: Session, vehicle: Vehicle, views: Sequence[NewView], model_id: int) -> list[int]:
        model = active_model(session)
        if model is None or model.id != model_id:
            raise AnotherModelError(f"the active model is {model and model.digest} by now")
        added = []
        for new in views:
            if not new.vectors:
                raise RegisterError("an image without embeddings cannot be found again")
            if set(new.vectors) - {held_name(library, new.modality) for library in model.libraries}:
                raise AnotherModelError(f"libraries {sorted(new.vectors)} are not those of model {model.digest}")
            view = View(vehicle_id=vehicle.id, **new.as_dict())
            session.add(view)
            session.flush()
            session.add_all(embeddings(model_id, new.vectors, view.id))
            added.append(view.id)
        session.add(Change(vehicle_id=vehicle.id))
        return added

    def forget(self, *, account: str, vehicle_id: int | None = None, owner_id: int | None = None) -> Forgotten:
        """Delete a vehicle, or an owner with all vehicles, everywhere: images, embeddings, incidents, and
        sightings that matched it or that somebody confirmed to show it. An owner goes with the last vehicle.

        The trail keeps the deletion, by numbers alone. Raises NotEnrolledError."""
        if (vehicle_id is None) == (owner_id is None):
            raise RegisterError("forget one vehicle or one owner (on the command line also --sightings DAYS)")
        with self.database.writing() as session:
            # One whose vehicles are somebody else's by now may still be named in what undoes that.
            is_named = owner_id is not None and forget_corrections_of(session, owner_id)
            owner = (
                None
                if owner_id is None
                else session.get(Owner, owner_id)
                if is_named
                else get(session, Owner, owner_id)
            )
            vehicles = (
                [get(session, Vehicle, vehicle_id or 0)] if owner_id is None else list(owner.vehicles if owner else [])
            )
            if owner_id is None and (its := vehicles[0].owner) and its.vehicles == vehicles:
                owner = its
                forget_corrections_of(session, its.id)
            numbers = [vehicle.id for vehicle in vehicles]
            named = select(Confirmation.sighting_id).where(Confirmation.vehicle_id.in_(numbers))
            its_own = Sighting.vehicle_id.in_(numbers) | Sighting.id.in_(named)
            sightings = list(session.scalars(select(Sighting).where(its_own)))
            seen = [sighting.id for sighting in sightings]
            incidents = list(
                session.scalars(
                    select(Incident).where(Incident.vehicle_id.in_(numbers) | Incident.sighting_id.in_(seen))
                )
            )
            views = [view for vehicle in vehicles for view in vehicle.views]
            images = [name for view in views for name in (view.picture, view.plate_picture) if name]
            images += [name for sighting in sightings for name in sighting.pictures]
            forget_notes(session, incidents)
            for row in incidents:
                session.delete(row)
            session.flush()
            for sighting in sightings:
                session.delete(sighting)
            session.flush()
            for vehicle in vehicles:
                session.delete(vehicle)
                session.add(Change(vehicle_id=vehicle.id))
            session.flush()
            if owner:
                session.delete(owner)
            done = Forgotten(int(owner is not None), numbers, len(views), len(sightings), len(incidents))
            details = {
                "vehicles": numbers,
                "views": len(views),
                "sightings": len(sightings),
                "incidents": len(incidents),
            }
            trail(
                session,
                account,
                "forget",
                f"vehicle {vehicle_id}" if owner_id is None else f"owner {owner_id}",
                details,
            )
            self.photos.doubtful.update(images)  # until it is known that no row names them
        try:
            overwritten = self.database.forget_traces()
        finally:
            self.photos.drop(images)
            self.photos.doubtful.difference_update(images)
        return replace(done, overwritten=overwritten)

    def vehicle(self, vehicle_id: int) -> Vehicle:
        """A vehicle with its plate and its images, but without its owner. Raises NotEnrolledError."""
        with self.database.reading() as session:
            vehicle = get(session, Vehicle, vehicle_id)
            _ = vehicle.plate, vehicle.views
            return vehicle

    def look_at(self, vehicle_id: int, account: str) -> Vehicle:
        """`vehicle`, with a line in the trail."""
        with self.database.writing() as session:
            vehicle = get(session, Vehicle, vehicle_id)
            _ = vehicle.plate, vehicle.views
            trail(session, account, "look at vehicle", f"vehicle {vehicle_id}", {})
            return vehicle

    def has_view(self, view_id: int) -> bool:
        """Whether an image is still enrolled."""
        with self.database.reading() as session:
            return session.get(View, view_id) is not None

    def seen_by_guards(self, vehicle_id: int) -> Glance:
        """Details that an identification shows to all who may identify; empty if the vehicle was just forgotten."""
        with self.database.reading() as session:
            vehicle = session.get(Vehicle, vehicle_id)
            if vehicle is None:
                return Glance(None, None, {})
            plate, owner = vehicle.plate, vehicle.owner
            images = {view.id: view.picture for view in vehicle.views}
            return Glance(plate.text if plate else None, owner.flat if owner else None, images, vehicle.tags)

    def owner_of(self, vehicle_id: int, account: str) -> Owner | None:
        """The owner of a vehicle; the trail says who saw it. Raises NotEnrolledError."""
        with self.database.writing() as session:
            vehicle = get(session, Vehicle, vehicle_id)
            trail(session, account, "look at owner", f"vehicle {vehicle_id}", {"owner": vehicle.owner_id})
            return vehicle.owner

    def vehicles(self, after: int = 0, limit: int | None = None) -> list[Vehicle]:
        """Vehicles with plates and images by number, from the one after `after`."""
        with self.database.reading() as session:
            query = select(Vehicle).options(joinedload(Vehicle.plate), selectinload(Vehicle.views))
            after = min(after, MOST_NUMBER)
            return list(session.scalars(query.where(Vehicle.id > after).order_by(Vehicle.id).limit(limit)))

    def everything(self, account: str) -> list[Vehicle]:
        """All vehicles with plates, images and owners, as they are at one moment; it is written to the trail."""
        with self.database.writing() as session:
            query = select(Vehicle).options(
                joinedload(Vehicle.plate), joinedload(Vehicle.owner), selectinload(Vehicle.views)
            )
            found = list(session.scalars(query.order_by(Vehicle.id)))
            trail(session, account, "export", "", {"vehicles": len(found)})
            return found

    def counts(self) -> dict[str, int]:
        """Rows of each kind."""
        kinds = {"owners": Owner, "vehicles": Vehicle, "views": View, "sightings": Sighting, "incidents": Incident}
        with self.database.reading() as session:
            return {name: session.scalar(select(func.count()).select_from(table)) or 0 for name, table in kinds.items()}

    def tidy(self) -> int:
        """Delete images that no row names: of failed enrolments, and of vehicles that a process forgot before it was
        killed."""
        before = time.time() - _ORPHAN_SECONDS
        with self.database.reading() as session:
            named = named_images(session)
        return self.photos.drop_all_but(named, before)

    def settle(self) -> None:
        """Delete doubtful images that no row names: the database answers again, and says what it kept."""
        if not self.photos.doubtful:
            return
        with self.database.writing() as session:  # a commit that is still under way has the turn before
            doubtful = set(self.photos.doubtful)
            orphans = doubtful - named_images(session)
        self.photos.drop(orphans)
        self.photos.doubtful -= doubtful
