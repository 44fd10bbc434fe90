"""Examples in the report of an equalisation: counts by vehicle, and pairs of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.core.sample import Sample
from app.data.crops import cut_as_it_is
from app.data.sampler import groups_of
from app.equalise.drafts import as_enhanced
from app.equalise.store import EnhancedFiles
from app.images.decode import open_image, upright_rgb

Record = Mapping[str, Any]
"""Record of `app.equalise.run`; its places index the client's own samples."""


@dataclass(frozen=True)
class VehicleCounts:
    """Images of G vehicles (where there are infrared ones: of a vehicle in a modality), most images first.

    Args:
        own: (G,) of the client, used for training.
        out: (G,) of the client, left out of training.
        enhanced: (G,) added to them.
    """

    own: NDArray[np.int64]
    out: NDArray[np.int64]
    enhanced: NDArray[np.int64]

    @property
    def before(self) -> NDArray[np.int64]:
        return self.own + self.out

    @property
    def after(self) -> NDArray[np.int64]:
        return self.own + self.enhanced


def vehicle_counts(record: Record, samples: Sequence[Sample]) -> VehicleCounts:
    """The counts before and after."""
    groups = groups_of(samples)
    number = int(groups.max(initial=-1)) + 1
    before = np.bincount(groups, minlength=number)
    out = np.bincount(groups[np.array(record["left_out"], np.int64)], minlength=number)
    enhanced = np.bincount(groups[np.array([row["place"] for row in record["kept"]], np.int64)], minlength=number)
    own = before - out
    order = np.lexsort((-enhanced, -own, -before))
    return VehicleCounts(own[order], out[order], enhanced[order])


@dataclass(frozen=True)
class Pair:
    """One of the client's own images, and beside it its enhanced copy or an image of the vehicle it is nearer to.

    Args:
        place: of `own`.
        other: None if there is nothing to show.
        cosine: of the enhanced image to the vehicle's centre if `other` is one; else of `own` to the vehicle's other
            images.
        gap: by how much another vehicle's centre is nearer to `own` than its vehicle's other images.
    """

    place: int
    own: Sample
    other: Sample | None
    cosine: float
    gap: float | None = None


def enhanced_pairs(
    rows: Sequence[Mapping[str, Any]], samples: Sequence[Sample], files: EnhancedFiles, count: int
) -> list[Pair]:
    """At most `count` of the record's rows "kept" or "refused", ascending by cosine, spread over all of them."""
    ordered = sorted(rows, key=lambda row: float(row["cosine"]))
    chosen = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int).tolist()
    pairs = []
    for row in (ordered[place] for place in chosen):
        source = samples[row["place"]]
        made = as_enhanced(source, files.path(row["file"]), None)
        pairs.append(Pair(row["place"], source, made, float(row["cosine"])))
    return pairs


def suspect_pairs(record: Record, samples: Sequence[Sample]) -> list[Pair]:
    """All suspects: first those to which another vehicle's centre is nearer, then those that are only far from their
    own, each in descending order."""

    def sure(row: Mapping[str, Any]) -> tuple[bool, float, int]:
        near = row["nearer"] is not None
        return near, float(row["gap"] if near else -row["cosine"]), -row["place"]

    rows = sorted(record["suspects"], key=sure, reverse=True)
    return [
        Pair(
            row["place"],
            samples[row["place"]],
            None if row["nearer"] is None else samples[row["nearer"]],
            float(row["cosine"]),
            row["gap"],
        )
        for row in rows
    ]


def thumbnail(sample: Sample, side: int) -> Image.Image | None:
    """The vehicle of a sample, no side longer than `side` pixels; None if it cannot be read."""
    try:
        with open_image(sample.path) as file:
            image = cut_as_it_is(upright_rgb(file), sample.vehicle_box)
    except (OSError, ValueError):
        return None
    image.thumbnail((side, side))
    return image
