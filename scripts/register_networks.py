"""Commands of `scripts.register` for its networks: recogniser, detector, plate reader, and their thresholds."""

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.settings.checks import SettingsError
from app.settings.detection import DetectorSettings
from models.errors import FedVehicleReidError
from scripts.progress import Progress
from scripts.register_options import HERE, Device, Folder, Url, app, open_identification, open_register, operator, say

if TYPE_CHECKING:
    from app.evaluation.reading_errors import ReadingErrors
    from app.register.detect import Framing

_COCO_THRESHOLD = 0.5
_FEW_PAIRS = 30
"""Of one vehicle: of fewer, a share that is missed is known to no better than about a tenth."""
_NO_PLATES = "no detector finds plates, they are not read: `detector` without a file takes the packaged one"


class Decision(StrEnum):
    """What decides an identification."""

    evidence = "evidence"
    libraries = "libraries"


@app.command()
def reembed(
    run: Annotated[Path | None, typer.Option(help="Run folder of the network.")] = None,
    model: Annotated[
        str,
        typer.Option(help="Its checkpoint: global, local-NAME, personalised-NAME, central; of a site personalised."),
    ] = "global",
    onnx: Annotated[Path | None, typer.Option(help="ONNX file, instead of a run folder.")] = None,
    views: Annotated[
        int | None, typer.Option(help="Views of an image that an embedding is the mean of: 1, 2 or 4; else the run's.")
    ] = None,
    register: Folder = HERE,
    url: Url = "",
    device: Device = "auto",
) -> None:
    """Make a network the active model; until all images are embedded with it, the one before stays active."""
    if (run is None) == (onnx is None):
        raise SettingsError("give --run or --onnx")
    if views is not None and onnx is not None:
        raise SettingsError("--views goes with --run: an ONNX file says its own, see views= of scripts.export")
    with open_identification(register, url, device, new=True) as identification, Progress(1) as progress:

        def told(done: int, total: int) -> None:
            progress.step_done("pictures", done, total)

        if run is not None:
            served = identification.active_model.change_to_run(run, model, operator(), told, views)
        else:
            assert onnx is not None
            served = identification.active_model.change_to_onnx(onnx, operator(), told)
        say({"model": served.digest, "libraries": served.libraries, "views": identification.register.counts()["views"]})


