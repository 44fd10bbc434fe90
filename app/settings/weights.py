"""Settings of a network's initial weights."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from app.settings.section import PathText

FILE_OPTION = re.compile(r"(pretrained|checkpoint|cache|local|hf_|.*(path|url|file|dir|repo)).*")
"""Options of a timm model that name a file or an address."""


def _without_files(options: dict[str, Any]) -> dict[str, Any]:
    """Refuse an option through which timm would open a file past `pretrained`."""
    for name in _names(options):
        if FILE_OPTION.fullmatch(name):
            raise ValueError(
                f"must not hold {name}, which may name a file or an address; pretrained takes a weights file"
            )
    return options


def _digest(text: str) -> str:
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError(f"must be 64 hexadecimal digits in lower case, as sha256sum prints them; got {text!r}")
    return text


Pretrained = bool | PathText
Options = Annotated[dict[str, Any], AfterValidator(_without_files)]
"""Further arguments of a timm model."""
HashedShare = Annotated[float, Field(ge=1e-4, le=1.0)]
"""Share of the values of large layers that are learnt and sent; see `hash_layers`. 1 for all."""
Sha256 = Annotated[str, AfterValidator(_digest)]
"""Digest of a weights file; "" for none."""
LabelSmoothing = Annotated[float, Field(ge=0.0, le=0.99)]


def weights_of(pretrained: bool | str) -> bool | Path:
    """ "true" and "false" in any form as bool, anything else as the path of a file."""
    known = {"true": True, "false": False}
    return known.get(str(pretrained).lower(), Path(str(pretrained)))


def _names(options: Mapping[str, object]) -> Iterator[str]:
    for name, value in options.items():
        yield str(name)
        if isinstance(value, Mapping):
            yield from _names(value)
