"""Detectors on disk: weights with the settings needed to rebuild them, or the bytes of a network of another program.

One file is one detector, whatever computes it: whoever replaces the file replaces all of it.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from app.core.errors import StoredFileError
from app.core.files import saving
from app.detection.described import DescribedDetector, ForeignNetwork
from app.detection.found import ImageDetector
from app.detection.own import OwnDetector
from app.settings import upgrades
from app.settings.detection import DetectorSettings
from app.settings.detector_description import description_from
from app.training.onnx_file import DetectorNetwork, sealed_content
from models.detector import Detector, build_coco_detector, build_detector
from models.detector_graph import outside_detector
from models.errors import MissingFileError

_SETTINGS, _FOREIGN, _ONNX = "detector", "foreign", "onnx"
_NETWORK, _GRAPH = "network", "graph"  # names of arrays of bytes
_LARGE = 16_384  # values of a matrix from which on it is rounded to 8 bits
_NETWORK_KEYS = ("kind", "backbone", "channels", "convs", "deepest")
_SCALE = "@scale"  # added to the name of an array of 8 bits, of its rows' scales


def build(
    settings: DetectorSettings, *, pretrained: bool | Path = False, bfloat16: bool = False, seed: int = 0
) -> Detector:
    """The detector of these settings; layers without given weights are initialised by the seed.

    Raises ValueError for what cannot be built, FileNotFoundError for weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if settings.kind == "coco":
            return build_coco_detector(pretrained)
        return build_detector(
            settings.backbone,
            size=settings.size,
            pretrained=pretrained,
            channels=settings.channels,
            convs=settings.convs,
            deepest=settings.deepest,
            precision=torch.bfloat16 if bfloat16 else torch.float32,
        )


def write_detector(path: Path, detector: Detector, settings: DetectorSettings, *, eight_bits: bool = False) -> None:
    """Write a .safetensors file; a failure leaves an older one whole.

    Args:
        eight_bits: whether large matrices are rounded to 8 bits and small ones to 16, a third of the bytes; vectors
            (norms, biases) keep their 32.
    """
    arrays = {name: value.detach().cpu().contiguous() for name, value in detector.state_dict().items()}
    if eight_bits:
        arrays = _rounded(arrays)
    with saving(path) as temporary:
        kept = {upgrades.KEY: upgrades.DETECTOR.version, **asdict(settings)}
        save_file(arrays, temporary, {_SETTINGS: json.dumps(kept)})


