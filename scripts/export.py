"""Export of a network as ONNX, for a small computer with ONNX Runtime.

Run: python -m scripts.export run=outputs/two_cam/<time> out=network.onnx
     python -m scripts.export run=outputs/two_cam/<time> out=network.onnx pictures=500 data.eval_split=val
     python -m scripts.export run=outputs/plates_countries/<time> out=reader.onnx
     python -m scripts.export detector=outputs/detector out=detector.onnx photographs/

Of a run `model=global` (default) is any of its checkpoints. Images of the run's data set, 256 of them (`pictures=256`),
are then embedded by PyTorch and by ONNX Runtime, in float32, or their plates are read; if a value differs by more than
1e-4, no file is written. `data=NAME data.root=FOLDER data.eval_split=SPLIT` select other images, `views=4` another
number of views of each than the run's.

A detector (a file of `scripts.train_detector` or its folder) is compared on images that are named, up to `pictures=` of
them, or on synthetic scenes. The last line is one JSON object.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.core.errors import StoredFileError
from app.core.files import replacing
from app.core.node_store import digest_of
from app.core.outputs import require_file_place
from app.data.dataset import open_source
from app.detection.detector_file import onnx_detector, read_detector
from app.detection.own import OwnDetector
from app.detection.plates import DETECTOR
from app.images.decode import open_image, upright_rgb
from app.images.files import images_of
from app.register.embedder import Recogniser
from app.register.parity import compare, some_vehicles
from app.register.parity_of_parts import compare_detectors, compare_readers
from app.settings.checks import SettingsError
from app.settings.load import absolute
from app.settings.stored import with_overrides
from app.synthetic import SceneRenderer
from app.tasks.plate_text import PlateText
from app.tasks.task import Graph
from app.training.checkpoint import Checkpoint
from app.training.onnx_file import DetectorNetwork, OnnxFile, write_onnx
from models.detector_graph import EXAMPLE, INPUT, OUTPUTS, DetectorGraph
from scripts.command import command, split_words, whole_number

MOST_DIFFERENCE, MOST_PICTURES = 1e-4, 1_000_000
_MOST_SHIFT = 1e-2  # a tenth of a pixel at the finest map
_OWN = {"run": "", "model": "global", "detector": "", "out": "", "pictures": "", "views": ""}
_IMAGES, _SCENES = 256, 32


def main(argv: Sequence[str]) -> None:
    """Write the file and print the comparison. Raises ValueError, without a file, if the two do not agree."""
    own, words = split_words(argv, _OWN)
    if bool(own["run"]) == bool(own["detector"]):
        raise SettingsError("run=... is missing, or detector=..." if not own["run"] else "give run= or detector=")
    if not own["out"]:
        raise SettingsError("out=... is missing")
    pictures = whole_number("pictures", own["pictures"] or str(_IMAGES), 1, MOST_PICTURES)
    out = absolute(own["out"])
    if out.suffix != ".onnx":
        raise SettingsError(f"out must end in .onnx, got {own['out']!r}")
    require_file_place("out", out)
    if own["detector"]:
        _require_one_view(own)
        print(json.dumps(_detector(absolute(own["detector"]), out, own, words, pictures)))
        return
    checkpoint = _plain_layout(Checkpoint.read(absolute(own["run"]), own["model"]))
    write = _reader if checkpoint.settings["task"] == PlateText.name else _recogniser
    print(json.dumps(write(checkpoint, out, own, words, pictures)))


def _recogniser(
    checkpoint: Checkpoint, out: Path, own: dict[str, str], words: Sequence[str], pictures: int
) -> dict[str, Any]:
    if own["views"]:
        checkpoint = checkpoint.with_views(whole_number("views", own["views"], 1, 4))
    settings = with_overrides(checkpoint.settings, words)
    directions = open_source(settings.data, settings.seed).evaluation(settings.data.eval_split)
    directions = some_vehicles(directions, pictures)
    recogniser = Recogniser(checkpoint, "cpu")
    with replacing(out) as temporary:
        write_onnx(temporary, recogniser.task.graph(recogniser.network), checkpoint.digest, checkpoint.settings)
        parity = compare(recogniser, Recogniser(OnnxFile(temporary), "cpu"), directions)
        _require("embeddings", parity.largest_difference, own["out"])
    if parity.different:
        print(f"{parity.different} of {parity.decisions} decisions differ", file=sys.stderr)
    return _about(out, checkpoint.digest, asdict(parity)) | _data(settings)


def _reader(
    checkpoint: Checkpoint, out: Path, own: dict[str, str], words: Sequence[str], pictures: int
) -> dict[str, Any]:
    _require_one_view(own)
    settings = with_overrides(checkpoint.settings, ["device=cpu", "train.precision=float32", *words])
    directions = open_source(settings.data, settings.seed).evaluation(settings.data.eval_split)
    task, network = checkpoint.network(settings)
    assert isinstance(task, PlateText)
    network.eval()
    with replacing(out) as temporary:
        write_onnx(temporary, task.graph(network), checkpoint.digest, checkpoint.settings)
        _, other = OnnxFile(temporary).network(settings)
        parity = compare_readers(task, network, other, directions, pictures)
        _require("probabilities", parity.largest_difference, own["out"])
    if parity.different:
        print(f"{parity.different} of {parity.images} texts differ", file=sys.stderr)
    return _about(out, checkpoint.digest, asdict(parity)) | _data(settings)


def _detector(path: Path, out: Path, own: dict[str, str], words: Sequence[str], pictures: int) -> dict[str, Any]:
    if wrong := [word for word in words if "=" in word and not Path(word).exists()]:
        raise SettingsError(f"{wrong[0]}: a detector takes images and folders, and no settings")
    detector, settings = read_detector(path / DETECTOR if path.is_dir() else path)
    files = list(images_of(map(Path, words)))
    if words and not files:
        raise SettingsError(f"there are no images in {', '.join(words)}")
    if not own["pictures"] and not files:
        pictures = _SCENES
    digest = digest_of({name: value.numpy() for name, value in detector.state_dict().items()})[:16]
    inputs = Graph(DetectorGraph(detector), {INPUT: torch.zeros(EXAMPLE)}, OUTPUTS, any_size=True)
    with replacing(out) as temporary:
        write_onnx(temporary, inputs, digest, asdict(settings), DetectorNetwork.kind)
        content = temporary.read_bytes()
        run = DetectorNetwork(content, str(out)).run
        images = _photographs(files[:pictures]) if files else _scenes(settings.size, pictures)
        parity = compare_detectors(OwnDetector(detector, settings), run, onnx_detector(content, str(out)), images)
        _require("scores", parity.largest_difference, own["out"])
        if not parity.largest_shift <= _MOST_SHIFT:
            raise StoredFileError(
                f"ONNX Runtime's boxes differ by up to {parity.largest_shift:.2g} steps, more than {_MOST_SHIFT:g}: "
                f"{own['out']} was not written"
            )
    if parity.different:
        print(f"boxes differ in {parity.different} of {parity.images} images", file=sys.stderr)
    return _about(out, digest, asdict(parity)) | {"data": ", ".join(words) or "synthetic scenes"}


def _require_one_view(own: dict[str, str]) -> None:
    if own["views"]:
        raise SettingsError("views= is for networks that embed, not for readers and detectors")


def _require(values: str, difference: float, out: str) -> None:
    """Raise StoredFileError for a difference that is too large, or not a number."""
    if not difference <= MOST_DIFFERENCE:
        raise StoredFileError(
            f"ONNX Runtime's {values} differ from PyTorch's by up to {difference:.2g}, more than {MOST_DIFFERENCE:g}: "
            f"{out} was not written"
        )


def _about(out: Path, digest: str, parity: dict[str, Any]) -> dict[str, Any]:
    pictures = parity.pop("images")
    return {"file": str(out), "bytes": out.stat().st_size, "digest": digest, "pictures": pictures, **parity}


def _data(settings: Any) -> dict[str, str]:
    return {"data": settings.data.reader, "split": settings.data.eval_split}


def _photographs(files: Sequence[Path]) -> Iterator[NDArray[np.uint8]]:
    for file in files:
        with open_image(file) as image:
            yield np.asarray(upright_rgb(image))


def _scenes(size: int, count: int) -> Iterator[NDArray[np.uint8]]:
    scenes = SceneRenderer(size, 0)
    return (np.ascontiguousarray(scenes.scene(number).image[..., ::-1]) for number in range(count))


def _plain_layout(checkpoint: Checkpoint) -> Checkpoint:
    """The settings with the default memory layout, since the graph does not depend on that of the training."""
    train = {**checkpoint.settings["train"], "channels_last": False}
    return replace(checkpoint, settings={**checkpoint.settings, "train": train})


if __name__ == "__main__":
    command(main, sys.argv[1:])
