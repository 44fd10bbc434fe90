"""Networks from the settings: what cannot be built is named by its key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from app.settings.checks import NamedFileError, SettingsError
from models.backbone import build_backbone
from models.errors import NetworkError, WeightsFileError


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
