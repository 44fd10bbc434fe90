"""Commands of `scripts.register` that correct vehicles: values, owners, images, duplicates."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.core.printing import shown
from app.register.corrections import Edit
from app.register.merging import Keep
from app.register.photos import parse_box, parse_modality
from app.register.tags import split_tags
from app.settings.checks import SettingsError
from scripts.register_options import HERE, Device, Folder, Url, app, open_identification, open_register, operator, say
from scripts.register_photos import Photos, takes_photos

if TYPE_CHECKING:
    from app.core.sample import Box
    from app.register.duplicates import Alike

Number = Annotated[int, typer.Argument(min=1, help="Number of the vehicle.")]
Image = Annotated[int, typer.Argument(min=1, help="Number of the image, see `show`.")]
_NONE = "none"


@app.command()
def show(vehicle: Number, register: Folder = HERE, url: Url = "") -> None:
    """Show a vehicle with the numbers of its images and owner, without the owner's name."""
    with open_register(register, url) as held:
        row, last = held.register.look_at(vehicle, operator()), held.corrections.last(vehicle)
        images = [
            {"image": view.id, "file": view.picture, "modality": view.modality}
            | {"vehicle_box": view.vehicle_box, "plate_box": view.plate_box}
            for view in row.views
        ]
        about = {"vehicle": row.id, "plate": row.plate.text if row.plate else None, "note": row.note, "tags": row.tags}
        say({**about, "owner_id": row.owner_id, "images": images, "can_undo": last and last.kind})


@app.command()
def edit(
    vehicle: Number,
    plate: Annotated[str | None, typer.Option(help="Text of the plate; '' for none.")] = None,
    note: Annotated[str | None, typer.Option(help="'' for none.")] = None,
    owner: Annotated[str | None, typer.Option(help="Name of its owner, for all vehicles of that owner.")] = None,
    flat: str | None = None,
    contact: str | None = None,
    owner_id: Annotated[int | None, typer.Option(min=1, help="Number of another owner who is enrolled.")] = None,
    new_owner: Annotated[
        bool, typer.Option("--new-owner", help="--owner, --flat and --contact are of somebody else.")
    ] = False,
    no_owner: Annotated[bool, typer.Option("--no-owner", help="Its owner is not known.")] = False,
    tags: Annotated[str | None, typer.Option(help="Short words such as EV, a comma between two; '' for none.")] = None,
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Correct plate, note and owner of a vehicle; what is left out stays as it is."""
    if no_owner and owner_id is not None:
        raise SettingsError("give --owner-id or --no-owner")
    words = None if tags is None else split_tags(tags)
    change = Edit(plate, note, owner, flat, contact, 0 if no_owner else owner_id, new_owner, words)
    if change == Edit():
        raise SettingsError("nothing to change: give --plate, --note, --tags, --owner, --flat, --contact, --owner-id")
    with open_register(register, url) as held:
        changed = held.corrections.edit(vehicle, change, account=operator())
        say({"vehicle": vehicle, "changed": changed})


@app.command()
def merge(
    vehicle: Number,
    other: Annotated[int, typer.Argument(min=1, help="The vehicle that is merged into it.")],
    owner_of: Annotated[int | None, typer.Option(help="The vehicle whose owner stays, where they differ.")] = None,
    plate_of: Annotated[int | None, typer.Option(help="The vehicle whose plate stays, where they differ.")] = None,
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Merge two vehicles that are one: images, sightings, incidents and confirmations become the first one's."""
    with open_register(register, url) as held:
        held.corrections.merge(vehicle, other, account=operator(), keep=Keep(owner_of, plate_of))
        say({"vehicle": vehicle, "merged": other, "views": len(held.register.vehicle(vehicle).views)})


@app.command(name="add-image")
@takes_photos
def add_image(
    photos: Photos,
    vehicle: Annotated[int, typer.Option(min=1, help="Number of the vehicle.")],
    register: Folder = HERE,
    url: Url = "",
    device: Device = "auto",
) -> None:
    """Add photographs to a vehicle, as `enrol --vehicle` does."""
    vehicle_photos = photos()
    with open_identification(register, url, device) as identification:
        identification.add_views(vehicle, vehicle_photos, account=operator())
        say({"vehicle": vehicle, "views": len(identification.register.vehicle(vehicle).views)})


@app.command(name="remove-image")
def remove_image(vehicle: Number, image: Image, register: Folder = HERE, url: Url = "") -> None:
    """Delete an image of a vehicle with its embeddings, for good; the last one stays."""
    with open_register(register, url) as held:
        held.corrections.remove_view(vehicle, image, account=operator())
        overwritten = held.database.forget_traces()
        say({"vehicle": vehicle, "views": len(held.register.vehicle(vehicle).views), "overwritten": overwritten})


@app.command(name="edit-image")
def edit_image(
    vehicle: Number,
    image: Image,
    modality: Annotated[str | None, typer.Option(help="visible or infrared.")] = None,
    box: Annotated[
        str | None, typer.Option(help="left,top,width,height of the vehicle in the kept image, or none.")
    ] = None,
    plate_box: Annotated[str | None, typer.Option(help="The same of the plate.")] = None,
    register: Folder = HERE,
    url: Url = "",
    device: Device = "auto",
) -> None:
    """Correct how an image was taken, and where vehicle and plate are in it; it is embedded anew."""
    from app.register.view_edits import ViewEdit, correct_view

    if modality is None and box is None and plate_box is None:
        raise SettingsError("nothing to change: give --modality, --box or --plate-box")
    taken = None if modality is None else parse_modality(modality)
    if modality is not None and taken is None:
        raise SettingsError("--modality takes visible or infrared here")
    change = ViewEdit(taken, _box(box), _box(plate_box))
    with open_identification(register, url, device) as identification:
        changed = correct_view(identification, vehicle, image, change, account=operator())
        say({"vehicle": vehicle, "image": image, "changed": changed})


@app.command()
def undo(vehicle: Number, register: Folder = HERE, url: Url = "", device: Device = "auto") -> None:
    """Undo the last change of a vehicle, within 30 days; a removed image does not come back."""
    from app.register import view_edits

    with open_identification(register, url, device) as identification:
        say({"vehicle": vehicle, "undone": view_edits.undo(identification, vehicle, account=operator())})


def offer(found: "list[Alike]") -> None:
    """Name vehicles that may be the one that was enrolled, on standard error."""
    for each in found:
        why = [] if each.cost is None else ["a similar plate"]
        why += [] if each.similarity is None else [f"similarity {100 * each.similarity:.1f} %"]
        plate = f", {shown(each.plate)}" if each.plate else ""
        print(f"this looks like vehicle {each.vehicle}{plate}: {', '.join(why)}; see `merge`", file=sys.stderr)


def _box(text: str | None) -> "Box | tuple[()] | None":
    if text is None:
        return None
    return () if text == _NONE else parse_box(text) or ()
