"""Rules of data equalisation: centres, base images, label suspects, and how many images a vehicle is to have.

A *group* is the unit of equalisation: a vehicle, or in a set with infrared images a vehicle in one modality. All
functions take embeddings and group numbers, and no images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.data.sampler import split_groups
from app.settings.equalise import EqualiseSettings

Floats = NDArray[np.floating]
_BLOCK = 4096  # images compared with all centres at once
_TIE = 1e-9  # cosines that differ only by rounding: two images have the same one, and the first stays


@dataclass(frozen=True)
class Centres:
    """Cosines of N images in G groups to their vehicles' centres.

    Args:
        matrix: (G, D) centres, means of a group's embeddings, L2-normalised.
        own: (N,) cosine of an image to its group's centre.
        without: (N,) the same to the centre of the other images of its group; NaN if it is the only one.
        other: (N,) cosine to the nearest centre of another vehicle; NaN without one.
        nearest: (N,) the group of that centre, -1 without one.
    """

    matrix: Floats
    own: Floats
    without: Floats
    other: Floats
    nearest: NDArray[np.int64]


def find_centres(embeddings: Floats, groups: NDArray[np.int64], pids: NDArray[np.int64]) -> Centres:
    """Centres of embeddings (N, D), L2-normalised, of groups (N,) 0 to G - 1 of vehicles `pids` (N,)."""
    embeddings = np.asarray(embeddings, np.float64)
    count = int(groups.max()) + 1 if len(groups) else 0
    sums = np.zeros((count, embeddings.shape[1]))
    np.add.at(sums, groups, embeddings)
    sizes = np.bincount(groups, minlength=count)
    matrix = _normalised(sums)
    own = np.einsum("nd,nd->n", embeddings, matrix[groups]).clip(-1, 1)
    left = _normalised(sums[groups] - embeddings)
    without = np.where(sizes[groups] > 1, np.einsum("nd,nd->n", embeddings, left), np.nan)
    vehicle = np.zeros(count, np.int64)
    vehicle[groups] = pids
    other, nearest = np.full(len(groups), np.nan), np.full(len(groups), -1, np.int64)
    for start in range(0, len(groups) if len(np.unique(vehicle)) > 1 else 0, _BLOCK):
        rows = slice(start, start + _BLOCK)
        cosines = embeddings[rows] @ matrix.T
        cosines[pids[rows, None] == vehicle[None, :]] = -np.inf
        nearest[rows] = cosines.argmax(axis=1)
        other[rows] = cosines.max(axis=1)
    return Centres(matrix, own, without, other, nearest)


def base_threshold(own: Floats, settings: EqualiseSettings) -> float:
    """t: the setting itself, or the quantile of the cosines."""
    return settings.base if settings.base_quantile is None else float(np.quantile(own, settings.base_quantile))


def base_images(own: Floats, threshold: float) -> NDArray[np.bool_]:
    """Mask (N,) of the base images."""
    return np.asarray(own) > threshold


def suspects(centres: Centres, threshold: float, settings: EqualiseSettings) -> tuple[NDArray[np.bool_], ...]:
    """Mask (N,) of the images that probably have another vehicle's label.

    First those to which another vehicle's centre is nearer than that of their own vehicle's other images, by more
    than `suspect_margin`; then those that lie from those other images far below the threshold of base images, by
    more than `suspect_below`.

    The only image of a group has nothing to be compared with and is not suspected."""
    with np.errstate(invalid="ignore"):
        nearer = np.nan_to_num(centres.other, nan=-np.inf) > centres.without + settings.suspect_margin
        return nearer, ~nearer & (centres.without < threshold - settings.suspect_below)


def left_out(suspected: NDArray[np.bool_], without: Floats, groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask (N,) of the suspects to leave out of training: of a group of suspects only, the one nearest to the others
    stays. All images are usable for training."""
    out = np.array(suspected, bool)
    for places in split_groups(groups):
        if out[places].all():
            best = np.nanmax(without[places])
            out[places[np.flatnonzero(without[places] >= best - _TIE)[0]]] = False
    return out


def _normalised(rows: Floats) -> Floats:
    """Rows of length 1; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)
