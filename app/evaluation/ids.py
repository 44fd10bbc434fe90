"""Vehicles, cameras and exclusions of two lists of samples, as arrays."""

from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from app.core.sample import Sample

Ids = NDArray[np.int64]
NO_SEQUENCE = -1


class PairIds(TypedDict):
    """Numbers of Q queries and G gallery images; a sequence is `NO_SEQUENCE` if the set has none."""

    q_pids: Ids
    q_camids: Ids
    q_sequences: Ids
    g_pids: Ids
    g_camids: Ids
    g_sequences: Ids


def pair_ids(queries: Sequence[Sample], gallery: Sequence[Sample]) -> PairIds:
    """The arguments of `evaluate_ranking` and of `pairs` for these samples, beside distances."""
    names = sorted({sample.sequence for sample in (*queries, *gallery) if sample.sequence is not None})
    number: dict[str | None, int] = {None: NO_SEQUENCE, **{name: place for place, name in enumerate(names)}}
    return {
        "q_pids": _array(sample.pid for sample in queries),
        "q_camids": _array(sample.camid for sample in queries),
        "q_sequences": _array(number[sample.sequence] for sample in queries),
        "g_pids": _array(sample.pid for sample in gallery),
        "g_camids": _array(sample.camid for sample in gallery),
        "g_sequences": _array(number[sample.sequence] for sample in gallery),
    }


def _array(values: Iterable[int]) -> Ids:
    return np.fromiter(values, np.int64)
