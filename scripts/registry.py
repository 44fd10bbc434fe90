"""A site's register: whose vehicle is this?

Run: python -m scripts.registry reembed --run outputs/two_cam/<time>       the network that recognises; the first step
     python -m scripts.registry reembed --onnx network.onnx                the same, from a file of scripts.export
     python -m scripts.registry enrol front.jpg rear.jpg --owner "A. Resident" --flat 12 --plate "AB 123"
     python -m scripts.registry import residents.csv
     python -m scripts.registry calibrate data=two_cam data.eval_split=val
     python -m scripts.registry identify photo.jpg
     python -m scripts.registry detector outputs/detector/detector.safetensors      finds vehicles in photographs
     python -m scripts.registry plate-reader outputs/plates_countries-central/<time> --model central     reads plates
     python -m scripts.registry list | forget | audit | export

The register is the folder of `--register` (or the variable REGISTER), by default `register`; its database is a file
there unless `--url` (or REGISTER_URL) names another. Each command prints one JSON object last.
"""

import getpass
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from app.checks import SettingsError
from app.data.source import open_source
from app.detection.checkpoint import build as build_detector
from app.detection.settings import DetectorSettings
from app.registry import calibrate as calibration
from app.registry.desk import Desk
from app.registry.framing import Framed
from app.registry.listing import enrol_entries, read_listing, write_listing
from app.registry.photos import read_photo
from app.registry.records import NewOwner
from app.registry.schema import Vehicle, now
from app.registry.shots import Shot, make_shots, parse_box, parse_modality
from scripts.command import command
from scripts.evaluate import with_overrides
from scripts.progress import Progress

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Folder = Annotated[Path, typer.Option("--register", envvar="REGISTER", help="Folder of the register.")]
Url = Annotated[str, typer.Option(envvar="REGISTER_URL", help="Database, if not a file in the folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Onnx = Annotated[Path | None, typer.Option(envvar="REGISTER_ONNX", help="ONNX file of the model that serves.")]
Pictures = Annotated[list[Path], typer.Argument(help="Photographs of one vehicle.")]
PlatePictures = Annotated[list[Path] | None, typer.Option(help="A picture of the plate, for each photograph in turn.")]
Boxes = Annotated[list[str] | None, typer.Option(help="left,top,width,height in pixels, for each photograph in turn.")]
Modality = Annotated[str, typer.Option(help="visible or infrared; auto takes photographs without colour for infrared.")]
Whole = Annotated[bool, typer.Option("--whole", help="They show the vehicle alone: a detector is not asked.")]
_HERE = Path("register")
_COCO_THRESHOLD = 0.5


@app.callback()
def _several_commands() -> None:
    """A site's register."""


@app.command()
def reembed(
    run: Annotated[Path | None, typer.Option(help="Run folder of the network.")] = None,
    model: Annotated[str, typer.Option(help="Its checkpoint: global, local-NAME, central.")] = "global",
    onnx: Annotated[Path | None, typer.Option(help="ONNX file, instead of a run folder.")] = None,
    register: Folder = _HERE,
    url: Url = "",
    device: Device = "auto",
) -> None:
    """Let a network serve; until all pictures are embedded with it, the one before goes on."""
    if (run is None) == (onnx is None):
        raise SettingsError("give --run or --onnx")
    with _desk(register, url, device, new=True) as desk, Progress(1) as progress:

        def told(done: int, total: int) -> None:
            progress.step_done("pictures", done, total)

        if run is not None:
            served = desk.use_model(run, model, operator(), told)
        else:
            assert onnx is not None
            served = desk.use_onnx(onnx, operator(), told)
        _say({"model": served.digest, "libraries": served.libraries, "views": desk.register.counts()["views"]})


@app.command()
def enrol(
    pictures: Pictures,
    owner: Annotated[str, typer.Option(help="Name of a new owner.")] = "",
    flat: str = "",
    contact: str = "",
    owner_id: Annotated[int | None, typer.Option(help="Number of an owner who is enrolled.")] = None,
    vehicle: Annotated[int | None, typer.Option(help="Number of a vehicle, to add photographs to it.")] = None,
    plate: Annotated[str, typer.Option(help="Text of the plate.")] = "",
    note: str = "",
    plate_picture: PlatePictures = None,
    box: Boxes = None,
    plate_box: Boxes = None,
    modality: Modality = "auto",
    whole: Whole = False,
    register: Folder = _HERE,
    url: Url = "",
    device: Device = "auto",
) -> None:
    """Enrol a vehicle, or further photographs of one."""
    if owner and owner_id is not None:
        raise SettingsError("give --owner or --owner-id")
    if vehicle is not None and (owner or owner_id is not None or plate or note):
        raise SettingsError("--vehicle takes photographs alone")
    shots = _shots(pictures, plate_picture, box, plate_box, modality, whole)
    with _desk(register, url, device) as desk:
        if vehicle is not None:
            desk.add_views(vehicle, shots, account=operator())
        else:
            who = NewOwner(owner, flat, contact) if owner or flat or contact else owner_id
            vehicle = desk.enrol(shots, account=operator(), owner=who, plate=plate, note=note)
        _say({"vehicle": vehicle, "views": len(desk.register.vehicle(vehicle).views)})


@app.command(name="import")
def import_(
    listing: Annotated[
        Path, typer.Argument(help="CSV or Parquet, one row a picture; docs/register.md has the columns.")
    ],
    register: Folder = _HERE,
    url: Url = "",
    device: Device = "auto",
) -> None:
    """Enrol the vehicles of a table; nothing is enrolled unless all of the table can be understood."""
    if not listing.is_file():
        raise FileNotFoundError(f"no such file: {listing}")
    entries = read_listing(listing)
    enrolled, refused = [], []
    with _desk(register, url, device) as desk, Progress(1) as progress:
        desk.serving()  # without a network every row would be refused
        for done, (entry, result) in enumerate(enrol_entries(desk, entries, operator()), start=1):
            progress.step_done("vehicles", done, len(entries))
            if isinstance(result, int):
                enrolled.append(result)
            else:
                refused.append({"rows": [row.number for row in entry.rows], "reason": str(result)})
                print(f"refused: {entry.name}: {result}", file=sys.stderr)
    _say({"enrolled": len(enrolled), "vehicles": enrolled, "refused": refused})
    if refused:
        sys.exit(1)


@app.command()
def identify(
    pictures: Pictures,
    plate_picture: PlatePictures = None,
    box: Boxes = None,
    plate_box: Boxes = None,
    modality: Modality = "auto",
    whole: Whole = False,
    owner: Annotated[bool, typer.Option("--owner", help="Tell whose it is; the look is written to the trail.")] = False,
    enrol_unknown: Annotated[bool, typer.Option("--enrol-unknown", help="Enrol a vehicle that matches none.")] = False,
    onnx: Onnx = None,
    register: Folder = _HERE,
    url: Url = "",
    device: Device = "auto",
) -> None:
    """Find the vehicle that photographs show."""
    shots = _shots(pictures, plate_picture, box, plate_box, modality, whole)
    with _desk(register, url, device, onnx) as desk:
        account = operator()
        answer = desk.identify(shots, account=account, enrol_unknown=enrol_unknown)
        told = {**answer.decision.as_dict(), "sighting": answer.sighting, "enrolled": answer.enrolled}
        told["photographs"] = [_framing(framed) for framed in answer.framed]
        told["plate_text"] = answer.plate and answer.plate.as_dict(plates=True)
        number = answer.decision.vehicle
        if number is not None:
            plate = desk.register.vehicle(number).plate
            told["plate"] = plate.text if plate else None
            if owner:
                found = desk.register.owner_of(number, account)
                told["owner"] = found and {"name": found.name, "flat": found.flat, "contact": found.contact}
        _say(told)


@app.command()
def detector(
    file: Annotated[Path | None, typer.Argument(help="detector.safetensors of scripts.train_detector.")] = None,
    coco: Annotated[
        str, typer.Option(help="Vehicles by torchvision's detector: `download`, or its weights file fcos_resnet50_fpn.")
    ] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take photographs as they are again.")] = False,
    register: Folder = _HERE,
    url: Url = "",
) -> None:
    """Let detectors find vehicles and plates in whole photographs."""
    if not (file or coco or remove):
        raise SettingsError("give a detector's file, --coco or --remove")
    finds = []
    with _desk(register, url) as desk:
        if remove:
            desk.framing.forget(operator())
        if file:
            finds.append(desk.framing.use(file, operator()))
        if coco:
            settings = DetectorSettings(kind="coco", vehicle_threshold=_COCO_THRESHOLD)
            made = build_detector(settings, pretrained=True if coco == "download" else Path(coco))
            finds.append(desk.framing.use_made(made, settings, operator()))
        _say({"finds": finds})


@app.command(name="plate-reader")
def plate_reader(
    run: Annotated[Path | None, typer.Argument(help="Run folder of the task plate_text.")] = None,
    model: Annotated[str, typer.Option(help="Its checkpoint: global, local-NAME, central.")] = "global",
    sure: Annotated[
        float | None, typer.Option(help="Confidence from which on a text takes part in decisions; 0.9 at first.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Read no plates.")] = False,
    register: Folder = _HERE,
    url: Url = "",
) -> None:
    """Let a network read the plates of photographs that are looked up."""
    if run is None and sure is None and not remove:
        raise SettingsError("give a run folder, --sure or --remove")
    with _desk(register, url) as desk:
        reader = desk.plate_reader
        if remove:
            reader.forget(operator())
        if run is not None:
            reader.use(run, model, operator())
        if sure is not None:
            reader.set_sure(sure, operator())
        _say({"reads": reader.is_there, "sure": reader.sure})


@app.command()
def calibrate(
    words: Annotated[list[str], typer.Argument(help="data=NAME data.root=FOLDER data.eval_split=val")],
    rate: Annotated[float, typer.Option(help="Wanted false-match rate of a comparison.")] = 0.001,
    unsure_rate: Annotated[float, typer.Option(help="The rate from which on a person should look.")] = 0.01,
    register: Folder = _HERE,
    url: Url = "",
    device: Device = "auto",
) -> None:
    """Set the thresholds from pictures whose vehicles are known."""
    calibration.check_rates(rate, unsure_rate)
    with _desk(register, url, device) as desk:
        _, recogniser = desk.serving()
        settings = with_overrides(recogniser.settings.as_dict(), words)
        directions = open_source(settings.data, settings.seed).evaluation(settings.data.eval_split)
        about = f"{settings.data.reader}, {settings.data.eval_split}"
        report = calibration.calibrate(
            desk, directions, rate=rate, unsure_rate=unsure_rate, account=operator(), about=about
        )
        for library, row in report["libraries"].items():
            print(f"{library:<8}  {row.get('error') or _said(row)}")
        _say(report)


@app.command(name="list")
def list_(register: Folder = _HERE, url: Url = "") -> None:
    """List the vehicles, without their owners."""
    with _desk(register, url) as desk:
        vehicles = [_summary(vehicle) for vehicle in desk.register.vehicles()]
        for row in vehicles:
            print(f"{row['vehicle']:>6}  {row['plate'] or '-':<12}  {row['views']} views  {row['note']}".rstrip())
        model = desk.models.serving()
        _say({**desk.register.counts(), "model": model and model.digest, "list": vehicles})


@app.command()
def forget(
    vehicle: Annotated[int | None, typer.Option(help="Number of a vehicle.")] = None,
    owner_id: Annotated[int | None, typer.Option(help="Number of an owner, with all vehicles.")] = None,
    sightings: Annotated[int | None, typer.Option(help="Days: look-ups that are older, and led to no report.")] = None,
    register: Folder = _HERE,
    url: Url = "",
) -> None:
    """Delete a vehicle or an owner everywhere: pictures, embeddings, sightings, incidents; or old look-ups."""
    with _desk(register, url) as desk:
        if sightings is not None:
            if vehicle is not None or owner_id is not None or sightings < 0:
                raise SettingsError("--sightings takes a number of days, and nothing beside it")
            pictures = desk.journal.forget_sightings(now() - timedelta(days=sightings), operator())
            overwritten = desk.database.forget_traces()
            desk.photos.drop(pictures)
            _say({"pictures": len(pictures), "overwritten": overwritten})
        else:
            done = desk.register.forget(account=operator(), vehicle_id=vehicle, owner_id=owner_id)
            _say(asdict(done))
        desk.register.tidy()


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A new folder.")], register: Folder = _HERE, url: Url = ""
) -> None:
    """Write the register as a table with its pictures, which `import` reads."""
    with _desk(register, url) as desk:
        count = write_listing(desk, folder, operator())
        _say({"folder": str(folder), "vehicles": count})


@app.command()
def audit(
    limit: Annotated[int, typer.Option(help="Lines, newest first.")] = 50, register: Folder = _HERE, url: Url = ""
) -> None:
    """Show who did what."""
    with _desk(register, url) as desk:
        lines = [
            {"time": row.created.isoformat(timespec="seconds"), "account": row.account, "action": row.action}
            | {"subject": row.subject, "details": row.details}
            for row in desk.journal.audit(limit)
        ]
    for line in lines:
        print(f"{line['time']}  {line['account']}  {line['action']}  {line['subject']}".rstrip())
    _say({"audit": lines})


@contextmanager
def _desk(
    folder: Path, url: str, device: str = "cpu", onnx: Path | None = None, *, new: bool = False
) -> Iterator[Desk]:
    """The register in a folder, which is made if it may be `new`: a mistyped folder must not look like lost data."""
    if not new and not (folder / "register.id").is_file():
        raise FileNotFoundError(f"no register in {folder}; `reembed --run RUN_FOLDER --register {folder}` makes one")
    with closing(Desk(folder, url, device, onnx)) as desk:
        yield desk


def operator() -> str:
    """Who uses the command line, as the trail has it; no account of the service has such a name."""
    return f"{getpass.getuser()} (command line)"


def _shots(
    pictures: Sequence[Path],
    plates: Sequence[Path] | None,
    boxes: Sequence[str] | None,
    plate_boxes: Sequence[str] | None,
    modality: str,
    whole: bool,
) -> list[Shot]:
    for path in (*pictures, *(plates or ())):
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
    photos, plate_photos = ([read_photo(path) for path in paths or ()] for paths in (pictures, plates))
    vehicle_boxes, boxes_of_plates = ([parse_box(text) for text in texts or ()] for texts in (boxes, plate_boxes))
    return make_shots(photos, plate_photos, vehicle_boxes, boxes_of_plates, parse_modality(modality), whole)


def _framing(framed: Framed) -> dict[str, Any]:
    """Where a vehicle was looked for, and how many there are."""
    box, plate, sight = framed.shot.vehicle_box, framed.shot.plate_box, framed.sight
    return {
        "modality": framed.modality,
        "box": box and [round(value, 1) for value in box],
        "plate_box": plate and [round(value, 1) for value in plate],
        "vehicles": None if sight is None else [[round(value, 1) for value in found.box] for found in sight.vehicles],
    }


def _said(row: dict[str, Any]) -> str:
    matched, missed = row["false_match_rate"], row["miss_rate"]
    return (
        f"match from {row['threshold']:.3f}, unsure from {row['unsure']:.3f}: "
        f"false matches {100 * matched['share']:.3f} % ({100 * matched['low']:.3f} to {100 * matched['high']:.3f}), "
        f"of strangers in this register {100 * row['look_up']['share']:.1f} %, "
        f"missed {100 * missed['share']:.1f} % ({100 * missed['low']:.1f} to {100 * missed['high']:.1f})"
    )


def _summary(vehicle: Vehicle) -> dict[str, Any]:
    plate = vehicle.plate.text if vehicle.plate else None
    return {"vehicle": vehicle.id, "plate": plate, "views": len(vehicle.views), "note": vehicle.note}


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer))


def main(argv: Sequence[str]) -> None:
    """Run one command. Raises SettingsError for a wrong word, and what the register refuses."""
    try:
        app(args=list(argv) or ["--help"], standalone_mode=False, prog_name="python -m scripts.registry")
    except click.UsageError as error:
        raise SettingsError(error.format_message()) from error


if __name__ == "__main__":
    os.umask(0o077)
    command(main, sys.argv[1:])
