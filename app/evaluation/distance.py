"""Distances between query and gallery embeddings; smaller is closer.

Each function takes any number of queries against the whole gallery, so that a caller may go through the queries in
blocks: apart from the (Q, G) result they hold at most one more array of that size, and never a copy of the gallery.
A block's entries may differ in the last bit from those of one large product, because BLAS picks its kernel by shape.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def normalise(embeddings: Floats) -> Floats:
    """Rows (N, D) divided by their L2 norm; a zero row stays zero."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.where(norms > 0, norms, 1)


def cosine_distance(q_embeddings: Floats, g_embeddings: Floats) -> Floats:
    """1 - cosine of (Q, D) against (G, D), as (Q, G) in [0, 2] up to rounding.

    Rows may have any length: the norms are divided out here. A zero row has cosine 0 to everything. The result is
    float32 unless an argument is float64. Raises ValueError if the shapes do not fit.
    """
    q_embeddings, g_embeddings = _as_pair(q_embeddings, g_embeddings)
    dist = normalise(q_embeddings) @ g_embeddings.T  # (Q, G)
    norms = np.sqrt(np.einsum("gd,gd->g", g_embeddings, g_embeddings))  # no (G, D) temporary
    dist /= np.where(norms > 0, norms, 1)
    return np.subtract(1, dist, out=dist)


def fused_distance(
    q_vehicle: Floats,
    g_vehicle: Floats,
    q_plate: Floats,
    g_plate: Floats,
    q_has_plate: NDArray[np.bool_],
    g_has_plate: NDArray[np.bool_],
) -> Floats:
    """Distance of vehicles by appearance and, if both plates are known, by plates, as (Q, G) in [0, 2].

    1 - (cos_vehicle + cos_plate) / 2 if both have a plate, otherwise 1 - cos_vehicle. On pairs with a plate this is
    the cosine distance of the two normalised embeddings joined; pairs without one stay on the same scale.
    Args:
        q_vehicle, g_vehicle: (Q, D) and (G, D), of any length.
        q_plate, g_plate: (Q, P) and (G, P), of any length; rows without a plate are ignored.
        q_has_plate, g_has_plate: (Q,) and (G,).
    Raises ValueError if the shapes do not fit.
    """
    q_has_plate, g_has_plate = np.asarray(q_has_plate, bool), np.asarray(g_has_plate, bool)
    dist = cosine_distance(q_vehicle, g_vehicle)
    if q_has_plate.shape != dist.shape[:1] or g_has_plate.shape != dist.shape[1:]:
        raise ValueError(f"plate masks {q_has_plate.shape} and {g_has_plate.shape} do not fit distances {dist.shape}")
    plate_dist = cosine_distance(q_plate, g_plate)
    if plate_dist.shape != dist.shape:
        raise ValueError(f"plate distances {plate_dist.shape} do not fit vehicle distances {dist.shape}")
    both = q_has_plate[:, None] & g_has_plate[None, :]
    np.add(dist, plate_dist, out=dist, where=both)
    return np.multiply(dist, 0.5, out=dist, where=both)


def _as_pair(q_embeddings: Floats, g_embeddings: Floats) -> tuple[Floats, Floats]:
    q_embeddings, g_embeddings = np.asarray(q_embeddings), np.asarray(g_embeddings)
    if q_embeddings.ndim != 2 or g_embeddings.ndim != 2 or q_embeddings.shape[1] != g_embeddings.shape[1]:
        raise ValueError(f"expected (Q, D) and (G, D), got {q_embeddings.shape} and {g_embeddings.shape}")
    dtype = np.result_type(q_embeddings, g_embeddings, np.float32)  # half precision would lose the ranking
    return q_embeddings.astype(dtype, copy=False), g_embeddings.astype(dtype, copy=False)
