"""A site's register: whose vehicle is this?

Run: python -m scripts.register reembed --run outputs/two_cam/<time>       the network that recognises; the first step
     python -m scripts.register reembed --onnx network.onnx                the same, from a file of scripts.export
     python -m scripts.register enrol front.jpg rear.jpg --owner "A. Resident" --flat 12 --plate "AB 123"
     python -m scripts.register import residents.csv
     python -m scripts.register calibrate data=two_cam data.root=FOLDER data.eval_split=val
     python -m scripts.register identify photo.jpg
     python -m scripts.register detector outputs/detector/detector.safetensors      finds vehicles in photographs
     python -m scripts.register plate-reader outputs/plates_countries-central/<time> --model central     reads plates
     python -m scripts.register list add --kind deny --plate "AB 123" --reason "contractor banned"
     python -m scripts.register list | show | forget | retention | audit | export | events
     python -m scripts.register backup FOLDER | restore FOLDER
     python -m scripts.register edit | merge | add-image | remove-image | edit-image | undo

The register is the folder of `--register` (or the variable REGISTER), by default `register`; its database is a file
there unless `--url` (or REGISTER_URL) names another. Each command prints one JSON object last.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.core.printing import shown
from app.register.records import MOST_NUMBER, NewOwner
from app.register.retention import MOST_DAYS, forget_old_sightings, retention_days, set_retention_days
from app.register.tables import write_listing
from app.register.tags import split_tags, tagged
from app.settings.checks import SettingsError
from scripts import (  # noqa: F401 - their commands
    register_backup,
    register_events,
    register_import,
    register_lists,
    register_networks,
)
from scripts.command import command, run_app
from scripts.register_corrections import offer
from scripts.register_options import HERE, Device, Folder, Url, app, open_identification, open_register, operator, say
from scripts.register_photos import Photos, takes_photos

if TYPE_CHECKING:
    from app.register.detect import Framed

Onnx = Annotated[Path | None, typer.Option(envvar="REGISTER_ONNX", help="ONNX file of the active model.")]


@app.command()
@takes_photos
def enrol(
    photos: Photos,
    owner: Annotated[str, typer.Option(help="Name of a new owner.")] = "",
    flat: str = "",
    contact: str = "",
    owner_id: Annotated[int | None, typer.Option(help="Number of an owner who is enrolled.")] = None,
    vehicle: Annotated[int | None, typer.Option(help="Number of a vehicle, to add photographs to it.")] = None,
    plate: Annotated[str, typer.Option(help="Text of the plate.")] = "",
    note: str = "",
    tags: Annotated[str, typer.Option(help="Short words such as EV, with a comma between two.")] = "",
    register: Folder = HERE,
    url: Url = "",
    device: Device = "auto",
) -> None:
    """Enrol a vehicle, or further photographs of one."""
    from app.register.duplicates import offered  # imports torch

    if owner and owner_id is not None:
        raise SettingsError("give --owner or --owner-id")
    if vehicle is not None and (owner or owner_id is not None or plate or note or tags):
        raise SettingsError("--vehicle takes photographs alone")
    vehicle_photos = photos()
    with open_identification(register, url, device) as identification:
        alike = []
        if vehicle is not None:
            identification.add_views(vehicle, vehicle_photos, account=operator())
        else:
            who = NewOwner(owner, flat, contact) if owner or flat or contact else owner_id
            about = {"account": operator(), "plate": plate, "note": note}
            vehicle = identification.enrol(vehicle_photos, **about, owner=who, also=tagged(split_tags(tags)))
            alike = offered(identification, vehicle)
            offer(alike)
        views = len(identification.register.vehicle(vehicle).views)
        say({"vehicle": vehicle, "views": views} | ({"looks_like": [row.as_dict() for row in alike]} if alike else {}))


@app.command()
@takes_photos
def identify(
    photos: Photos,
    owner: Annotated[bool, typer.Option("--owner", help="Tell whose it is; the look is written to the trail.")] = False,
    enrol_unknown: Annotated[bool, typer.Option("--enrol-unknown", help="Enrol a vehicle that matches none.")] = False,
    onnx: Onnx = None,
    register: Folder = HERE,
    url: Url = "",
    device: Device = "auto",
) -> None:
    """Find the vehicle that photographs show."""
    vehicle_photos = photos()
    with open_identification(register, url, device, onnx) as identification:
        account = operator()
        answer = identification.identify(vehicle_photos, account=account, enrol_unknown=enrol_unknown)
        told = {**answer.decision.as_dict(), "sighting": answer.sighting, "enrolled": answer.enrolled}
        told["photographs"] = [_framing(framed) for framed in answer.framed]
        told["listed"] = [each.as_dict() for each in answer.listed]
        told["plate_text"] = answer.plate and answer.plate.as_dict(plates=True)
        number = answer.decision.vehicle
        if number is not None:
            plate = identification.register.vehicle(number).plate
            told["plate"] = plate.text if plate else None
            if owner:
                found = identification.register.owner_of(number, account)
                told["owner"] = found and {"name": found.name, "flat": found.flat, "contact": found.contact}
        say(told)


@app.command()
def forget(
    vehicle: Annotated[int | None, typer.Option(help="Number of a vehicle.")] = None,
    owner_id: Annotated[int | None, typer.Option(help="Number of an owner, with all vehicles.")] = None,
    sightings: Annotated[
        int | None, typer.Option(min=0, max=MOST_DAYS, help="Days: sightings that are older, and led to no report.")
    ] = None,
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Delete a vehicle or an owner everywhere: images, embeddings, sightings, incidents; or old sightings."""
    with open_register(register, url) as held:
        if sightings is not None:
            if vehicle is not None or owner_id is not None:
                raise SettingsError("--sightings takes a number of days, and nothing beside it")
            pictures, overwritten = forget_old_sightings(held, sightings, operator())
            say({"pictures": pictures, "overwritten": overwritten})
        else:
            done = held.register.forget(account=operator(), vehicle_id=vehicle, owner_id=owner_id)
            say(asdict(done))
        held.register.tidy()


