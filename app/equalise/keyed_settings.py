"""Settings as the keys of records of equalisation hold them.

A record of an earlier version is found again: a setting that its version did not have does not count at its default.
"""

from dataclasses import asdict
from typing import Any

_ADDED: dict[str, dict[str, Any]] = {
    "model": {
        **{"trainable": "all", "vehicle.sha256": "", "plate.sha256": ""},
        **{"input": "colour", "grid": 1, "layout_weight": 0.0},
    },
    "loss": {
        **{"circle_margin": 0.25, "circle_scale": 128.0, "adasp_temperature": 0.04},
        **{"memory": 0, "memory_warm_up": 0.1},
        **{"weighted_triplet_feature": "before_norm", "centre_contrast_feature": "after_norm"},
        "centre_contrast_nearest": "class",
    },
    "train": {"augment.channel": 0.0, "augment.weather": 0.0},
}
"""Settings that records were kept without, by section, with the value under which they say what was before them."""


def keyed(name: str, section: Any) -> dict[str, Any]:
    """The values of a section, "model", "loss" or "train", without those of `_ADDED` that are at their defaults."""
    values = asdict(section)
    for place, default in _ADDED[name].items():
        *above, last = place.split(".")
        inner: Any = values
        for key in above:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and last in inner and inner[last] == default:
            del inner[last]
    return values
