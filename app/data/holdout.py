"""Holding out a share of the vehicles, for example to calibrate thresholds on."""

from collections.abc import Sequence

import numpy as np

from app.core.sample import Sample
from app.data.readers.errors import DataSetError


def holdout(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Kept and held-out images, each in the order of `samples`; no vehicle is in both.

    Args:
        share: of the vehicles, in [0, 1). A positive share holds out at least one vehicle and keeps at least one.
        seed: decides which vehicles; the order of `samples` does not.

    Raises ValueError for a share outside [0, 1), or a positive one where there are fewer than two vehicles."""
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1), got {share}")
    pids = sorted({sample.pid for sample in samples})
    if share == 0:
        return list(samples), []
    if len(pids) < 2:
        raise DataSetError(f"cannot hold out a share of {len(pids)} vehicles: two are needed")
    number = min(max(round(share * len(pids)), 1), len(pids) - 1)
    held = {int(pid) for pid in np.random.default_rng(seed).permutation(pids)[:number]}
    return [s for s in samples if s.pid not in held], [s for s in samples if s.pid in held]