@app.command()
def retention(
    days: Annotated[
        int | None, typer.Argument(min=0, max=MOST_DAYS, help="Days; 0 for ever. Without it, the setting is shown.")
    ] = None,
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Set for how many days the service keeps sightings that led to no report."""
    with open_register(register, url) as held:
        if days is not None:
            set_retention_days(held.database, days or None, operator())
        say({"retention_days": retention_days(held.database)})


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A new folder.")], register: Folder = HERE, url: Url = ""
) -> None:
    """Write the register as a table with its images, which `import` reads."""
    with open_register(register, url) as held:
        count = write_listing(held, folder, operator())
        say({"folder": str(folder), "vehicles": count})


@app.command()
def audit(
    limit: Annotated[int, typer.Option(min=1, max=MOST_NUMBER, help="Lines, newest first.")] = 50,
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Show who did what."""
    with open_register(register, url) as held:
        lines = [
            {"time": row.created.isoformat(timespec="seconds"), "account": row.account, "action": row.action}
            | {"subject": row.subject, "details": row.details}
            for row in held.journal.audit(limit)
        ]
    for line in lines:
        print(shown(f"{line['time']}  {line['account']}  {line['action']}  {line['subject']}".rstrip()))
    say({"audit": lines})


def _framing(framed: "Framed") -> dict[str, Any]:
    """Where a vehicle was looked for, and how many there are."""
    box, plate, detections = framed.vehicle_photo.vehicle_box, framed.vehicle_photo.plate_box, framed.detections
    return {
        "modality": framed.modality,
        "box": box and [round(value, 1) for value in box],
        "plate_box": plate and [round(value, 1) for value in plate],
        "kind": framed.kind,
        "vehicles": None
        if detections is None
        else [[round(value, 1) for value in found.box] for found in detections.vehicles],
    }


def main(argv: Sequence[str]) -> None:
    """Run one command. Raises SettingsError for a wrong word, and what the register refuses."""
    run_app(app, argv, "python -m scripts.register")


if __name__ == "__main__":
    os.umask(0o077)
    command(main, sys.argv[1:])
