"""Cross-domain similarity local scaling (CSLS): cosine similarity without hubs.

A cosine says little where everything is near: some enrolled vehicles are close to any photograph, and some photographs
to any vehicle. CSLS subtracts what is usual around both sides (Conneau et al., "Word translation without parallel
data", ICLR 2018, section 2.3, here with halves, so that a score stays on the scale of a cosine):

    score(q, g) = cos(q, g) - r(q) / 2 - r(g) / 2

r(q) is the mean of the K best similarities of photograph q to vehicles other than g; r(g) that of enrolled image g to
vehicles other than its own. The similarity to a vehicle is that of its best image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
NEIGHBOURS = 3
"""K. Fewer are noisy, more let a crowded neighbourhood look like an empty one."""
SHORTLIST = 32
"""Vehicles nearest by cosine whose scores are computed: local scaling moves a vehicle by a few places among many."""


class Neighbours(NamedTuple):
    """The nearest other vehicles of N images, nearest first: one more than K, so that any one of them can be left out.

    Args:
        similarity: (N, K + 1), -inf where there are fewer other vehicles.
        vehicle: (N, K + 1), the columns that they come from.
    """

    similarity: Floats
    vehicle: Ints

    def density(self, without: Ints | int | None = None) -> Floats:
        """r of each image, (N,): the mean of its K best similarities; of fewer where there are fewer, 0 where none.

        Args:
            without: a vehicle for all images, or one for each (N,), that is left out.
        """
        count = self.similarity.shape[1] - 1
        if without is None:
            left_out = np.zeros(self.vehicle.shape, bool)
        else:
            left_out = self.vehicle == np.reshape(without, (-1, 1))
        # The last one counts only where an earlier one is left out.
        left_out[:, count] |= ~left_out[:, :count].any(axis=1)
        used = ~left_out & np.isfinite(self.similarity)
        total = np.where(used, self.similarity, 0).sum(axis=1, dtype=np.float32)
        return total / np.maximum(used.sum(axis=1, dtype=np.float32), 1)


def neighbours(similarity: Floats, own: Ints | None = None, count: int = NEIGHBOURS) -> Neighbours:
    """The `count` + 1 best columns of each row.

    Args:
        similarity: (N, V) of images to vehicles.
        own: (N,), each image's own vehicle, which is not a neighbour; None for photographs of nobody's.
    """
    found = np.array(similarity, np.float32)
    if own is not None:
        found[np.arange(len(found)), own] = -np.inf
    if found.shape[1] < count + 1:
        found = np.pad(found, ((0, 0), (0, count + 1 - found.shape[1])), constant_values=-np.inf)
    best = np.argpartition(-found, count, axis=1)[:, : count + 1] if found.shape[1] > count + 1 else None
    if best is None:
        best = np.broadcast_to(np.arange(count + 1), (len(found), count + 1))
    values = np.take_along_axis(found, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return Neighbours(np.take_along_axis(values, order, axis=1), np.take_along_axis(best, order, axis=1))


def each_once(similarity: Floats, vehicle: Ints) -> Neighbours:
    """The nearest vehicles, each at the place of its nearest image.

    Args:
        similarity: (N, M) of images, nearest first, -inf for none.
        vehicle: (N, M), whose image it is.
    """
    repeated = np.tril(vehicle[:, :, None] == vehicle[:, None, :], -1).any(axis=2)
    similarity = np.where(repeated, np.float32(-np.inf), similarity)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : NEIGHBOURS + 1]
    best = np.take_along_axis(similarity, order, axis=1)
    found = np.where(np.isfinite(best), np.take_along_axis(vehicle, order, axis=1), -1)
    missing = ((0, 0), (0, NEIGHBOURS + 1 - best.shape[1]))
    return Neighbours(np.pad(best, missing, constant_values=-np.inf), np.pad(found, missing, constant_values=-1))


def query_density(similarity: Floats, count: int = NEIGHBOURS) -> Floats:
    """r of one photograph for each vehicle (V,): the mean of its K best similarities to vehicles other than that one.

    Args:
        similarity: (V,), -inf for vehicles that are not there.
    """
    found = neighbours(similarity[None], count=count)
    density = np.full(len(similarity), found.density()[0], np.float32)
    for vehicle in found.vehicle[0][np.isfinite(found.similarity[0])]:
        density[vehicle] = found.density(int(vehicle))[0]
    return density


def scaled_scores(
    similarities: Floats, usual: Floats, rows: Sequence[Sequence[int]], around: Sequence[Floats]
) -> Floats:
    """Local-scaling scores (V,) of vehicles: the mean over photographs of cos - r(view) / 2 - r(photograph) / 2, where
    the best view counts.

    Args:
        similarities: (Q, N) of photographs to views.
        usual: (N,), the density of each view.
        rows: columns of each vehicle's views.
        around: of each photograph, its density for each vehicle (V,).
    """
    scaled = similarities - usual / 2
    best = np.stack([scaled[:, columns].max(axis=1) for columns in rows], axis=1)
    return np.asarray((best - np.stack(around) / 2).mean(axis=0), np.float32)


def densities_of_photograph(nearest: Neighbours, vehicles: Ints) -> Floats:
    """The density around one photograph for each vehicle (V,), which is left out of it.

    Args:
        nearest: of the photograph, one row.
    """
    count = len(vehicles)
    similarity, vehicle = (np.repeat(part, count, axis=0) for part in (nearest.similarity, nearest.vehicle))
    return Neighbours(similarity.astype(np.float32), vehicle.astype(np.int64)).density(vehicles)
