"""Foreign detectors: a network that OpenCV or ONNX Runtime reads, with a description of its input and output.

The files come from anywhere. Their sizes are bounded, they are read as bytes, so that they can name no other file, and
a network that runs once on a blank image and gives what its description says is a detector.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.errors import StoredFileError
from app.core.packages import onnx_session
from app.core.sample import Box
from app.detection.found import Detection, one_for_each
from app.detection.layouts import decoded, require_layout
from app.settings.checks import SettingsError
from app.settings.detector_description import KINDS, PLATE_NAME, DetectorDescription, read_description
from models.errors import MissingFileError

MOST_BYTES = {"network": 2**29, "graph": 2**23, "description": 2**16}
ENDINGS = {".onnx": "onnx", ".pb": "tensorflow"}
DESCRIPTIONS = Path(__file__).parent / "descriptions"
_SHOWN = 200  # characters of an engine's own message


@dataclass(frozen=True)
class ForeignNetwork:
    """The files of a network.

    Args:
        form: "onnx", or "tensorflow" for a frozen graph.
        graph: the .pbtxt of a frozen graph; empty without one.
        name: for errors.
    """

    form: str
    network: bytes
    graph: bytes
    description: DetectorDescription
    name: str


def read_foreign(path: Path, graph: Path | None, description: str) -> ForeignNetwork:
    """The files of a detector.

    Args:
        graph: .pbtxt of a frozen graph.
        description: a YAML file, or the name of one of `DESCRIPTIONS`.

    Raises MissingFileError, StoredFileError for files of another kind or too large, SettingsError for a description."""
    form = ENDINGS.get(path.suffix.lower())
    if form is None:
        raise StoredFileError(f"{path} is no network that can be read: its name ends in {' or '.join(ENDINGS)}")
    if graph is not None and form == "onnx":
        raise SettingsError("--graph is the .pbtxt of a frozen graph (.pb); a file .onnx has none")
    named = DESCRIPTIONS / f"{description}.yaml"
    ready = sorted(each.stem for each in DESCRIPTIONS.glob("*.yaml"))
    about = named if description in ready else Path(description)
    if not about.is_file():
        raise MissingFileError(f"no description {description}: give a YAML file, or one of {', '.join(ready)}")
    try:
        described = read_description(_bounded(about, "description"))
    except SettingsError as error:
        raise SettingsError(f"{about}: {error}") from error
    return ForeignNetwork(
        form, _bounded(path, "network"), _bounded(graph, "graph") if graph else b"", described, str(path)
    )


class _Engine(Protocol):
    """A network in memory."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The output for an input (1, 3, H, W)."""


