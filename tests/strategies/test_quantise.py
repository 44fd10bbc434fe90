"""Quantisation that nobody may look at: blocks, unbiased rounding, scales from thermometer codes, carry-over."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.quantise import BLOCK, LEVELS, STATISTICS_BLOCK, Blocks

TOP = 8190
LOWEST, HIGHEST = -9, 6  # levels of the thermometer, as powers of two of the block's scale


def plain_blocks(statistics):
    """Positions of each block: learnt values in runs of 1,024, then statistics in runs of 64."""
    blocks = []
    for wanted, length in ((False, BLOCK), (True, STATISTICS_BLOCK)):
        positions = [i for i, is_statistic in enumerate(statistics) if is_statistic == wanted]
        blocks += [positions[start : start + length] for start in range(0, len(positions), length)]
    return blocks


def order_of(statistics):
    """Positions in block order: learnt values before statistics, each as they stand in the vector."""
    return np.argsort(statistics, kind="stable")


@st.composite
def masks(draw):
    """Some thousand values, of which a share at random places are statistics; all or none of them too."""
    size = draw(st.sampled_from([1, 63, 64, 65, 1023, 1024, 1025, 2500]))
    share = draw(st.sampled_from([0.0, 0.03, 0.5, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 99))).random(size) < share


@given(masks(), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_every_value_is_in_one_block_and_statistics_share_none_with_learnt_values(statistics, seed):
    blocks, expected = Blocks(statistics), plain_blocks(statistics)
    assert blocks.size == statistics.size
    assert blocks.count == len(expected)
    ends = [*blocks.starts[1:], blocks.size]
    found = [order_of(statistics)[start:end].tolist() for start, end in zip(blocks.starts, ends, strict=True)]
    assert found == expected
    vector = np.random.default_rng(seed).standard_normal(statistics.size).astype(np.float32)
    assert blocks.digits == statistics.size + statistics.sum()
    for exponent, positions in zip(blocks.initial_exponents(vector), expected, strict=True):
        largest = max(max(abs(float(vector[i])) for i in positions), 1 / 16)
        factor = 4 if statistics[positions[0]] else 1 / 4
        assert 2.0 ** int(exponent) / 2 < largest * factor <= 2.0 ** int(exponent)


@pytest.mark.parametrize("value", [-0.97, -0.5, -0.4999, -0.001, 0.0, 0.25, 0.5, 0.75, 2.3, -2.3, 1023.1, -1023.9])
def test_rounding_is_unbiased_with_the_variance_of_a_coin(value):
    """digit - value is f with probability 1 - f and so on: its mean is 0, its variance f (1 - f), f the fraction.

    Of N = 2^17 roundings the mean strays by sqrt(f (1 - f) / N) <= 0.0014; six of those are allowed, and 2^-13 more for
    float32, whose random numbers are multiples of 2^-24 and whose value + random ends 14 bits below 1,024."""
    count, half = 1 << 17, 1024
    blocks = Blocks(np.zeros(count, bool))
    vector = np.full(count, value / half, np.float32)
    found = blocks.quantise(vector, np.zeros(blocks.count, np.int16), 2 * half, np.random.default_rng(7))
    rounded = found.digits - half
    assert set(np.unique(rounded)) <= {math.floor(value), math.ceil(value)}
    fraction = value - math.floor(value)
    deviation = math.sqrt(fraction * (1 - fraction) / count)
    assert abs(rounded.mean() - value) <= 6 * deviation + 2.0**-13
    # A share of N coins: its variance is known to sqrt(2 / N) of itself at worst, and float32 adds as above.
    assert abs(rounded.var() - fraction * (1 - fraction)) <= 6 * deviation + 2.0**-12


def test_rounding_to_the_nearest_would_be_found_out():
    """The bound of the test above, broken by a rounding that is not stochastic."""
    count, value = 1 << 17, 0.25
    nearest = np.floor(np.full(count, value) + 0.5)
    assert abs(nearest.mean() - value) > 6 * math.sqrt(0.1875 / count) + 2.0**-13


def fine_of(half):
    """The second digit's step in steps of the first: a power of two; `half` of them make up one step or more."""
    return 2.0 ** -(int(half).bit_length() - 1)


@st.composite
def updates(draw, clients=1):
    """Blocks and the mask they are of, vectors of all sizes within a block, and exponents that fit them or do not."""
    statistics = draw(masks())
    blocks = Blocks(statistics)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = 2.0 ** rng.integers(-12, 5, (clients, statistics.size))
    vectors = (rng.standard_normal((clients, statistics.size)) * spread).astype(np.float32)
    return blocks, statistics, vectors, rng.integers(-4, 4, blocks.count).astype(np.int16), rng


