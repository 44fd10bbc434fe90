"""From images to what a network takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app.core.device import Compute
from app.data.crops import PictureFiles, Pictures, Size, normalise
from app.settings.checks import NamedFileError, SettingsError
from app.settings.load import absolute
from app.settings.sections import DataSettings
from models.backbone import build_backbone
from models.errors import NetworkError, WeightsFileError

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of the backbone's input."""


def make_backbone(section: str, name: str, weights: bool | Path, options: Mapping[str, Any]) -> nn.Module:
    """The backbone of a section of the settings, such as "model.vehicle".

    Raises SettingsError for a network that cannot be built, NamedFileError for a weights file."""
    try:
        return build_backbone(name, pretrained=weights, options=options)
    except (WeightsFileError, OSError) as error:
        if isinstance(weights, bool):  # fetched, so that no setting names the file
            raise
        raise NamedFileError(f"{section}.pretrained", error) from error
    except NetworkError as error:
        raise SettingsError(f"{section}.backbone: {error}") from error


def make_pictures(data: DataSettings, vehicle: Size, plate: Size | None) -> Pictures:
    """The images of vehicles and plates in these sizes, kept in memory and files as the settings say."""
    files = PictureFiles(absolute(data.cache_dir), data.cache_dir_mb) if data.cache_dir else None
    return Pictures(vehicle, plate, data.cache_mb, files)


def make_plates(data: DataSettings, size: Size) -> Pictures:
    """The images of plates alone, straightened where their corners are known."""
    files = PictureFiles(absolute(data.cache_dir), data.cache_dir_mb) if data.cache_dir else None
    return Pictures(size, size, data.cache_mb, files, rectify=True)


def as_input(pictures: Tensor, statistics: Statistics, compute: Compute) -> Tensor:
    """Pictures (N, 3, H, W) uint8 as the input of a network, on their device."""
    batch = normalise(pictures, *statistics)
    return batch.contiguous(memory_format=torch.channels_last) if compute.channels_last else batch
