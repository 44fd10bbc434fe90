"""Differential privacy of a client's update: clipping, Gaussian noise, and its accounting.

Each client clips its own update and adds noise before encryption, so that the guarantee holds against everybody,
holders of the key included (local model; Dwork and Roth, 2014, Sec. 3.5, for the Gaussian mechanism; Abadi et al.,
2016, arXiv:1607.00133, for the use on clipped updates). The protected unit is one client's whole update in one round;
rounds are composed by Flower's Renyi accountant (Mironov, 2017, arXiv:1702.07476).

The last bits of a floating-point sum can reveal the value under the noise (Mironov, 2012, CCS). The noisy value is
therefore rounded to a grid much coarser than those bits and much finer than the noise; later casts and the quantisation
of a cipher see only the rounded value.
"""

import math
from collections.abc import Mapping

import numpy as np
from flwr.serverapp import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyConfig,
    RdpAccountant,
    SamplingMethod,
)
from numpy.typing import NDArray

from app.federation.noise import normal_chunks
from app.settings.checks import SettingsError
from app.settings.privacy import DpSettings

Vector = NDArray[np.float32]


_GRID_BITS = 12  # steps of the grid in one standard deviation of the noise, as a power of two


def privatise(update: Vector, settings: DpSettings) -> Vector:
    """`update` (size,) scaled down to a Euclidean norm of at most `clip`, plus noise of standard deviation
    `noise_multiplier` * `clip` in each value, rounded to a grid. The carry-over of a cipher is computed from the
    result, so that it discloses nothing more."""
    norm = float(np.linalg.norm(update.astype(np.float64)))
    scale = min(1.0, settings.clip / norm) if norm > 0 else 1.0
    deviation = settings.noise_multiplier * settings.clip
    if not deviation:
        return update * np.float32(scale)
    grid = 2.0 ** (math.floor(math.log2(deviation)) - _GRID_BITS)
    noisy = np.empty(update.size, np.float32)
    for chunk, noise in normal_chunks(update.size):
        noise *= deviation
        noise += update[chunk] * scale
        noisy[chunk] = np.rint(noise / grid) * grid
    return noisy


def epsilon(settings: DpSettings, rounds: int) -> float:
    """Epsilon at `delta` of a client that took part in `rounds` rounds: any two histories of its clipped updates.

    Infinite without noise. Raises SettingsError if the accountant is not installed."""
    if not settings.noise_multiplier:
        return math.inf if rounds else 0.0
    return composed_epsilon({settings.noise_multiplier: rounds}, settings.delta)


def composed_epsilon(counts: Mapping[float, int], delta: float) -> float:
    """Epsilon at `delta` of updates with noise, counted by their noise multipliers, which are above 0.

    Two updates of norm C differ by up to 2 C, which halves the noise multiplier. Raises SettingsError if the accountant
    is not installed."""
    if not sum(counts.values()):
        return 0.0
    config = PrivacyConfig(
        target_delta=delta,
        population_size=1,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        sampling_method=SamplingMethod.NO_AMPLIFICATION,  # the server knows the participants
    )
    try:
        accountant = RdpAccountant(config)
    except ImportError as error:
        raise SettingsError(f"privacy.dp needs Flower's accountant: pip install 'flwr[dp]' ({error})") from error
    for noise_multiplier, count in sorted(counts.items()):
        event = GaussianPrivacyEvent(noise_multiplier / 2, sample_size=1, population_size=1)
        if count:
            accountant.compose(event, count)
    return accountant.get_epsilon(delta)