@app.command()
def detector(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="detector.safetensors of scripts.train_detector, or .onnx of scripts.export; by default the packaged "
            "one of plates."
        ),
    ] = None,
    coco: Annotated[
        str,
        typer.Option(
            help="Another network: `download` or a weights file of torchvision's fcos_resnet50_fpn; with "
            "`--description` an .onnx file, or a frozen graph .pb of TensorFlow."
        ),
    ] = "",
    description: Annotated[
        str, typer.Option(help="Its input and output: a YAML file, or a name such as ssd_mobilenet_v2_coco.")
    ] = "",
    graph: Annotated[Path | None, typer.Option(help="The .pbtxt that OpenCV wants beside a frozen graph.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take photographs as they are again.")] = False,
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Let detectors find vehicles and plates in whole photographs, the packaged one of plates if nothing is given."""
    from app.detection.described import read_foreign
    from app.detection.detector_file import build as build_detector  # imports torch, as little else does here

    if (description or graph) and not coco:
        raise SettingsError("--description and --graph belong to a network that --coco names")
    if coco and not description and Path(coco).suffix in (".onnx", ".pb"):
        raise SettingsError(f"--coco {coco} needs --description: a YAML file, or a name of docs/register.md")
    foreign = read_foreign(Path(coco), graph, description) if description else None
    finds = []
    with open_identification(register, url) as identification:
        framing = identification.framing
        if remove:
            framing.forget(operator())
        if file:
            finds.append(framing.use(file, operator()))
        if foreign is not None:
            finds.append(framing.use_foreign(foreign, operator()))
        elif coco:
            settings = DetectorSettings(kind="coco", vehicle_threshold=_COCO_THRESHOLD)
            made = build_detector(settings, pretrained=True if coco == "download" else Path(coco))
            finds.append(framing.use_made(made, settings, operator()))
        if not (file or coco or remove):
            finds += _packaged_detector(framing)
        elif finds and not framing.finds_plates:
            print(_NO_PLATES, file=sys.stderr)
        say({"finds": finds})


@app.command(name="plate-reader")
def plate_reader(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Run folder of the task plate_text or .onnx of scripts.export; by default the packaged one."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="Its checkpoint: global, local-NAME, personalised-NAME, central; of a site personalised."),
    ] = "global",
    sure: Annotated[
        float | None, typer.Option(help="Confidence from which on a text takes part in decisions; 0.9 at first.")
    ] = None,
    country: Annotated[
        str | None, typer.Option(help="Country whose formats the plates have, such as cn, us or europe; '' for any.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Read no plates.")] = False,
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Let a network read the plates of the photographs of identifications, the packaged one if nothing is given.

    The packaged one finds them by the packaged detector, unless the register has a detector of plates."""
    with open_identification(register, url) as identification:
        reader = identification.plate_reader
        if remove:
            reader.forget(operator())
        if run is not None:
            reader.use(run, model, operator(), _errors_of(run, model))
            if not identification.framing.finds_plates:
                print(_NO_PLATES, file=sys.stderr)
        elif sure is None and country is None and not remove:
            reader.use_packaged(operator())
            if not identification.framing.finds_plates:
                _packaged_detector(identification.framing)
        if sure is not None:
            reader.set_min_confidence(sure, operator())
        if country is not None:
            reader.set_country(country, operator())
        say({"reads": reader.is_there, "sure": reader.min_confidence, "country": reader.country or None})


@app.command()
def calibrate(
    words: Annotated[list[str] | None, typer.Argument(help="data=NAME data.root=FOLDER data.eval_split=val")] = None,
    own: Annotated[bool, typer.Option("--own", help="By the register's own images, in place of a data set.")] = False,
    confirmed: Annotated[
        bool, typer.Option("--confirmed", help="By answers that guards confirmed, or with --own.")
    ] = False,
    stranger_rate: Annotated[float, typer.Option(help="Share of unregistered vehicles that may be named.")] = 0.01,
    unknown_rate: Annotated[float, typer.Option(help="Share of residents that may be called unknown.")] = 0.01,
    strangers: Annotated[float, typer.Option(help="Share of queries whose vehicle is not registered.")] = 0.5,
    rate: Annotated[float, typer.Option(help="False-match rate of a comparison.")] = 0.001,
    unsure_rate: Annotated[float, typer.Option(help="The rate from which on a person should look.")] = 0.01,
    register: Folder = HERE,
    url: Url = "",
    device: Device = "auto",
) -> None:
    """Set the thresholds from images whose vehicles are known, by the register's own images, or by confirmed answers.

    `--stranger-rate`, `--unknown-rate` and `--strangers` are for the sum of all evidence, `--rate` and `--unsure-rate`
    for one library after the other, see `decision`."""
    from app.data.dataset import open_source
    from app.register import calibrate as calibration
    from app.register.calibrate_evidence import Rates
    from app.register.calibrate_own import calibrate_by_register
    from app.settings.stored import with_overrides

    if bool(words) == (own or confirmed):
        raise SettingsError("give a data set, such as data=two_cam data.root=FOLDER, or --own, or --confirmed")
    rates = Rates(strangers, stranger_rate, unknown_rate)
    if own or confirmed:
        with open_identification(register, url, device) as identification:
            report = calibrate_by_register(
                identification, account=operator(), rates=rates, own=own, confirmed=confirmed
            )
            for line in _confirmed_lines(report["evidence"]):
                print(line)
            print(_evidence_line(report["evidence"]))
            say(report)
        return
    calibration.check_rates(rate, unsure_rate)
    with open_identification(register, url, device) as identification:
        _, recogniser = identification.active_model.current()
        settings = with_overrides(recogniser.settings.as_dict(), words or [])
        directions = open_source(settings.data, settings.seed).evaluation(settings.data.eval_split)
        weather = "" if settings.data.weather == "none" else f", {settings.data.weather}"
        about = f"{settings.data.reader}, {settings.data.eval_split}{weather}"
        report = calibration.calibrate(
            identification,
            directions,
            rate=rate,
            unsure_rate=unsure_rate,
            account=operator(),
            about=about,
            rates=rates,
        )
        for library, row in report["libraries"].items():
            print(f"{library:<8}  {row.get('error') or _said(row)}")
            if row.get("pairs_same", _FEW_PAIRS) < _FEW_PAIRS:
                print(f"{library:<8}  {row['pairs_same']} pairs of one vehicle alone: how many are missed is not known")
        print(_evidence_line(report["evidence"]))
        say(report)


