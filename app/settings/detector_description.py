"""Description of a foreign detector: the input that its network wants, and the meaning of what it gives."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field

from app.settings.checks import SettingsError
from app.settings.section import Share, section

PLATE_NAME, VEHICLE_NAME = "plate", "vehicle"
KINDS = ("car", "motorcycle", "bus", "truck")
"""Kinds of vehicles that a detector may tell apart."""
NAMES = (*KINDS, VEHICLE_NAME, PLATE_NAME)
_MOST_CLASSES = 10_000
_DEEPEST, _LONGEST = 3, 200  # parts within parts, and characters of one value


def _names(classes: dict[int, str]) -> dict[int, str]:
    if not classes:
        raise ValueError(f"must map one class of the network or more to a name, {', '.join(NAMES)}")
    for number, name in classes.items():
        if not 0 <= number < _MOST_CLASSES:
            raise ValueError(f"must have numbers from 0 to {_MOST_CLASSES - 1}; got {number}")
        if name not in NAMES:
            raise ValueError(f"must have names of {', '.join(NAMES)}; got {name[:40]!r} for class {number}")
    return classes


Side = Annotated[int, Field(ge=32, le=4096)]
Three = Annotated[list[float], Field(min_length=3, max_length=3)]


@section("description")
class DetectorDescription:
    """A network of OpenCV or ONNX Runtime that finds vehicles or plates.

    Args:
        layout: of its output. "ssd": (1, 1, N, 7) of number, class, score, left, top, right, bottom as shares of the
            sides, as OpenCV has it. "yolov5": (1, N, 5 + C) of the box's centre, width and height in pixels of the
            input, objectness, and C scores. "yolov8": (1, 4 + C, N), the same without objectness.
        classes: name in `NAMES` of each class that counts, by its number in the output.
        num_classes: C of the YOLO layouts.
        width, height: of its input, pixels.
        resize: "stretch" to the input, or "letterbox": the sides keep their ratio, and `fill` is around the image.
        fill: grey level, 0 to 255.
        channels: their order in the input.
        mean, scale: an input value is (pixel - mean) * scale, pixels from 0 to 255, channels in the order of the input.
        output: name of the output; "" for the only one.
        engine: "auto" takes ONNX Runtime for a file .onnx, and OpenCV for others.
        min_score: lowest score of a detection.
        max_overlap: of boxes with a vehicle in them the best counts, if their intersection over union is larger; the
            same for plates.
    """

    layout: Literal["ssd", "yolov5", "yolov8"]
    classes: Annotated[dict[int, str], AfterValidator(_names)]
    width: Side
    height: Side
    num_classes: Annotated[int, Field(ge=0, le=_MOST_CLASSES)] = 0
    resize: Literal["stretch", "letterbox"] = "stretch"
    fill: Annotated[int, Field(ge=0, le=255)] = 114
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: Three = Field(default_factory=lambda: [0.0, 0.0, 0.0])
    scale: Three = Field(default_factory=lambda: [1.0, 1.0, 1.0])
    output: Annotated[str, Field(max_length=_LONGEST)] = ""
    engine: Literal["auto", "opencv", "onnxruntime"] = "auto"
    min_score: Share = 0.3
    max_overlap: Share = 0.6

    def __post_init__(self) -> None:
        if self.layout == "ssd":
            return
        if not self.num_classes:
            raise SettingsError(f"description.num_classes is missing: scores that the layout {self.layout} has")
        if (most := max(self.classes)) >= self.num_classes:
            raise SettingsError(f"description.classes names class {most}, of classes 0 to {self.num_classes - 1}")

    @property
    def finds_vehicles(self) -> bool:
        """Whether any of the classes is a vehicle."""
        return any(name != PLATE_NAME for name in self.classes.values())

    @property
    def finds_plates(self) -> bool:
        """Whether any of the classes is a plate."""
        return PLATE_NAME in self.classes.values()

    def as_dict(self) -> dict[str, Any]:
        """For JSON, whose keys are texts."""
        kept = asdict(self)
        return {**kept, "classes": {str(number): name for number, name in self.classes.items()}}


def description_from(raw: object) -> DetectorDescription:
    """Check a description of plain values; keys of `classes` may be texts, one `scale` stands for all channels.

    Raises SettingsError naming the key."""
    if not isinstance(raw, Mapping) or not all(isinstance(key, str) for key in raw):
        raise SettingsError("a description is keys with values, such as `layout: ssd`")
    values = dict(raw)
    if missing := [key for key in ("layout", "classes", "width", "height") if key not in values]:
        raise SettingsError(f"description.{missing[0]} is missing")
    for name, value in values.items():
        if not isinstance(value, str | int | float | list | dict):
            raise SettingsError(f"description.{name[:40]} must be a text, a number, a list or keys with values")
    if isinstance(classes := values["classes"], dict):
        values["classes"] = {_number(key): name for key, name in classes.items()}
    for key in ("mean", "scale"):
        value = values.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            values[key] = 3 * [_real(value)]
        elif isinstance(value, list):
            values[key] = [_real(each) for each in value]
    for key in ("min_score", "max_overlap"):
        if key in values:
            values[key] = _real(values[key])
    return DetectorDescription(**values)


def read_description(text: bytes) -> DetectorDescription:
    """A description in YAML. Raises SettingsError for another text."""
    try:
        _require_plain(text)
        raw = yaml.safe_load(text)
    except SettingsError:
        raise
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = getattr(error, "problem", None) or type(error).__name__
        raise SettingsError(f"a description is YAML: {reason}") from error
    return description_from(raw)


def _require_plain(text: bytes) -> None:
    """Raise SettingsError for what a few lines of YAML may make endless: aliases, parts within parts, long numbers."""
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise SettingsError("a description has no aliases (*): write the values out")
        if depth > _DEEPEST:
            raise SettingsError(f"a description has no parts within parts more than {_DEEPEST} deep")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > _LONGEST:
            raise SettingsError(f"a description has no key or value of more than {_LONGEST} characters")


def _number(key: object) -> object:
    return int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 10 else key


def _real(value: object) -> object:
    """A whole number as a float, infinite where it has no room in one; anything else as it is."""
    try:
        return float(value) if type(value) is int else value
    except OverflowError:
        return math.inf
