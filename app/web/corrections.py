"""Corrections in the service: values, images and duplicates of vehicles, for managers."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.core.sample import Box
from app.register.accounts import Role, User
from app.register.corrections import Edit
from app.register.duplicates import vehicles_like
from app.register.errors import BoxError
from app.register.merging import Keep
from app.register.schema import Vehicle
from app.register.view_edits import ViewEdit, correct_view, undo
from app.web.answers import AlikeAnswer, VehicleAnswer
from app.web.api import Id, Service
from app.web.bodies import Given, Line, Number, Text
from app.web.marks import N_
from app.web.refusals import REFUSED
from app.web.security import Manager

router = APIRouter(prefix="/api", responses=REFUSED)
Version = Annotated[int, Field(ge=0, le=2**31 - 1, description="Of the vehicle, as it was seen; 409 if it is another.")]
OfView = Annotated[list[float], Field(max_length=4, description="left, top, width, height in pixels; empty for none.")]
_DONE = {
    "edit": N_("values were changed"),
    "view": N_("an image was corrected"),
    "add": N_("images were added"),
    "merge": N_("another vehicle was merged into it"),
}


class VehicleChange(Given):
    """New values of a vehicle. A field that is left out, or null, stays as it is; "" takes a value away."""

    version: Version
    plate: Line | None = None
    note: Text | None = None
    owner: Line | None = Field(None, description="Name of the owner, for all vehicles of that owner.")
    flat: Line | None = None
    contact: Line | None = None
    owner_id: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        None, description="Number of another owner who is enrolled; 0 for none."
    )
    tags: Annotated[list[Line], Field(max_length=50)] | None = Field(None, description="Short words; empty for none.")
    new_owner: bool = Field(False, description="owner, flat and contact are of somebody who is not enrolled yet.")


class ViewChange(Given):
    """New values of an enrolled image, which is embedded anew. A field that is left out, or null, stays as it is."""

    version: Version
    modality: Literal["visible", "infrared"] | None = None
    vehicle_box: OfView | None = None
    plate_box: OfView | None = None


class Merge(Given):
    """Another vehicle that is the same one."""

    version: Version
    other: Number = Field(description="Number of the vehicle that is merged into this one.")
    owner_of: Number | None = Field(None, description="The vehicle whose owner stays, where they differ.")
    plate_of: Number | None = Field(None, description="The vehicle whose plate stays, where they differ.")


class Undo(Given):
    """The state to which the last change led."""

    version: Version


class UndoneAnswer(BaseModel):
    """A vehicle after its last change was undone."""

    undone: str = Field(description="edit, view, add or merge.")
    vehicle: VehicleAnswer


async def _vehicle(service: Service, number: int) -> VehicleAnswer:
    return VehicleAnswer.of(await service.aside(service.identification.register.vehicle, number))


@router.patch("/vehicles/{vehicle}")
async def change_vehicle(user: Manager, service: Service, vehicle: Id, change: VehicleChange) -> VehicleAnswer:
    """Correct plate, note and owner of a vehicle, or give it to another owner."""
    edit = Edit(**change.model_dump(exclude={"version"}))
    about: dict[str, Any] = {"account": user.name, "version": change.version}
    await service.aside(service.identification.corrections.edit, vehicle, edit, **about)
    return await _vehicle(service, vehicle)


@router.patch("/vehicles/{vehicle}/views/{view}")
async def change_view(user: Manager, service: Service, vehicle: Id, view: Id, change: ViewChange) -> VehicleAnswer:
    """Correct modality and boxes of an enrolled image; boxes are in pixels of the image as it is kept."""
    edit = ViewEdit(change.modality, _box(change.vehicle_box), _box(change.plate_box))
    about: dict[str, Any] = {"account": user.name, "version": change.version}
    await service.with_network(correct_view, service.identification, vehicle, view, edit, **about)
    return await _vehicle(service, vehicle)


@router.delete("/vehicles/{vehicle}/views/{view}")
async def remove_view(
    user: Manager, service: Service, vehicle: Id, view: Id, version: Annotated[int, Query(ge=0, le=2**31 - 1)]
) -> VehicleAnswer:
    """Delete an enrolled image, for good; the last one of a vehicle stays."""
    about: dict[str, Any] = {"account": user.name, "version": version}
    await service.aside(service.identification.corrections.remove_view, vehicle, view, **about)
    return await _vehicle(service, vehicle)


@router.post("/vehicles/{vehicle}/merge")
async def merge(user: Manager, service: Service, vehicle: Id, merged: Merge) -> VehicleAnswer:
    """Merge another vehicle into this one: images, sightings, incidents and confirmations become this one's."""
    about: dict[str, Any] = {"account": user.name, "version": merged.version}
    keep = Keep(merged.owner_of, merged.plate_of)
    await service.aside(service.identification.corrections.merge, vehicle, merged.other, keep=keep, **about)
    return await _vehicle(service, vehicle)


@router.post("/vehicles/{vehicle}/undo")
async def undo_last(user: Manager, service: Service, vehicle: Id, last: Undo) -> UndoneAnswer:
    """Undo the last change of a vehicle, within 30 days. A removed image does not come back."""
    about: dict[str, Any] = {"account": user.name, "version": last.version}
    kind = await service.with_network(undo, service.identification, vehicle, **about)
    return UndoneAnswer(undone=kind, vehicle=await _vehicle(service, vehicle))


@router.get("/vehicles/{vehicle}/alike")
async def alike(user: Manager, service: Service, vehicle: Id) -> list[AlikeAnswer]:
    """Other vehicles that may be the same one: of nearly the same plate, or above the calibrated threshold."""
    del user
    found = await service.with_network(vehicles_like, service.identification, vehicle)
    return [AlikeAnswer.of(row) for row in found]


async def on_page(service: Service, vehicle: Vehicle, user: User) -> dict[str, Any]:
    """What the page of a vehicle shows of its last change; nothing to guards."""
    if user.role < Role.manager:
        return {}
    last = await service.aside(service.identification.corrections.last, vehicle.id)
    return {"last": last, "done": _DONE.get(last.kind, last.kind) if last else ""}


def _box(given: list[float] | None) -> Box | tuple[()] | None:
    if not given:
        return None if given is None else ()
    if len(given) != 4:
        raise BoxError(f"a box has left, top, width and height, not {len(given)} numbers")
    return Box(*given)