def _rounded(arrays: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Large matrices as whole numbers from -127 to 127, each row (output channel) with a scale of its own, small ones
    in half precision: they are first, last or apart by channel, and few."""
    kept = {}
    for name, value in arrays.items():
        if value.ndim < 2 or not value.is_floating_point():
            kept[name] = value
            continue
        if value.numel() < _LARGE:
            kept[name] = value.half()
            continue
        scale = value.flatten(1).abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        shape = (-1, *[1] * (value.ndim - 1))
        kept[name] = (value / scale.view(shape)).round().to(torch.int8)
        kept[name + _SCALE] = scale
    return kept


def _single(arrays: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Arrays in float32, from those of `_rounded` too."""
    scales = {name.removesuffix(_SCALE): value for name, value in arrays.items() if name.endswith(_SCALE)}
    return {
        name: value.float() * scales[name].view(-1, *[1] * (value.ndim - 1)) if name in scales else _as_single(value)
        for name, value in arrays.items()
        if not name.endswith(_SCALE)
    }


def _as_single(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.dtype is torch.float16 else value


def write_foreign(path: Path, foreign: ForeignNetwork) -> None:
    """Write a foreign detector whole: network, graph and description in one file."""
    kept = {upgrades.KEY: upgrades.DETECTOR.version, "form": foreign.form, "description": foreign.description.as_dict()}
    _write_bytes(path, {_NETWORK: foreign.network, _GRAPH: foreign.graph}, {_FOREIGN: json.dumps(kept)})


def write_onnx_detector(path: Path, content: bytes) -> None:
    """Write a file of `scripts.export` as a detector."""
    _write_bytes(path, {_NETWORK: content}, {_ONNX: ""})


def open_detector(path: Path) -> ImageDetector:
    """A detector ready for use, from a .safetensors file of any of these kinds, or an .onnx file of `scripts.export`.

    Raises FileNotFoundError, ValueError for a file of another kind, and MissingPackageError without ONNX Runtime where
    that computes the detector."""
    if path.suffix == ".onnx":
        return onnx_detector(sealed_content(path), str(path))
    arrays, metadata = _contents(path)
    content = {name: arrays[name].numpy().tobytes() for name in (_NETWORK, _GRAPH) if name in arrays}
    if _ONNX in metadata:
        return onnx_detector(content.get(_NETWORK, b""), str(path))
    if _FOREIGN in metadata:
        return DescribedDetector(_foreign(path, content, metadata[_FOREIGN]))
    return OwnDetector(*_own(path, arrays, metadata))


def onnx_detector(content: bytes, name: str) -> OwnDetector:
    """A detector that ONNX Runtime computes, from the content of an .onnx file of `scripts.export`.

    Raises StoredFileError for other content, MissingPackageError without ONNX Runtime."""
    network = DetectorNetwork(content, name)
    try:
        settings = DetectorSettings(**network.settings)
    except (TypeError, ValueError) as error:
        raise StoredFileError(f"{name}: a detector of another version: {error}") from error
    return OwnDetector(outside_detector(build(settings), network.run), settings)


def _foreign(path: Path, content: dict[str, bytes], text: str) -> ForeignNetwork:
    try:
        kept = json.loads(text)
        kept = upgrades.DETECTOR.upgraded(path, kept.pop(upgrades.KEY, None), kept)
        description = description_from(kept["description"])
        return ForeignNetwork(kept["form"], content[_NETWORK], content.get(_GRAPH, b""), description, str(path))
    except upgrades.SettingsVersionError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoredFileError(f"damaged file {path}: {error}") from error


def _write_bytes(path: Path, contents: dict[str, bytes], metadata: dict[str, str]) -> None:
    arrays = {name: torch.from_numpy(np.frombuffer(each, np.uint8).copy()) for name, each in contents.items() if each}
    with saving(path) as temporary:
        save_file(arrays, temporary, metadata)


def _contents(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Arrays and metadata. Raises FileNotFoundError, and StoredFileError for a damaged file."""
    if not path.is_file():
        raise MissingFileError(f"no detector: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - no dict
    except (SafetensorError, OSError) as error:  # neither names the file
        raise StoredFileError(f"damaged file {path}: {error}") from error


def read_detector(path: Path) -> tuple[Detector, DetectorSettings]:
    """A detector of PyTorch in evaluation mode. Raises FileNotFoundError, and ValueError for a file of another kind."""
    return _own(path, *_contents(path))


def go_on_from(detector: Detector, settings: DetectorSettings, path: Path) -> None:
    """Give a detector the values of another one in a file, whose network must be the same.

    Raises FileNotFoundError, and StoredFileError for a file of another kind or another network."""
    other, there = read_detector(path)
    own = {name: getattr(settings, name) for name in _NETWORK_KEYS}
    if differing := [name for name, value in own.items() if getattr(there, name) != value]:
        told = ", ".join(f"{name} {getattr(there, name)} and not {own[name]}" for name in differing)
        raise StoredFileError(f"{path} has another network: {told}")
    detector.load_state_dict(other.state_dict())


def _own(path: Path, arrays: dict[str, torch.Tensor], metadata: dict[str, str]) -> tuple[Detector, DetectorSettings]:
    if _SETTINGS not in metadata:
        raise StoredFileError(f"{path} is no detector of this project: `python -m scripts.train_detector` makes one")
    try:
        kept = json.loads(metadata[_SETTINGS])
        settings = DetectorSettings(**upgrades.DETECTOR.upgraded(path, kept.pop(upgrades.KEY, None), kept))
        detector = build(settings)
        detector.load_state_dict(_single(arrays))
    except upgrades.SettingsVersionError:
        raise
    except (AttributeError, TypeError, RuntimeError, ValueError) as error:
        raise StoredFileError(f"{path}: a detector of another version: {str(error).splitlines()[0]}") from error
    return detector.eval(), settings
