"""Keys of the settings whose values name files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.settings.load import MISSING, absolute
from app.settings.plug_in_names import leaves

FILES: dict[str, tuple[str, ...]] = {  # last part of a key, or a whole key -> values that name no file
    "pretrained": ("true", "false"),
    "start": ("", "packaged"),
    "perceptual_weights": ("random", "imagenet"),
    "data.equalise.model": ("own", "global"),
}
_FOLDERS: dict[str, tuple[str, ...]] = {
    "data.root": (MISSING,),
    "data.cache_dir": ("",),
    "data.equalise.folder": ("",),
    "privacy.cloud_key": ("",),
}


def relative_files(settings: Mapping[str, Any]) -> dict[str, str]:
    """The absolute paths of the keys whose values are relative ones, which count from the working folder of now."""
    found = {}
    for key, value in leaves(settings):
        if "options." in key:  # of a plug-in, which name no file
            continue
        none = _FOLDERS.get(key) or FILES.get(key) or FILES.get(key.rsplit(".", 1)[-1])
        if none and isinstance(value, str) and value.lower() not in (*none, "") and not Path(value).is_absolute():
            found[key] = str(absolute(value))
    return found
