"""Training of a detector of vehicles and plates on marked photographs and on rendered scenes.

Run: python -m scripts.train_detector outputs/detector --data plates_openalpr=../shared/data/plates-openalpr \\
         --data plates_easypr=../shared/data/plates-easypr-cn --data manifest=my/manifest.csv

Each --data is a reader of docs/data.md and its folder; its boxes of vehicles and plates are learnt, and its test split,
if it has one, is measured at the end. --vehicles names sets of which each image is one vehicle; their training images
are pasted into the scenes. Written to the folder: detector.safetensors, settings and measures.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from app.core.device import make_compute
from app.core.outputs import require_folder_place
from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.reader import Reader, open_reader
from app.detection.detector_file import build, go_on_from, write_detector
from app.detection.labels import Labelled, labelled
from app.detection.measure import Marked, marked_photograph, marked_scene, measure_detector
from app.detection.stream import DetectionBatches
from app.detection.training import train_detector
from app.images.decode import UnreadableImageError, open_image, upright_rgb
from app.settings.detection import DetectorSettings
from app.settings.load import SettingsError
from app.synthetic import SceneRenderer
from models.detector import PLATE, VEHICLE
from scripts.command import command, run_app

app = typer.Typer(add_completion=False)
_REPORT_EVERY, _KEEP_EVERY = 20, 200  # steps
_UNFINISHED = "unfinished.safetensors"
_TEST_SCENES, _THRESHOLD_IMAGES = 200, 200
_SEED_OF_TEST = 1_000_000  # added to the seed: scenes, vehicles and car parks outside of training


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="Folder of the detector; created if missing.")],
    data: Annotated[list[str] | None, typer.Option(help="READER=FOLDER of marked photographs.")] = None,
    vehicles: Annotated[list[str] | None, typer.Option(help="READER=FOLDER of images of one vehicle each.")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 1200,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    scenes: Annotated[float, typer.Option(min=0, max=1, help="Share of rendered scenes in a batch.")] = 0.375,
    lr: Annotated[float, typer.Option(min=0)] = 1e-3,
    size: Annotated[int, typer.Option(help="Longer side in pixels.")] = 416,
    train_size: Annotated[
        int | None, typer.Option(min=64, help="Side of the squares in training; else --size.")
    ] = None,
    plates_alone: Annotated[bool, typer.Option("--plates-alone", help="Find plates and no vehicles.")] = False,
    other_plates: Annotated[
        float, typer.Option(min=0, max=1, help="Share of photographs with rendered plates over the marked ones.")
    ] = 0.0,
    deepest: Annotated[int, typer.Option(help="Stride at which the backbone ends, 16 or 32.")] = 32,
    backbone: Annotated[str, typer.Option(help="A timm network.")] = "tf_efficientnet_lite0",
    weights: Annotated[str, typer.Option(help="Its weights: a file, `timm` to fetch them, `none`.")] = "timm",
    start: Annotated[Path | None, typer.Option(help="Detector with the same network, to go on from.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: str = "auto",
    threads: Annotated[int, typer.Option(min=0, help="Of the processor; 0 for PyTorch's choice.")] = 0,
) -> None:
    """Train, choose the thresholds on training images, measure on test images."""
    started = time.monotonic()
    require_folder_place("FOLDER", folder)
    settings = DetectorSettings(backbone=backbone, size=size, deepest=deepest)  # type: ignore[arg-type]
    if plates_alone:
        settings = replace(settings, vehicle_threshold=1.0)
    side = train_size or size
    compute = make_compute(device, "auto", True, threads)
    readers = [(word, _reader(word, seed)) for word in data or ()]
    kept_out = {word: _test(word, reader) for word, reader in readers}  # errors in them are reported before training
    photographs = [each for _, reader in readers for each in labelled(reader.train())]
    pasted = [_vehicle(sample) for word in vehicles or () for sample in _reader(word, seed).train()]
    drawn = SceneRenderer(side, seed, pasted)
    share = scenes if photographs else 1.0
    batches = DetectionBatches(
        photographs,
        drawn,
        size=side,
        batch_size=batch_size,
        scenes_share=share,
        seed=seed,
        other_plates=other_plates,
        plates_alone=plates_alone,
    )
    pretrained: bool | Path = weights == "timm" if weights in ("timm", "none") else Path(weights)
    pretrained = pretrained if start is None else False  # no fetching of values that `start` replaces
    detector = build(settings, pretrained=pretrained, bfloat16="bfloat16" in str(compute.dtype), seed=seed)
    if start is not None:
        go_on_from(detector, settings, start)
    compute.place(detector)
    print(f"{len(photographs)} photographs, {len(pasted)} images of vehicles to paste into scenes", flush=True)

    def report(step: int, losses: dict[str, float]) -> None:
        if step % _REPORT_EVERY == 0 or step == steps:
            shown = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            print(f"step {step}/{steps}  {shown}  {time.monotonic() - started:.0f} s", flush=True)
        if step % _KEEP_EVERY == 0:  # for a process that is ended early
            write_detector(folder / _UNFINISHED, detector, settings)

    folder.mkdir(parents=True, exist_ok=True)
    train_detector(detector, batches, steps=steps, lr=lr, compute=compute, size=side, progress=report)
    write_detector(folder / "detector.safetensors", detector, settings)  # even if measuring fails
    (folder / _UNFINISHED).unlink(missing_ok=True)

    known = [partial(marked_photograph, each, 2 * size) for each in photographs[::2][:_THRESHOLD_IMAGES]]
    known += [partial(marked_scene, drawn, number) for number in range(_THRESHOLD_IMAGES // 2)]
    classes = (PLATE,) if plates_alone else (VEHICLE, PLATE)
    on_train = measure_detector(detector, known, compute.device, classes)
    chosen = {f"{name}_threshold": round(row["threshold"], 3) for name, row in on_train.items()}
    settings = replace(settings, **chosen)
    write_detector(folder / "detector.safetensors", detector, settings)

    measures: dict[str, Any] = {}
    strange = SceneRenderer(size, seed + _SEED_OF_TEST)
    tests: dict[str, list[partial[Marked]]] = {
        "scenes": [partial(marked_scene, strange, number) for number in range(_TEST_SCENES)]
    }
    for word, photographs_of_set in kept_out.items():
        tests[word] = [partial(marked_photograph, each, 2 * size) for each in photographs_of_set]
    for name, images in tests.items():
        if images:
            measures[name] = measure_detector(detector, images, compute.device, classes)
            for kind, row in measures[name].items():
                print(f"{name}  {kind:<8} VOC AP50 {100 * row['AP50']:.1f} %  AP {100 * row['AP']:.1f} %", flush=True)
    done = {"detector": str(folder / "detector.safetensors"), "steps": steps, "settings": asdict(settings)}
    done |= {"measures": measures, "seconds": round(time.monotonic() - started, 1)}
    (folder / "summary.json").write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(done))


def _reader(word: str, seed: int) -> Reader:
    name, _, root = word.partition("=")
    if not root:
        raise SettingsError(f"not READER=FOLDER: {word!r}")
    return open_reader(name, Path(root), seed=seed)


def _test(word: str, reader: Reader) -> list[Labelled]:
    """The marked photographs of the test split; none if the set has no such split, or no boxes in it."""
    try:
        directions = reader.evaluation("test")
    except DataSetError:
        return []
    samples = [sample for direction in directions for sample in (*direction.query, *direction.gallery)]
    try:
        return labelled(list(dict.fromkeys(samples)))
    except DataSetError as error:
        print(f"{word}, test: {error}; it is not measured", file=sys.stderr)
        return []


def _vehicle(sample: Sample) -> np.ndarray:
    """An image of a vehicle, (H, W, 3), B, G, R. Raises OSError naming it if it cannot be read."""
    try:
        with open_image(sample.path) as file:
            return np.asarray(upright_rgb(file))[..., ::-1].copy()
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{sample.path}: {error}") from error


def main(argv: Sequence[str]) -> None:
    """Train with the arguments `argv`. Raises SettingsError for a wrong word."""
    run_app(app, argv, "python -m scripts.train_detector")


if __name__ == "__main__":
    command(main, sys.argv[1:])
