"""Findings of the rules of equalisation in a client's own images, of which some may have no embedding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.sample import Sample
from app.equalise.rules import (
    Floats,
    base_images,
    base_threshold,
    find_centres,
    left_out,
    suspects,
)
from app.settings.equalise import EqualiseSettings

Flags = NDArray[np.bool_]


@dataclass
class Findings:
    """Relations of N images to their vehicles; NaN, False or -1 for those that cannot be embedded.

    Args:
        seen: (N,) whether they could be embedded.
        threshold: of base images.
        own: (N,) cosine to the centre of the vehicle.
        without: (N,) to that of its other images.
        gap: (N,) by how much another vehicle's centre is nearer than the latter.
        nearest: (N,) the group of that centre.
        base: (N,) base images.
        nearer, below: (N,) suspects, for the one reason or the other.
        out: (N,) those left out of training.
        centre_of: (D,) by group.
    """

    seen: Flags
    threshold: float
    own: Floats
    without: Floats
    gap: Floats
    nearest: NDArray[np.int64]
    base: Flags
    nearer: Flags
    below: Flags
    out: Flags
    centre_of: dict[int, Floats]

    @property
    def suspected(self) -> Flags:
        """Suspects for either reason."""
        return self.nearer | self.below


def find(
    samples: Sequence[Sample],
    rows: Mapping[Sample, NDArray[np.float32]],
    groups: NDArray[np.int64],
    settings: EqualiseSettings,
) -> Findings:
    """Apply the rules to images of `groups` (N,) and to the embeddings of the readable ones."""
    seen = np.array([sample in rows for sample in samples], bool)
    own, without, gap = (np.full(len(samples), np.nan) for _ in range(3))
    base, nearer, below, out = (np.zeros(len(samples), bool) for _ in range(4))
    nearest = np.full(len(samples), -1, np.int64)
    found = Findings(seen, settings.base, own, without, gap, nearest, base, nearer, below, out, {})
    if not seen.any():
        return found
    known, inside = np.unique(groups[seen], return_inverse=True)
    inside = inside.reshape(-1)
    vectors = np.stack([rows[sample] for sample in samples if sample in rows])
    centres = find_centres(vectors, inside, np.array([sample.pid for sample in samples], np.int64)[seen])
    own[seen], without[seen], gap[seen] = centres.own, centres.without, centres.other - centres.without
    found.threshold = base_threshold(centres.own, settings)
    base[seen] = base_images(centres.own, found.threshold)
    nearer[seen], below[seen] = suspects(centres, found.threshold, settings)
    nearest[seen] = np.where(centres.nearest >= 0, known[centres.nearest], -1)
    found.centre_of = {int(group): centres.matrix[row] for row, group in enumerate(known)}
    if settings.suspects == "leave_out":
        out[seen] = left_out(found.suspected[seen], centres.without, inside)
    return found


def suspect_rows(found: Findings, groups: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Suspects as plain values: cosine to the vehicle's other images, by how much another vehicle is nearer, and the
    place of that vehicle's best image, if it has one that is not in doubt itself."""
    suspected = found.suspected
    best = {int(groups[i]): int(i) for i in np.argsort(np.nan_to_num(found.own, nan=-2.0)) if not suspected[i]}
    return [
        {
            "place": int(i),
            "cosine": rounded(found.without[i]),
            "gap": rounded(found.gap[i]),
            "reason": "nearer" if found.nearer[i] else "below",
            "nearer": best.get(int(found.nearest[i])) if found.nearer[i] else None,
        }
        for i in np.flatnonzero(suspected)
    ]


def rounded(value: float) -> float | None:
    """Five digits; None for NaN, which JSON lacks."""
    return None if np.isnan(value) else round(float(value), 5)
