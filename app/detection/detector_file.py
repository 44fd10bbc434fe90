"""Detectors on disk: weights with the settings needed to rebuild them."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from app.core.errors import StoredFileError
from app.core.files import saving
from app.settings import upgrades
from app.settings.detection import DetectorSettings
from models.detector import Detector, build_coco_detector, build_detector
from models.errors import MissingFileError

_SETTINGS = "detector"


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
            precision=torch.bfloat16 if bfloat16 else torch.float32,
        )


def write_detector(path: Path, detector: Detector, settings: DetectorSettings) -> None:
    """Write a .safetensors file; a failure leaves an older one whole."""
    arrays = {name: value.detach().cpu().contiguous() for name, value in detector.state_dict().items()}
    with saving(path) as temporary:
        kept = {upgrades.KEY: upgrades.DETECTOR.version, **asdict(settings)}
        save_file(arrays, temporary, {_SETTINGS: json.dumps(kept)})


def read_detector(path: Path) -> tuple[Detector, DetectorSettings]:
    """A detector in evaluation mode. Raises FileNotFoundError, and ValueError for a file of another kind."""
    if not path.is_file():
        raise MissingFileError(f"no detector: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, OSError) as error:  # neither names the file
        raise StoredFileError(f"damaged file {path}: {error}") from error
    if _SETTINGS not in metadata:
        raise StoredFileError(f"{path} is no detector of this project: `python -m scripts.train_detector` makes one")
    try:
        kept = json.loads(metadata[_SETTINGS])
        settings = DetectorSettings(**upgrades.DETECTOR.upgraded(path, kept.pop(upgrades.KEY, None), kept))
        detector = build(settings)
        detector.load_state_dict(arrays)
    except upgrades.SettingsVersionError:
        raise
    except (AttributeError, TypeError, RuntimeError, ValueError) as error:
        raise StoredFileError(f"{path}: a detector of another version: {str(error).splitlines()[0]}") from error
    return detector.eval(), settings
