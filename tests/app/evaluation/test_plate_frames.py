"""Texts of several photographs together: by trying every text and every alignment, and cases by hand."""

import itertools
import math

import numpy as np
import pytest

from app.evaluation.plate_frames import (
    ABSENT,
    APPEARING,
    NONE,
    UNLISTED,
    combined,
    pool,
    share,
    shares_of,
    similarity,
)
from app.evaluation.plate_texts import PlateReading


def reading(*places):
    """A reading with these probabilities at each place; its text is of the most likely."""
    best = [max((c for c in place if c), key=place.get) for place in places]
    return PlateReading("".join(best), tuple(p[c] for p, c in zip(places, best, strict=True)), places)


def random_reading(rng, length, characters="AB1"):
    places = []
    for _ in range(length):
        shares = rng.dirichlet(np.full(len(characters) + 1, 0.5))
        order = [*characters, NONE]
        if order[int(shares.argmax())] == NONE:
            shares = np.roll(shares, 1)
        places.append(dict(zip(order, shares.tolist(), strict=True)))
    return reading(*places)


def alignments(first, second):
    """Every way to put the places of two readings side by side: pairs, None where one has none."""
    if not first and not second:
        yield []
    if first and second:
        yield from ([(first[0], second[0]), *rest] for rest in alignments(first[1:], second[1:]))
    if first:
        yield from ([(first[0], None), *rest] for rest in alignments(first[1:], second))
    if second:
        yield from ([(None, second[0]), *rest] for rest in alignments(first, second[1:]))


def value(shares, character):
    if shares is None:
        return ABSENT if character == NONE else APPEARING
    return max(shares.get(character, 0), UNLISTED)


def agreement(one, other):
    """Log probability that two places are the same character; the first is normalised, as places found so far are."""
    listed = {NONE, *(one or {})}
    total = sum(value(one, c) for c in listed)
    chance = {c: max(value(one, c) / total, UNLISTED**2) for c in listed}
    return math.log(sum(chance.get(c, UNLISTED**2) * value(other, c) for c in listed | set(other or {})))


def slow(one, other):
    """The text of two readings: the alignment of most agreement, then the character of the highest sum."""
    first, second = sorted((one, other), key=lambda r: (-r.confidence, r.text))
    best = max(
        alignments(list(first.likely), list(second.likely)), key=lambda pairs: sum(agreement(*pair) for pair in pairs)
    )
    text = ""
    for a, b in best:
        text += max({NONE, *(a or {}), *(b or {})}, key=lambda c: value(a, c) + value(b, c))
    return text


@pytest.mark.parametrize("seed", range(40))
def test_two_readings_are_combined_as_by_trying_every_alignment(seed):
    rng = np.random.default_rng(seed)
    one, other = random_reading(rng, int(rng.integers(3, 5))), random_reading(rng, int(rng.integers(3, 5)))
    found = combined([one, other])
    if found is not None:  # texts that differ in more than half are of two plates
        assert found.text == slow(one, other)


@pytest.mark.parametrize("seed", range(20))
def test_the_text_is_the_likeliest_of_all_by_the_sum_rule(seed):
    """Three readings of one length whose places belong together: every text of that length is tried."""
    rng = np.random.default_rng(seed)
    base = [{"A": 0.6, "B": 0.3}, {"1": 0.7, "A": 0.2}, {"B": 0.55, "1": 0.4}]
    readings = [
        reading(*({c: p * rng.uniform(0.6, 1.0) for c, p in place.items()} for place in base)) for _ in range(3)
    ]
    found = combined(readings)
    texts = ["".join(each) for each in itertools.product("AB1", repeat=3)]
    product = {
        text: math.prod(sum(value(r.likely[place], c) for r in readings) for place, c in enumerate(text))
        for text in texts
    }
    assert found.text == max(product, key=product.get)


def test_two_that_hesitate_outvote_the_surest():
    """The surest alone reads B at the second place; the others read 8 there, with B as unlikely."""
    surest = reading({"A": 0.99}, {"B": 0.90, "8": 0.09}, {"1": 0.99})
    others = reading({"A": 0.9}, {"8": 0.85, "B": 0.05}, {"1": 0.9})
    assert combined([surest, others, others]).text == "A81"
    place = pool([surest.likely[1], others.likely[1], others.likely[1]])
    eight, b = 0.09 + 0.85 + 0.85, 0.90 + 0.05 + 0.05
    assert place["8"] / place["B"] == pytest.approx(eight / b)


def test_a_character_that_one_photograph_misses_stays_and_an_unsure_one_too_many_goes():
    whole = reading({"A": 0.98}, {"B": 0.97, NONE: 0.01}, {"1": 0.98})
    missing = reading({"A": 0.98}, {"1": 0.98})
    assert combined([whole, missing]).text == "AB1"
    extra = reading({"A": 0.98}, {"B": 0.4, NONE: 0.5}, {"1": 0.98})
    assert combined([extra, missing]).text == "A1"


def test_equal_readings_are_no_surer_together_and_other_plates_do_not_count():
    one = reading({"A": 0.8, "4": 0.2}, {"B": 0.7, "8": 0.3}, {"1": 0.9, "I": 0.1})
    together = combined([one, one])
    assert together.text == "AB1"
    assert together.confidences == pytest.approx((0.8, 0.7, 0.9), abs=2e-3)
    assert combined([one, PlateReading("XYZ", (0.6,) * 3)]) is None
    assert combined([one]) is None
    assert combined([one, PlateReading("", ())]) is None
    assert combined([PlateReading("AB1", (0.9,) * 3), PlateReading("AB1", (0.5,) * 3)]).text == "AB1"
    assert shares_of(PlateReading("A", (0.9,))) == [{"A": 0.9}]
    assert share({}, "A") == APPEARING
    assert similarity({NONE: 1.0}, {}) == pytest.approx(math.log(ABSENT), abs=0.01)
