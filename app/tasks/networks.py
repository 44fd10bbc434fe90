"""Networks from the settings: what cannot be built is named by its key."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from app.settings.checks import NamedFileError, SettingsError, named_file
from models.backbone import build_backbone, takes
from models.errors import MissingFileError, NetworkError, WeightsFileError

_TRIED = 256  # pixels beyond the size that is given


def make_backbone(
    section: str, name: str, weights: bool | Path, options: Mapping[str, Any], size: tuple[int, int] | None = None
) -> nn.Module:
    """The backbone of a section of the settings, such as "model.vehicle".

    Args:
        size: height and width of its images, where a network of tokens may be built.

    Raises SettingsError for a network that cannot be built, NamedFileError for a weights file."""
    try:
        return build_backbone(name, pretrained=weights, options=options, size=size)
    except (WeightsFileError, OSError) as error:
        if isinstance(weights, bool):  # fetched, so that no setting names the file
            raise
        raise NamedFileError(f"{section}.pretrained", error) from error
    except NetworkError as error:
        raise SettingsError(f"{section}.backbone: {error}") from error


def require_file(section: str, weights: bool | Path, sha256: str) -> None:
    """Raise NamedFileError for a weights file that is not the one of the run.

    Args:
        section: of its backbone in the settings.
        sha256: digest of the run's file; "" takes any.
    """
    if isinstance(weights, bool) or not sha256:
        return
    with named_file(f"{section}.pretrained"):
        if not weights.is_file():
            raise MissingFileError(f"weights file not found: {weights}")
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise WeightsFileError(
                f"{weights} has SHA-256 {found}, {section}.sha256 is {sha256}: get the file of the run"
            )


def require_grid(cells: int, size: tuple[int, int] | None) -> None:
    """Raise SettingsError for more cells along a side (`model.grid`) than the feature map has positions."""
    if size is not None and cells > min(size):
        raise SettingsError(
            f"model.grid={cells}: the images give a feature map of {size[0]} x {size[1]}, which has no more cells"
        )


def require_size(section: str, name: str, backbone: nn.Module, **sides: int) -> None:
    """Raise SettingsError for images that are too small for a backbone, or of a size that it cannot halve as it must.

    Args:
        section, name: of the backbone in the settings.
        sides: pixels by key: one of square images, or height and width.
    """
    height, width = next(iter(sides.values())), [*sides.values()][-1]
    if takes(backbone, height, width):
        return
    given = ", ".join(f"{section}.{key}={side}" for key, side in sides.items())
    larger = ((height + more, width + more) for more in range(1, _TRIED + 1))
    found = next((size for size in larger if takes(backbone, *size)), None)
    if found is None:
        raise SettingsError(f"{given}: images of this size do not fit the backbone {name!r}, nor do larger ones")
    remedy = ", ".join(f"{section}.{key}={side}" for key, side in zip(sides, found, strict=False))
    raise SettingsError(f"{given}: too small for the backbone {name!r}, which takes {remedy}")
