"""Weights that a network starts from, as settings name them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.settings.checks import SettingsError, require_path

FILE_OPTION = re.compile(r"(pretrained|checkpoint|cache|local|hf_|.*(path|url|file|dir|repo)).*")
"""Options of a timm model that name a file or an address."""


def weights_of(pretrained: bool | str) -> bool | Path:
    """ "true" and "false" in any form as bool, anything else as the path of a file."""
    known = {"true": True, "false": False}
    return known.get(str(pretrained).lower(), Path(str(pretrained)))


def require_weights(section: str, pretrained: bool | str, options: Mapping[str, object]) -> None:
    """Raise SettingsError for an empty path, and for an option through which timm would open a file past it."""
    require_path(f"{section}.pretrained", str(pretrained))
    for name in _names(options):
        if FILE_OPTION.fullmatch(name):
            raise SettingsError(
                f"{section}.options: {name} may name a file or an address; {section}.pretrained takes a weights file"
            )


def _names(options: Mapping[str, object]) -> Iterator[str]:
    for name, value in options.items():
        yield str(name)
        if isinstance(value, Mapping):
            yield from _names(value)
