"""Differential privacy of a client's update: clipping, Gaussian noise, and what it adds up to.

Each client clips its own update and adds noise before encryption, so that the guarantee holds against everybody,
holders of the key included (local model; Dwork and Roth, 2014, Sec. 3.5, for the Gaussian mechanism; Abadi et al.,
2016, arXiv:1607.00133, for the use on clipped updates). What is protected is the whole of one client's update in one
round; rounds are composed by Flower's Renyi accountant (Mironov, 2017, arXiv:1702.07476).
"""

import math

import numpy as np
from flwr.serverapp import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyConfig,
    RdpAccountant,
    SamplingMethod,
)
from numpy.typing import NDArray

from app.checks import SettingsError
from app.privacy_settings import DpSettings

Vector = NDArray[np.float32]


def privatise(update: Vector, settings: DpSettings, rng: np.random.Generator) -> Vector:
    """`update` (size,) scaled down to a Euclidean norm of at most `clip`, plus noise of standard deviation
    `noise_multiplier` * `clip` in each value. The carry-over of a cipher is computed from the result, so that it
    discloses nothing more."""
    norm = float(np.linalg.norm(update.astype(np.float64)))
    scale = min(1.0, settings.clip / norm) if norm > 0 else 1.0
    noise = rng.standard_normal(update.size, np.float32) * np.float32(settings.noise_multiplier * settings.clip)
    return update * np.float32(scale) + noise


def epsilon(settings: DpSettings, rounds: int) -> float:
    """Epsilon at `delta` of a client that took part in `rounds` rounds: any two histories of its clipped updates.

    Two updates of norm C differ by up to 2 C, which halves the noise multiplier. Infinite without noise or rounds.
    Raises SettingsError if the accountant is not installed."""
    if not settings.noise_multiplier or not rounds:
        return math.inf if rounds else 0.0
    config = PrivacyConfig(
        target_delta=settings.delta,
        population_size=1,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        sampling_method=SamplingMethod.NO_AMPLIFICATION,  # the server knows who takes part
    )
    try:
        accountant = RdpAccountant(config)
    except ImportError as error:
        raise SettingsError(f"privacy.dp needs Flower's accountant: pip install 'flwr[dp]' ({error})") from error
    event = GaussianPrivacyEvent(settings.noise_multiplier / 2, sample_size=1, population_size=1)
    accountant.compose(event, rounds)
    return accountant.get_epsilon(settings.delta)
