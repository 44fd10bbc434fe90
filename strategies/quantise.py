"""Common quantisation of updates under encryption: blocks, their scales, stochastic rounding and carry-over.

All clients must round a block with the same scale, and the largest value of one client's block must not leave it. The
scale therefore follows from the largest value over all clients in the round before, which they learn from a sum of
thermometer codes: flag j of a block says that a client's largest value reached level j, and the sum of the flags says
how many did. The residue of rounding and clipping is carried over to the client's next update (error feedback, Seide et
al., 2014; Karimireddy et al., 2019, arXiv:1901.09847), so that nothing is lost.

BatchNorm statistics are few, of all sizes, and move by leaps: one network's largest running variance outweighs all its
other values. Their scales are wide and narrow slowly, so that hardly any is cut off; as whole numbers they have two
digits, the second for the residue of the first.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Ints = NDArray[np.integer]
Exponents = NDArray[np.int16]

BLOCK = 1024
STATISTICS_BLOCK = 64  # BatchNorm statistics are few and of all sizes
LEVELS = 16
_LOWEST = -9  # level 0 is 2^-9 of the block's scale, the highest level 2^6 of it
_HEADROOM = 2  # the next scale is more than twice and at most four times the largest value
_IDLE_STEP = -2  # of a block that stayed below level 0: it may be at rest only, and can grow by 2^8 a round
_STATISTICS_HEADROOM = 4
_STATISTICS_STEP = -1  # the fastest fall of their scale
_EXPONENT_RANGE = (-60, 40)
_CHUNK = 2**17


@dataclass(frozen=True)
class Quantised:
    """An update as whole numbers, in block order."""

    digits: Ints  # (digits,) in 0..top: one a value, then a second one a statistic
    flags: NDArray[np.bool_]  # (blocks, LEVELS)
    residual: Vector  # (size,), in the order of the vector: what was not sent


class Blocks:
    """Splits a vector into blocks of one scale each; blocks of statistics come after those of learnt values.

    Args:
        statistics: (size,) bool, the BatchNorm statistics of the vector.
    """

    def __init__(self, statistics: NDArray[np.bool_]) -> None:
        self.size = statistics.size
        self._learnt = int(self.size - np.count_nonzero(statistics))
        self.digits = 2 * self.size - self._learnt
        first = np.arange(0, self._learnt, BLOCK)
        second = np.arange(self._learnt, self.size, STATISTICS_BLOCK)
        self._measured = slice(first.size, None)  # blocks of statistics
        self._runs = [slice(*run) for value in (False, True) for run in _runs_of(statistics, value)]
        self.starts = np.concatenate([first, second])  # (blocks,), positions in block order
        self.lengths = np.diff(np.append(self.starts, self.size))
        self.count = self.starts.size

    def initial_exponents(self, vector: Vector) -> Exponents:
        """Scales of the first round from the global model that all clients hold: a weighted update is taken to be
        below a quarter of its block's largest value, and one of statistics below four times of it. The carry-over
        corrects wrong guesses."""
        largest = np.maximum(self._largest(self._ordered(vector)), 2.0**-4)
        factor = np.full(self.count, 1 / 4)
        factor[self._measured] = 4
        return _clip_exponents(np.ceil(np.log2(largest * factor)))

    def quantise(
        self,
        vector: Vector,
        exponents: Exponents,
        top: int,
        rng: np.random.Generator,
        residual: Vector | None = None,
    ) -> Quantised:
        """Round `vector` (size,) stochastically to 0..top, `top` / 2 being zero and a block's scale the ends. The
        second digit of a statistic does the same to what is left of it, on a scale of its own.

        Args:
            residual: (size,), memory for what is not sent; it may be `vector` itself. None for new memory."""
        half = top // 2
        steps = np.exp2(exponents.astype(np.float64)) / half
        ordered = self._ordered(vector)
        flags = self._flags(ordered, exponents)
        digits: Ints = np.empty(self.digits, np.int16 if top < 2**15 else np.int32)
        for chunk in _chunks(0, self.size):
            _take_digits(ordered[chunk], self._spread(steps, chunk), half, rng, digits[chunk])
        left = slice(self._learnt, self.size)
        for chunk in _chunks(0, self.size - self._learnt):
            fine = self._fine(steps, half)[chunk]
            _take_digits(ordered[left][chunk], fine, half, rng, digits[self.size :][chunk])
        return Quantised(digits, flags, self._in_place(ordered, residual))

    def restore(self, total: Ints, count: int, exponents: Exponents, top: int) -> Vector:
        """The sum of `count` quantised vectors from the sum of their digits, in the order of the vector."""
        half = top // 2
        steps = np.exp2(exponents.astype(np.float64)) / half
        vector = np.empty(self.size, np.float32)
        fine = np.subtract(total[self.size :], count * half, dtype=np.int64) * self._fine(steps, half)
        start = 0
        for run in self._runs:
            for piece in _chunks(run.start, run.stop):
                chunk = slice(start, start + piece.stop - piece.start)
                centred = np.subtract(total[chunk], count * half, dtype=np.int64)
                values = centred * self._spread(steps, chunk)  # exact in float64, rounded once
                if start >= self._learnt:
                    values += fine[chunk.start - self._learnt : chunk.stop - self._learnt]
                vector[piece] = values
                start = chunk.stop
        return vector

    def clip(self, vector: Vector, exponents: Exponents) -> tuple[Vector, NDArray[np.bool_], Vector]:
        """For ciphers of real numbers: values in block order, relative to their scale, within -1..1; the flags; and
        what was cut off, in the order of the vector."""
        scale = self._spread(np.exp2(exponents.astype(np.float64)), slice(0, self.size))
        ordered = self._ordered(vector)
        clipped = np.clip(ordered, -scale, scale)
        return clipped / scale, self._flags(ordered, exponents), self._in_place(ordered - clipped)

    def scale_up(self, values: NDArray[np.floating], exponents: Exponents) -> Vector:
        """A sum of `clip`ped values, in the order of the vector."""
        scaled = values * self._spread(np.exp2(exponents.astype(np.float64)), slice(0, self.size))
        return self._in_place(scaled.astype(np.float32, copy=False))

    def next_exponents(self, reached: Ints, exponents: Exponents) -> Exponents:
        """Scales of the next round from the sums (blocks, LEVELS) of the flags."""
        highest = (reached > 0).sum(axis=1) - 1  # -1: nobody reached level 0
        step = np.where(highest < 0, _IDLE_STEP, _LOWEST + highest + _HEADROOM)
        wide = _LOWEST + highest[self._measured] + _STATISTICS_HEADROOM
        step[self._measured] = np.maximum(wide, _STATISTICS_STEP)
        return _clip_exponents(exponents + step)

    def flags(self, vector: Vector, exponents: Exponents) -> NDArray[np.bool_]:
        """(blocks, LEVELS): which levels the largest value of each block reaches."""
        return self._flags(self._ordered(vector), exponents)

    def _flags(self, ordered: Vector, exponents: Exponents) -> NDArray[np.bool_]:
        thresholds = np.exp2(exponents[:, None].astype(np.float64) + _LOWEST + np.arange(LEVELS))
        flags: NDArray[np.bool_] = self._largest(ordered)[:, None] >= thresholds  # (blocks, LEVELS)
        return flags

    def _largest(self, ordered: Vector) -> NDArray[np.float32]:
        lowest = np.minimum.reduceat(ordered, self.starts)  # no copy of absolute values, as large as the vector
        largest: NDArray[np.float32] = np.maximum(np.maximum.reduceat(ordered, self.starts), -lowest)
        return largest

    def _ordered(self, vector: Vector) -> Vector:
        """A copy in block order."""
        return np.concatenate([vector[run] for run in self._runs])

    def _in_place(self, ordered: Vector, memory: Vector | None = None) -> Vector:
        """The vector whose `_ordered` this is."""
        vector, start = np.empty_like(ordered) if memory is None else memory, 0
        for run in self._runs:
            stop = start + run.stop - run.start
            vector[run] = ordered[start:stop]
            start = stop
        return vector

    def _fine(self, steps: NDArray[np.float64], half: int) -> Vector:
        """Steps of the second digits from the blocks' steps: their scale is one to two steps of the first, and rounding
        leaves one at most."""
        fine: Vector = self._spread(steps, slice(self._learnt, self.size))
        fine *= np.float32(2.0 ** -math.floor(math.log2(half)))
        return fine

    def _spread(self, values: NDArray[np.float64], part: slice) -> Vector:
        """One value a block to one value a position, for a part of the positions in block order; powers of two over
        `half`, in float32."""
        first, last = np.searchsorted(self.starts, (part.start, part.stop - 1), side="right") - 1
        starts = np.maximum(self.starts[first : last + 1], part.start)
        lengths = np.diff(np.append(starts, part.stop))
        return np.repeat(values[first : last + 1].astype(np.float32), lengths)


def _take_digits(values: Vector, step: Vector, half: int, rng: np.random.Generator, digits: Ints) -> None:
    """Round values to steps, as `digits` 0..2 half, and take what they stand for off `values`."""
    scaled = values / step
    scaled += rng.random(scaled.size, np.float32)
    np.floor(scaled, out=scaled)
    np.clip(scaled, -half, half, out=scaled)
    digits[:] = scaled
    digits += half
    scaled *= step
    values -= scaled


def _chunks(start: int, stop: int) -> Iterator[slice]:
    """Pieces of the positions `start`..`stop` - 1 that stay in the processor's cache."""
    return (slice(at, min(at + _CHUNK, stop)) for at in range(start, stop, _CHUNK))


def _runs_of(mask: NDArray[np.bool_], value: bool) -> list[tuple[int, int]]:
    """Start and end of each stretch of `value` in `mask`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[not value], mask, [not value]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _clip_exponents(values: NDArray[np.floating] | NDArray[np.integer]) -> Exponents:
    return np.clip(values, *_EXPONENT_RANGE).astype(np.int16)
