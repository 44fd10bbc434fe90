"""The evidence of a reading for a plate: by hand, by every alignment, and with a reader whose errors are known."""

import math
from itertools import combinations

import numpy as np
import pytest

from app.evaluation.errors import EvaluationError
from app.evaluation.likelihood import Line, cllr
from app.evaluation.plate_texts import PlateReading
from app.evaluation.reading_errors import TWIN, ReadingErrors, align, measure_errors
from models.alphabet import CHARACTERS, edit_distance

ERRORS = ReadingErrors(
    right=Line(1.0, 0.0),
    confused={"B": {"8": 6, "3": 2}},
    characters={"A": 50, "B": 30, "8": 20},
    missing=0.02,
    additional=0.01,
    plates=10,
)


def read(text, confidence=0.9):
    return PlateReading(text, (confidence,) * len(text))


def test_one_character_by_hand():
    total = 100 + len(CHARACTERS)
    chance = {"A": 51 / total, "B": 31 / total, "8": 21 / total}
    assert ERRORS.chance("8") == pytest.approx(chance["8"])
    assert ERRORS.meant("B", "B", 0.9) == pytest.approx(0.9)  # log odds of 0.9 through the line of slope 1
    assert ERRORS.meant("8", "B", 0.9) == pytest.approx(0.1 * (6 + 5 * chance["8"] / (1 - chance["B"])) / 13)
    kept = math.log(0.98) + math.log(0.99)
    aligned = kept + math.log(0.9 / chance["B"])
    both_gaps = math.log(0.02) + math.log(0.01)
    assert ERRORS.any_plate_llr(read("B"), "B") == pytest.approx(np.logaddexp.reduce([aligned, both_gaps, both_gaps]))


@pytest.mark.parametrize("letter", ["A", "B", "8", "Z", "皖"])
def test_what_a_character_may_stand_for_sums_to_one(letter):
    total = sum(ERRORS.meant(true, letter, 0.7) for true in CHARACTERS)
    assert total == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("text", "plate"), [("AB8", "AB8"), ("AB", "AB8"), ("ABB8", "AB8"), ("", "AB"), ("8", "ABA8")])
def test_the_sum_over_alignments_equals_every_way_listed(text, plate):
    """A way is a choice of pairs in order; gaps may stand in any order between two pairs."""
    confidences = tuple(0.5 + 0.1 * place for place in range(len(text)))
    total = -math.inf
    for pairs in range(min(len(text), len(plate)) + 1):
        for reads in combinations(range(len(text)), pairs):
            for trues in combinations(range(len(plate)), pairs):
                way = pairs * (math.log(0.98) + math.log(0.99))
                way += (len(text) - pairs) * math.log(0.01) + (len(plate) - pairs) * math.log(0.02)
                for i, j in zip(reads, trues, strict=True):
                    way += math.log(ERRORS.meant(plate[j], text[i], confidences[i]) / ERRORS.chance(plate[j]))
                bounds = list(zip((-1, *reads), (*reads, len(text)), (-1, *trues), (*trues, len(plate)), strict=True))
                for first, last, left, right in bounds:
                    way += math.log(math.comb((last - first - 1) + (right - left - 1), last - first - 1))
                total = np.logaddexp(total, way)
    assert ERRORS.any_plate_llr(PlateReading(text, confidences), plate) == pytest.approx(total)


def test_a_near_plate_says_more_than_a_far_one_and_a_confusion_more_than_an_error():
    exact, confused, wrong, far = (
        ERRORS.llr(read("AB8AB8"), plate) for plate in ("AB8AB8", "A88AB8", "AZ8AB8", "ZZZZZZ")
    )
    assert exact > confused > wrong > 0 > far
    assert ERRORS.llr(read("AB8AB8", 0.5), "AB8AB8") < exact
    assert exact > ERRORS.llr(read("AB8AB"), "AB8AB8") > 0  # one missing
    assert exact > ERRORS.llr(read("AB8AB81"), "AB8AB8") > 0  # one additional


def test_a_stranger_may_have_the_very_plate_that_was_read():
    """ln p(R | g) - ln((1 for any plate) + TWIN p(R | the text as a plate)), both against any plate."""
    for text, plate in (("AB8AB8", "AB8AB8"), ("AB8AB8", "AZ8AB8"), ("AB8AB8", "ZZZZZZ"), ("", "AB")):
        own = TWIN * math.exp(ERRORS.any_plate_llr(read(text), text)) if text else TWIN
        expected = ERRORS.any_plate_llr(read(text), plate) - math.log(1 + own)
        assert ERRORS.llr(read(text), plate) == pytest.approx(expected)
    long = "ZYXW1234"
    assert ERRORS.llr(read(long, 0.99), long) == pytest.approx(12, abs=0.01)
    near = [ERRORS.llr(read(long, confidence), "ZYXW1235") for confidence in (0.9, 0.99, 0.999)]
    assert 7 > near[0] > near[1] > near[2] > -1  # a register of 1,000 alone takes 7 nats