@app.command()
def decision(
    by: Annotated[Decision | None, typer.Argument(help="Left out, what decides is printed.")] = None,
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Choose what decides an identification: the sum of all evidence, or one library after the other.

    The sum decides from its calibration on; before that, libraries do."""
    with open_register(register, url) as folder:
        if by is not None:
            folder.models.set_decides(by.value, operator())
        model = folder.models.active()
        calibrated = model is not None and folder.models.evidence(model) is not None
        say({"decision": folder.models.decides(), "evidence_calibrated": calibrated})


def _packaged_detector(framing: "Framing") -> list[str]:
    """Let the packaged detector find plates, unless the register has another; what it finds."""
    if framing.finds_plates:
        print("the register keeps its detector of plates: a file replaces it, --remove removes it", file=sys.stderr)
        return []
    found = framing.use_packaged(operator())
    print("plates are found by the packaged detector: `detector --remove` removes it", file=sys.stderr)
    return [found]


def _errors_of(run: Path, model: str) -> "ReadingErrors | None":
    from app.register.plate_reader import measured_errors

    try:
        return measured_errors(run, model)
    except (FedVehicleReidError, OSError) as error:
        print(f"the reader's errors are not measured, its confidences count as they are: {error}", file=sys.stderr)
        return None


def _confirmed_lines(row: dict[str, Any]) -> Iterator[str]:
    """What the confirmed answers of a calibration are."""
    if said := row.get("confirmed"):
        yield (
            f"confirmed  {said['residents']} answers of {said['vehicles']} residents, {said['strangers']} of "
            f"strangers, {said['left_out']} left out; guards confirm what they look at: not a sample of all that comes"
        )
    if real := row.get("real_strangers_named"):
        shares = (f"{100 * real[name]:.1f}" for name in ("share", "low", "high"))
        yield "confirmed  strangers named {} % ({} to {})".format(*shares)


def _evidence_line(row: dict[str, Any]) -> str:
    if "error" in row:
        state = "as it was calibrated before" if row.get("vehicles") else "not calibrated"
        return f"evidence  {state}: {row['error']}"
    parts = [
        f"{words} {100 * row[name]['share']:.1f} % ({100 * row[name]['low']:.1f} to {100 * row[name]['high']:.1f})"
        for name, words in (
            ("residents_right", "residents named right"),
            ("residents_wrong", "named wrong"),
            ("residents_unsure", "unsure"),
            ("strangers_named", "strangers named"),
        )
    ]
    return f"evidence  of {row['queries']} queries, {row['vehicles']} vehicles: {', '.join(parts)}"


def _said(row: dict[str, Any]) -> str:
    matched, missed = row["false_match_rate"], row["miss_rate"]
    return (
        f"match from {row['threshold']:.3f}, unsure from {row['unsure']:.3f}: "
        f"false matches {100 * matched['share']:.3f} % ({100 * matched['low']:.3f} to {100 * matched['high']:.3f}), "
        f"of strangers in this register {100 * row['look_up']['share']:.1f} %, "
        f"missed {100 * missed['share']:.1f} % ({100 * missed['low']:.1f} to {100 * missed['high']:.1f})"
    )