class DescribedDetector:
    """A foreign detector. Implements `ImageDetector`.

    Raises StoredFileError for files that its engine does not read, or whose input or output is not that of the
    description, MissingPackageError without ONNX Runtime where that is needed."""

    def __init__(self, foreign: ForeignNetwork) -> None:
        self.description = description = foreign.description
        self._name = foreign.name
        with _named(foreign.name):
            self._engine: _Engine = _engine(foreign)
        self.finds_vehicles, self.finds_plates = description.finds_vehicles, description.finds_plates

    def try_once(self) -> None:
        """Run on a blank image. Raises StoredFileError if that fails, or gives what the description does not say."""
        blank = np.full((self.description.height, self.description.width, 3), self.description.fill, np.uint8)
        with _named(self._name):
            require_layout(self._engine.run(self._input(blank)[0]), self.description)

    def find(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Detections in an image (H, W, 3), R, G, B, best first."""
        about = self.description
        batch, (shift, scale) = self._input(image)
        with _named(self._name):
            boxes = decoded(self._engine.run(batch), about, about.min_score)
        height, width = image.shape[:2]
        corners = (boxes.corners - np.tile(shift, 2)) / np.tile(scale, 2)
        found = []
        for (left, top, right, bottom), score, number in zip(
            corners.tolist(), boxes.scores.tolist(), boxes.classes.tolist(), strict=True
        ):
            name = about.classes[number]
            kind = name if name in KINDS else None
            found.append(Detection(Box(left, top, right - left, bottom - top), score, name == PLATE_NAME, kind))
        # Boxes are cut to the image at last: the overlap of what a network found is that of whole boxes.
        return [each._replace(box=_inside(each.box, width, height)) for each in one_for_each(found, about.max_overlap)]

    def _input(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], tuple[Any, Any]]:
        """The input (1, 3, H, W) of an image, and shift and scale (x, y) from the image's pixels to the input's."""
        about = self.description
        height, width = image.shape[:2]
        if about.resize == "letterbox":
            ratio = min(about.width / width, about.height / height)
            size = max(1, round(width * ratio)), max(1, round(height * ratio))
            left, top = (about.width - size[0]) // 2, (about.height - size[1]) // 2
            shown = np.full((about.height, about.width, 3), about.fill, np.uint8)
            shown[top : top + size[1], left : left + size[0]] = cv2.resize(image, size)
        else:
            size, (left, top) = (about.width, about.height), (0, 0)
            shown = np.asarray(cv2.resize(image, size), np.uint8)
        if about.channels == "bgr":
            shown = shown[..., ::-1]
        values = (shown.astype(np.float32) - np.array(about.mean, np.float32)) * np.array(about.scale, np.float32)
        batch = np.ascontiguousarray(values.transpose(2, 0, 1)[None])
        return batch, (np.array([left, top], float), np.array([size[0] / width, size[1] / height]))


class _OnnxRuntime:
    def __init__(self, foreign: ForeignNetwork) -> None:
        self._session = onnx_session(foreign.network, foreign.name)
        inputs, outputs = self._session.get_inputs(), [each.name for each in self._session.get_outputs()]
        about = foreign.description
        wanted = [1, 3, about.height, about.width]
        if len(inputs) != 1:
            raise StoredFileError(f"it has {len(inputs)} inputs ({_listed([i.name for i in inputs])}), not one image")
        self._input = inputs[0].name
        shape = inputs[0].shape
        fits = len(shape) == 4 and all(not isinstance(n, int) or n == w for n, w in zip(shape, wanted, strict=True))
        if inputs[0].type != "tensor(float)" or not fits:
            raise StoredFileError(f"its input is {inputs[0].type} {shape}, not tensor(float) {wanted}")
        self._output = _chosen(about.output, outputs)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._session.run([self._output], {self._input: batch})[0])


class _OpenCv:
    def __init__(self, foreign: ForeignNetwork) -> None:
        network, graph = (np.frombuffer(each, np.uint8) for each in (foreign.network, foreign.graph))
        if foreign.form == "onnx":
            self._net = cv2.dnn.readNetFromONNX(network)
        else:
            self._net = (
                cv2.dnn.readNetFromTensorflow(network, graph) if len(graph) else cv2.dnn.readNetFromTensorflow(network)
            )
        self._output = _chosen(foreign.description.output, list(self._net.getUnconnectedOutLayersNames()))

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self._net.setInput(batch)
        return np.asarray(self._net.forward(self._output))


def _inside(box: Box, width: int, height: int) -> Box:
    left, top = min(max(box.left, 0.0), width), min(max(box.top, 0.0), height)
    right, bottom = (min(box.left + box.width, width), min(box.top + box.height, height))
    return Box(left, top, max(right - left, 0.0), max(bottom - top, 0.0))


def _engine(foreign: ForeignNetwork) -> _Engine:
    engine = foreign.description.engine
    if engine == "auto":
        engine = "onnxruntime" if foreign.form == "onnx" else "opencv"
    if engine == "opencv":
        return _OpenCv(foreign)
    if foreign.form != "onnx":
        raise StoredFileError("ONNX Runtime reads files .onnx alone; description.engine: opencv")
    return _OnnxRuntime(foreign)


def _chosen(name: str, outputs: list[str]) -> str:
    if name and name not in outputs:
        raise StoredFileError(f"it has no output {name}, but {_listed(outputs)}")
    if not name and len(outputs) != 1:
        raise StoredFileError(f"it has {len(outputs)} outputs, {_listed(outputs)}: name one by description.output")
    return name or outputs[0]


def _listed(names: list[str]) -> str:
    return ", ".join(name[:40] for name in names[:6])


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Whatever an engine raises, as StoredFileError that names the network, and no lines of its own beside it."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    except StoredFileError as error:
        if name in str(error):
            raise
        raise StoredFileError(f"{name} does not fit its description: {error}") from error
    except ImportError:
        raise
    except Exception as error:  # OpenCV's and ONNX Runtime's, and what numpy makes of a strange output
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoredFileError(f"{name} cannot be computed: {reason[:_SHOWN]}") from error
    finally:
        cv2.utils.logging.setLogLevel(level)


def _bounded(path: Path, kind: str) -> bytes:
    """The bytes of a regular file. Raises StoredFileError for a larger one than such a file may be."""
    if not path.exists():
        raise MissingFileError(f"no such file: {path}")
    most = MOST_BYTES[kind]
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise StoredFileError(f"{path} is no regular file")
        content = file.read(most + 1)
    if len(content) > most:
        raise StoredFileError(f"{path} has more than {most // 1024} KiB, which no {kind} of a detector has")
    if not content:
        raise StoredFileError(f"{path} is empty")
    return content