def test_confidences_and_lines_at_their_ends_are_finite():
    certain = ERRORS.model_copy(update={"right": Line(5.0, 60.0)})
    hopeless = ERRORS.model_copy(update={"right": Line(5.0, -900.0)})
    for errors in (certain, hopeless):
        for confidence in (0.0, 0.5, 1.0):
            for plate in ("AB8", "AB1", "ZZZZ"):
                assert math.isfinite(errors.llr(read("AB8", confidence), plate))


def sloppy(rng, plate):
    """A reader that confuses 8 with B, and others with anything, at lower confidences."""
    text, confidences = [], []
    for true in plate:
        wrong = rng.random() < (0.3 if true == "8" else 0.03)
        character = ("B" if true == "8" else rng.choice(list("0123456789"))) if wrong else true
        if rng.random() < 0.02:
            continue
        text.append(character)
        confidences.append(float(rng.uniform(0.4, 0.95) if character != true else rng.uniform(0.7, 1.0)))
    return PlateReading("".join(text), tuple(confidences))


@pytest.mark.slow
def test_measured_errors_are_those_of_the_reader_and_tell_plates_apart():
    rng = np.random.default_rng(0)

    def plates(count):
        return ["".join(rng.choice(list("0123456789AB"), 6)) for _ in range(count)]

    known = plates(400)
    errors = measure_errors([(sloppy(rng, plate), plate) for plate in known])
    assert errors.missing == pytest.approx(0.02, abs=0.01)  # of 2,400 characters: a standard error of 0.003
    assert errors.additional < 0.01
    assert max(errors.confused["B"], key=errors.confused["B"].get) == "8"
    assert errors.meant("8", "B", 0.6) > errors.meant("4", "B", 0.6)
    fresh = plates(150)
    readings = [sloppy(rng, plate) for plate in fresh]
    same = np.array([errors.llr(reading, plate) for reading, plate in zip(readings, fresh, strict=True)])
    different = np.array([errors.llr(r, p) for i, r in enumerate(readings[:40]) for j, p in enumerate(fresh) if i != j])
    assert cllr(same, different) < 0.05
    # The mean likelihood ratio of another plate is at most 1 by definition, and the sample holds a few thousand.
    assert np.exp(different).mean() < 3


def test_a_reader_without_errors_is_as_certain_as_its_number_of_characters():
    errors = measure_errors([(read("AB8", 0.99), "AB8")] * 4)
    assert errors.meant("A", "A", 0.2) == pytest.approx(13 / 14)
    assert errors.missing == pytest.approx(1 / 14)
    assert errors.confused == {}


def test_no_characters_is_named():
    with pytest.raises(EvaluationError, match="no plate with a text"):
        measure_errors([])


@pytest.mark.parametrize(
    ("text", "true"), [("", ""), ("AB", ""), ("", "AB"), ("AB12", "AB12"), ("A812", "AB1"), ("B12", "AB12")]
)
def test_an_alignment_costs_the_edit_distance(text, true):
    pairs = align(text, true)
    assert [p.read for p in pairs if p.read is not None] == list(range(len(text)))
    assert [p.true for p in pairs if p.true is not None] == list(range(len(true)))
    cost = sum(p.read is None or p.true is None or text[p.read] != true[p.true] for p in pairs)
    assert cost == edit_distance(text, true)


@pytest.mark.slow
def test_readings_that_have_nothing_to_do_with_their_plate_do_not_prove_another():
    """Nine of ten plates are read rightly, one is covered and read as anything, whatever the confidence."""
    rng = np.random.default_rng(11)
    letters = list("ABCDEFGH12345678")

    def some():
        return "".join(rng.choice(letters, 7))

    def pairs_of(count):
        plates = [some() for _ in range(count)]
        return [(read(plate if number % 10 else some(), 0.97), plate) for number, plate in enumerate(plates)]

    errors = measure_errors(pairs_of(400))
    assert errors.unrelated == pytest.approx(0.1, abs=0.03)
    assert errors.missing < 0.005  # the characters of those that are related alone
    pairs = pairs_of(300)
    same = np.array([errors.llr(reading, plate) for reading, plate in pairs])
    other = np.array([errors.llr(reading, pairs[(n + 7) % 300][1]) for n, (reading, _) in enumerate(pairs)])
    assert same.min() == pytest.approx(math.log(errors.unrelated), abs=0.01)
    assert same.max() > 11
    without = errors.model_copy(update={"unrelated": 0.0})
    before = np.array([without.llr(reading, plate) for reading, plate in pairs])
    assert cllr(same, other) < cllr(before, other) / 1.5
    assert cllr(same, other) < 0.5


def test_errors_that_were_kept_before_rule_nothing_out_anew():
    """A file without the share says of a plate what it said."""
    kept = ERRORS.model_dump()
    del kept["unrelated"]
    reading = read("AB8")
    found = ReadingErrors.model_validate(kept)
    own = found.any_plate_llr(reading, "AB8")
    expected = found.any_plate_llr(reading, "BBB") - np.logaddexp(0, math.log(TWIN) + own)
    assert found.llr(reading, "BBB") == pytest.approx(expected, rel=1e-12)
