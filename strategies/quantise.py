"""Common quantisation of updates that nobody may look at: blocks, their scales, stochastic rounding and carry-over.

All clients must round a block with the same scale, and the largest value of one client's block must not leave it. The
scale therefore follows from the largest value over all clients in the round before, which they learn from a sum of
thermometer codes: flag j of a block says that a client's largest value reached level j, and the sum of the flags says
how many did. What rounding and clipping cut off is carried over to the client's next update (error feedback, Seide et
al., 2014; Karimireddy et al., 2019, arXiv:1901.09847), so that nothing is lost.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Ints = NDArray[np.int64]
Exponents = NDArray[np.int16]

BLOCK = 1024
STATISTICS_BLOCK = 64  # BatchNorm statistics are few and of all sizes
LEVELS = 16
_LOWEST = -9  # level 0 is 2^-9 of the block's scale, the highest level 2^6 of it
_HEADROOM = 2  # the next scale is more than twice and at most four times the largest value
_IDLE_STEP = -2  # of a block that stayed below level 0: it may only be resting, and comes back by 2^8 a round
_EXPONENT_RANGE = (-60, 40)


@dataclass(frozen=True)
class Quantised:
    """An update as whole numbers, in block order."""

    digits: Ints  # (size,) in 0..top
    flags: NDArray[np.bool_]  # (blocks, LEVELS)
    residual: Vector  # (size,), in the order of the vector: what was not sent


class Blocks:
    """Splits a vector into blocks of one scale each; blocks of statistics come after those of learnt values.

    Args:
        statistics: (size,) bool, the BatchNorm statistics of the vector.
    """

    def __init__(self, statistics: NDArray[np.bool_]) -> None:
        learnt, measured = np.flatnonzero(~statistics), np.flatnonzero(statistics)
        self.size = statistics.size
        self.order = np.concatenate([learnt, measured])
        first = np.arange(0, learnt.size, BLOCK)
        second = learnt.size + np.arange(0, measured.size, STATISTICS_BLOCK)
        self.starts = np.concatenate([first, second])  # (blocks,), positions in `order`
        self.lengths = np.diff(np.append(self.starts, self.size))
        self.count = self.starts.size

    def initial_exponents(self, vector: Vector) -> Exponents:
        """Scales of the first round from the global model that all clients hold: a weighted update is taken to be
        below a quarter of its block's largest value. Wrong guesses are mended by the carry-over."""
        return _clip_exponents(np.ceil(np.log2(np.maximum(self._largest(vector), 2.0**-4) / 4)))

    def quantise(self, vector: Vector, exponents: Exponents, top: int, rng: np.random.Generator) -> Quantised:
        """Round `vector` (size,) stochastically to 0..top, `top` / 2 being zero and a block's scale the ends."""
        half = top // 2
        step = self._spread(np.exp2(exponents.astype(np.float64)) / half)
        scaled = vector[self.order] / step
        scaled += rng.random(self.size, np.float32)
        np.floor(scaled, out=scaled)
        np.clip(scaled, -half, half, out=scaled)
        residual = np.empty_like(vector)
        residual[self.order] = vector[self.order] - scaled * step
        return Quantised(scaled.astype(np.int64) + half, self.flags(vector, exponents), residual)

    def restore(self, total: Ints, count: int, exponents: Exponents, top: int) -> Vector:
        """The sum of `count` quantised vectors from the sum of their digits, in the order of the vector."""
        half = top // 2
        vector = np.empty(self.size, np.float32)
        vector[self.order] = (total - count * half) * self._spread(np.exp2(exponents.astype(np.float64)) / half)
        return vector

    def clip(self, vector: Vector, exponents: Exponents) -> tuple[Vector, NDArray[np.bool_], Vector]:
        """For ciphers of real numbers: values in block order, relative to their scale, within -1..1; the flags; and
        what was cut off, in the order of the vector."""
        scale = self._spread(np.exp2(exponents.astype(np.float64)))
        ordered = vector[self.order]
        clipped = np.clip(ordered, -scale, scale)
        residual = np.empty_like(vector)
        residual[self.order] = ordered - clipped
        return clipped / scale, self.flags(vector, exponents), residual

    def scale_up(self, values: NDArray[np.floating], exponents: Exponents) -> Vector:
        """A sum of `clip`ped values, in the order of the vector."""
        vector = np.empty(self.size, np.float32)
        vector[self.order] = values * self._spread(np.exp2(exponents.astype(np.float64)))
        return vector

    def next_exponents(self, reached: Ints, exponents: Exponents) -> Exponents:
        """Scales of the next round from the sums (blocks, LEVELS) of the flags."""
        highest = (reached > 0).sum(axis=1) - 1  # -1: nobody reached level 0
        step = np.where(highest < 0, _IDLE_STEP, _LOWEST + highest + _HEADROOM)
        return _clip_exponents(exponents + step)

    def flags(self, vector: Vector, exponents: Exponents) -> NDArray[np.bool_]:
        """(blocks, LEVELS): which levels the largest value of each block reaches."""
        thresholds = np.exp2(exponents[:, None].astype(np.float64) + _LOWEST + np.arange(LEVELS))
        flags: NDArray[np.bool_] = self._largest(vector)[:, None] >= thresholds  # (blocks, LEVELS)
        return flags

    def _largest(self, vector: Vector) -> NDArray[np.float32]:
        largest: NDArray[np.float32] = np.maximum.reduceat(np.abs(vector[self.order]), self.starts)
        return largest

    def _spread(self, values: NDArray[np.float64]) -> Vector:
        """One value a block to one value a position of `order`; powers of two over `half`, in float32."""
        return np.repeat(values.astype(np.float32), self.lengths)


def _clip_exponents(values: NDArray[np.floating] | NDArray[np.integer]) -> Exponents:
    return np.clip(values, *_EXPONENT_RANGE).astype(np.int16)
