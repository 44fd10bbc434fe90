"""Weights of torchvision's networks from their files."""

from pathlib import Path

import torch
from torch import nn

from models.errors import MissingFileError, WeightsFileError


def load_weights(network: nn.Module, path: Path, name: str, *, assign: bool = False) -> None:
    """Fill torchvision's network `name` from a file; `assign` takes the file's arrays in place of the network's.

    Raises FileNotFoundError, and ValueError if it does not fit."""
    if not path.is_file():
        raise MissingFileError(f"weights file of {name} not found: {path}")
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), assign=assign)
    except Exception as error:  # pickle, zip and key errors: whatever another file makes of it
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsFileError(f"{path} does not hold torchvision's {name}: {first}") from error