@given(updates(), st.sampled_from([2, 6, 254, TOP, 26006, 2**22]))
@settings(max_examples=60, deadline=None)
def test_digits_and_residual_reconstruct_the_vector(update, top):
    blocks, statistics, (vector,), exponents, rng = update
    found = blocks.quantise(vector, exponents, top, rng)
    assert found.digits.min() >= 0
    assert found.digits.max() <= top
    sent = blocks.restore(found.digits, 1, exponents, top).astype(np.float64)
    scale = np.empty(blocks.size)
    scale[order_of(statistics)] = np.repeat(2.0 ** exponents.astype(float), blocks.lengths)
    first = scale / (top // 2)
    step = first * np.where(statistics, fine_of(top // 2), 1)  # of the last digit
    reach = scale * np.where(statistics, 1 + fine_of(top // 2), 1)
    # One rounding each for the step, the product, the difference and the restored value, all float32; the two digits of
    # statistics may cancel but for a step of the first.
    slack = 2.0**-22 * (np.abs(vector) + np.abs(sent) + first * statistics)
    assert (np.abs(sent + found.residual - vector) <= slack).all()
    inside = np.abs(vector) <= scale * (1 - 2.0**-20)
    assert (np.abs(found.residual)[inside] <= step[inside] + slack[inside]).all()
    cut = np.abs(vector) > reach * (1 + 2.0**-20)
    assert (np.abs(sent)[cut] <= reach[cut] * (1 + 2.0**-22)).all()
    assert (np.sign(found.residual[cut]) == np.sign(vector[cut])).all()


@pytest.mark.parametrize("top", [TOP, 2**19 - 2])
def test_digits_of_values_beyond_the_scale_stay_below_the_top(top):
    """A digit beyond the top would carry into its neighbour."""
    blocks = Blocks(np.zeros(2, bool))
    found = blocks.quantise(np.array([9, -9], np.float32), np.zeros(1, np.int16), top, np.random.default_rng(0))
    assert found.digits.tolist() == [top, 0]


@given(updates(clients=3))
@settings(max_examples=30, deadline=None)
def test_the_sum_of_digits_restores_the_sum_of_what_was_sent(update):
    blocks, statistics, vectors, exponents, rng = update
    order = order_of(statistics)
    digits = [blocks.quantise(vector, exponents, TOP, rng).digits for vector in vectors]
    scale = np.empty(blocks.size)
    scale[order] = np.repeat(2.0 ** exponents.astype(float), blocks.lengths)
    places = [*order.tolist(), *np.flatnonzero(statistics).tolist()]
    steps = np.zeros((2, blocks.size), np.int64)  # whole numbers, so that nothing cancels to a rounding error
    for row in digits:
        for position, (place, digit) in enumerate(zip(places, row.tolist(), strict=True)):
            steps[int(position >= blocks.size), place] += digit - TOP // 2
    expected = (steps[0] + steps[1] * fine_of(TOP // 2)) * scale / (TOP // 2)
    # The step is a float32, and so is the result.
    np.testing.assert_allclose(blocks.restore(sum(digits), 3, exponents, TOP), expected, rtol=2.0**-22, atol=0)


@given(updates(clients=3))
@settings(max_examples=40, deadline=None)
def test_flags_and_next_exponents_equal_plain_loops(update):
    """A thermometer: level j is 2^(j - 9) of the scale. The next scale is twice the level above the largest value, and
    eight times for statistics, whose scale falls by half a round at most."""
    blocks, statistics, vectors, exponents, rng = update
    order = order_of(statistics)
    flags = [blocks.quantise(vector, exponents, TOP, rng).flags for vector in vectors]
    found = blocks.next_exponents(sum(row.astype(np.int64) for row in flags), exponents)
    ends = [*blocks.starts[1:], blocks.size]
    for number, (start, end) in enumerate(zip(blocks.starts, ends, strict=True)):
        scale = 2.0 ** int(exponents[number])
        largest = [max(abs(float(vector[i])) for i in order[start:end]) for vector in vectors]
        for row, value in zip(flags, largest, strict=True):
            assert row[number].tolist() == [value >= scale * 2.0**level for level in range(LOWEST, HIGHEST + 1)]
        following = 2.0 ** int(found[number])
        if statistics[order[start]]:
            level = min(math.floor(math.log2(max(largest) / scale)), HIGHEST) if any(largest) else LOWEST - 1
            assert following == scale * max(2.0 ** (level + 4), 1 / 2)
        elif max(largest) < scale * 2.0**LOWEST:
            assert following == scale / 4, "it may only be resting"
        elif max(largest) >= scale * 2.0 ** (HIGHEST + 1):
            assert following == scale * 2.0 ** (HIGHEST + 2), "larger by as much as the levels can tell"
        else:
            assert 2 * max(largest) < following <= 4 * max(largest)


@pytest.mark.parametrize(("start", "value", "limit"), [(-58, 0.0, -60), (39, 2.0**60, 40)])
def test_exponents_keep_to_what_float32_can_hold(start, value, limit):
    blocks = Blocks(np.zeros(3, bool))
    exponents = np.array([start], np.int16)
    for _ in range(3):
        _, flags, _ = blocks.clip(np.full(3, value, np.float32), exponents)
        exponents = blocks.next_exponents(flags.astype(np.int64), exponents)
    assert exponents.tolist() == [limit]
    assert exponents.dtype == np.int16


@pytest.mark.parametrize("far", [3.0, 300.0, 30000.0])
def test_what_clipping_cuts_off_arrives_in_later_rounds(far):
    """One round's update is far beyond its scale, the next ones are zero; the scale grows 2^8-fold a round at most.

    The clipped value is sent, the rest carried over, and the scale follows the carried-over value."""
    blocks = Blocks(np.zeros(BLOCK + 1, bool))
    update = np.zeros(blocks.size, np.float32)
    update[[3, 700]] = far, -far / 2
    exponents, rng = np.zeros(blocks.count, np.int16), np.random.default_rng(0)
    carried, arrived, missing = update, np.zeros(blocks.size), []
    for _ in range(10):
        found = blocks.quantise(carried, exponents, TOP, rng)
        arrived += blocks.restore(found.digits, 1, exponents, TOP)
        carried = found.residual
        exponents = blocks.next_exponents(found.flags.astype(np.int64), exponents)
        missing.append(np.abs(update - arrived).max())
        # Nothing is lost at any time; float32 rounds the residual and the restored value once a round.
        np.testing.assert_allclose(arrived + carried, update, rtol=0, atol=10 * 2.0**-23 * far)
    assert missing[0] == pytest.approx(far - 1, rel=1e-6), "the first scale is 1"
    assert missing[-1] < 1e-6 * far, "what is left follows a scale that has shrunk again"
    without = blocks.quantise(update, np.zeros(blocks.count, np.int16), TOP, rng)
    assert np.abs(update - blocks.restore(without.digits, 1, np.zeros(blocks.count, np.int16), TOP)).max() > far / 2


@given(updates(clients=2))
@settings(max_examples=40, deadline=None)
def test_clipped_values_lie_within_one_and_scale_up_brings_them_back(update):
    """Scales are powers of two: dividing by one, and taking off what is beyond it, are exact in float32."""
    blocks, statistics, vectors, exponents, _ = update
    order, scale = order_of(statistics), np.empty(blocks.size)
    scale[order] = np.repeat(2.0 ** exponents.astype(float), blocks.lengths)
    total = np.zeros(blocks.size)
    for vector in vectors:
        values, flags, residual = blocks.clip(vector, exponents)
        assert np.abs(values).max() <= 1
        np.testing.assert_array_equal(values, np.clip(vector / scale, -1, 1)[order])
        np.testing.assert_array_equal(blocks.scale_up(values, exponents).astype(float) + residual, vector)
        assert flags.shape == (blocks.count, LEVELS)
        total += values
    expected = sum(np.clip(vector.astype(float), -scale, scale) for vector in vectors)
    # Two float32 of one size add up in one more bit, and the result is rounded to float32 once.
    np.testing.assert_allclose(blocks.scale_up(total, exponents), expected, rtol=2.0**-23, atol=0)


def test_the_residual_may_take_the_memory_of_the_vector():
    statistics = np.random.default_rng(3).random(5000) < 0.2
    blocks, exponents = Blocks(statistics), np.zeros(Blocks(statistics).count, np.int16)
    vector = np.random.default_rng(4).standard_normal(5000).astype(np.float32)
    memory = vector.copy()
    expected = blocks.quantise(vector, exponents, TOP, np.random.default_rng(5))
    found = blocks.quantise(memory, exponents, TOP, np.random.default_rng(5), memory)
    assert found.residual is memory
    np.testing.assert_array_equal(memory, expected.residual)
    np.testing.assert_array_equal(found.digits, expected.digits)
    np.testing.assert_array_equal(found.flags, expected.flags)
