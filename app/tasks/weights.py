"""How settings name the weights that a network starts from."""

from pathlib import Path


def weights_of(pretrained: bool | str) -> bool | Path:
    """ "true" and "false" in any form as bool, anything else as the path of a file."""
    known = {"true": True, "false": False}
    return known.get(str(pretrained).lower(), Path(str(pretrained)))
