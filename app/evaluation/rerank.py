"""k-reciprocal re-ranking (Zhong et al., CVPR 2017, arXiv:1701.08398): a second set of figures, never the headline.

Two images of one vehicle tend to have the same neighbours. The new distance mixes the old one with the Jaccard
distance of the two sets of reciprocal neighbours.
"""

import numpy as np
from numpy.typing import NDArray

from app.evaluation.distance import Floats
from app.evaluation.errors import EvaluationError


def rerank(
    *,
    q_g_dist: Floats,
    q_q_dist: Floats,
    g_g_dist: Floats,
    k1: int = 20,
    k2: int = 6,
    original_weight: float = 0.3,
) -> NDArray[np.float32]:
    """Re-ranked distances (Q, G), smaller closer: (1 - original_weight) d_Jaccard + original_weight d.

    As in the authors' program, not the paper, d is first divided by the largest distance of its row, an image counts
    among its own neighbours, and membership weights sum to 1. Give it cosine or squared Euclidean distances.
    Holds three (Q + G, Q + G) float32 arrays: 2.1 GB for VeRi-776. Equal distances keep the order that numpy's
    partition gives them.
    Args:
        q_g_dist, q_q_dist, g_g_dist: (Q, G), (Q, Q), (G, G).
        k1: neighbours that are checked for reciprocity (k_1 in the paper); at most Q + G - 1 are used.
        k2: neighbours whose sets are averaged (k_2, local query expansion), the image itself included.
        original_weight: lambda in the paper, in [0, 1].
    Raises ValueError for shapes that do not fit, NaN, or settings out of range.
    """
    num_queries, num_gallery = q_g_dist.shape
    if q_q_dist.shape != (num_queries, num_queries) or g_g_dist.shape != (num_gallery, num_gallery):
        raise ValueError(f"{q_g_dist.shape=} does not fit {q_q_dist.shape=} and {g_g_dist.shape=}")
    if k1 < 1 or k2 < 1 or not 0 <= original_weight <= 1:
        raise ValueError(f"k1 and k2 must be at least 1, original_weight in [0, 1]; got {k1}, {k2}, {original_weight}")
    dist = np.block([[q_q_dist, q_g_dist], [q_g_dist.T, g_g_dist]]).astype(np.float32, copy=False)  # (N, N)
    if np.isnan(dist.min(initial=0)):
        raise EvaluationError("distances hold NaN")
    dist /= np.maximum(dist.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    neighbours = _nearest(dist, max(k1 + 1, k2))
    membership = _membership(dist, neighbours, k1)
    expanded = np.empty_like(membership)
    for i, nearest in enumerate(neighbours[:, :k2]):
        expanded[i] = membership[nearest].mean(axis=0)
    jaccard = _jaccard_distance(expanded[:num_queries], expanded[num_queries:])
    return (1 - original_weight) * jaccard + original_weight * dist[:num_queries, num_queries:]


def _nearest(dist: Floats, count: int) -> NDArray[np.int64]:
    """The `count` nearest of every image, nearest first: (N, count), or (N, N) if there are fewer."""
    count = min(count, len(dist))
    nearest = np.empty((len(dist), count), np.int64)
    for i, row in enumerate(dist):  # row by row: one argpartition of the whole would hold (N, N) int64
        candidates = np.argpartition(row, count - 1)[:count]
        nearest[i] = candidates[np.argsort(row[candidates], kind="stable")]
    return nearest


def _reciprocal(neighbours: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """For each image, those of its neighbours that have it among theirs."""
    return [row[(neighbours[row] == i).any(axis=1)] for i, row in enumerate(neighbours)]


def _membership(dist: Floats, neighbours: NDArray[np.int64], k1: int) -> NDArray[np.float32]:
    """Weights (N, N) of each image's reciprocal set, expanded by those of its members; rows sum to 1."""
    reciprocal = _reciprocal(neighbours[:, : k1 + 1])
    halves = _reciprocal(neighbours[:, : round(k1 / 2) + 1])
    weights = np.zeros(dist.shape, np.float32)
    for i, core in enumerate(reciprocal):
        added = [half for half in (halves[j] for j in core) if 3 * np.isin(half, core).sum() >= 2 * len(half)]
        members = np.unique(np.concatenate([[i], core, *added]))  # more than k1 copies can push it out of its own core
        row = np.exp(-dist[i, members])
        weights[i, members] = row / row.sum()
    return weights


def _jaccard_distance(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 - sum of minima / sum of maxima for rows that sum to 1, visiting only entries that are not zero."""
    holders = [np.flatnonzero(column) for column in gallery.T]
    weights = [column[rows] for column, rows in zip(gallery.T, holders, strict=True)]
    dist = np.empty((len(queries), len(gallery)), np.float32)
    for i, query in enumerate(queries):
        minima = np.zeros(len(gallery), np.float32)
        for j in np.flatnonzero(query):
            minima[holders[j]] += np.minimum(query[j], weights[j])
        dist[i] = 1 - minima / (2 - minima)  # max(a, b) = a + b - min(a, b), and both rows sum to 1
    return dist
