"""Trials with plate texts: what a calibration makes of them, and the sources beside their sum."""

import math
from pathlib import Path

import numpy as np
import pytest
from test_calibrate_evidence import comparison

from app.core.sample import Sample
from app.data.readers.reader import Direction
from app.evaluation.plate_texts import PlateReading
from app.evaluation.reading_errors import UNMEASURED
from app.register.calibrate_evidence import RATES, Rates, _upper, fit, fit_alone, outcomes, right_at
from app.register.matcher import PLATE_TEXT
from app.register.trials import ReadText, alone, read_texts, trials_of
from app.register.weighed import SUM, sources

LETTERS = "ABCDEFGHJKLMNPRSTVWXYZ0123456789"


def plates_of(rng, vehicles):
    return {pid: "".join(rng.choice(list(LETTERS), 7)) for pid in range(vehicles)}


def text_of(plate, plates, confidence=0.99, errors=UNMEASURED):
    near = {pid for pid, other in plates.items() if other == plate}
    return ReadText(PlateReading(plate, (confidence,) * len(plate)), errors, plates, near)


def set_of(seed, vehicles=60, noise=0.75, every=1):
    """A comparison and the texts of its queries: of every one, or of one in `every`."""
    rng = np.random.default_rng(seed)
    one, plates = comparison(rng, vehicles, noise), plates_of(rng, vehicles)
    return one, {key: text_of(plates[key], plates) for key in one.keys if key % every == 0}


def test_a_text_takes_part_in_calibration():
    one, texts = set_of(0)
    with_texts, without = fit([one], RATES, texts), fit([one], RATES)
    assert (with_texts.report["texts"], without.report["texts"]) == (60, 0)
    assert with_texts.report["residents_right"]["share"] > without.report["residents_right"]["share"] + 0.2
    assert with_texts.report["strangers_not_registered"]["share"] > 0.9
    assert without.report["strangers_not_registered"]["share"] == 0
    for who in ("residents", "strangers"):
        words = ("right", "wrong") if who == "residents" else ("named",)
        words += ("unsure", "unknown", "not_registered")
        assert sum(with_texts.report[f"{who}_{word}"]["share"] for word in words) == pytest.approx(1)


@pytest.mark.slow
def test_the_rate_of_strangers_holds_with_texts_and_without():
    """Texts push strangers far down; a threshold of those queries alone would name strangers without a text."""
    one, texts = set_of(1)
    rates = Rates(stranger_rate=0.05)
    both, look = fit([one], rates, texts).calibration, fit([one], rates).calibration
    assert both.named >= look.named
    other, other_texts = set_of(2, 100)
    for given in (None, other_texts):
        found = outcomes(trials_of([other], given), both)
        assert found["strangers_named"] <= 12  # of 100 at 5 %: more than 12 have a chance of 0.1 %


@pytest.mark.slow
def test_strangers_who_resemble_in_plate_alone_raise_the_threshold():
    """Two vehicles have one plate each time: the look alone would set too low a threshold."""
    one, _ = set_of(3)
    plates = {pid: f"AB{pid // 2:05d}" for pid in range(60)}  # two vehicles each have one plate
    texts = {key: text_of(plates[key], plates) for key in one.keys}
    both, look = fit([one], RATES, texts).calibration, fit([one], RATES).calibration
    assert both.named > look.named + 3


def test_sources_and_their_sum():
    one, texts = set_of(4, every=2)
    calibration = fit([one], RATES, texts).calibration
    trials = trials_of([one], texts)
    found = sources(trials, calibration)
    assert list(found) == ["vehicle", PLATE_TEXT, SUM]
    assert found[SUM]["cllr"] < min(found["vehicle"]["cllr"], 1)
    assert (found["vehicle"]["pairs_same"], found[PLATE_TEXT]["pairs_same"]) == (60, 30)
    # The sum over pairs, one by one.
    costs = {True: [], False: []}
    line = calibration.lines["vehicle"]
    for trial in trials:
        for pid in {*trial.other["vehicle"], trial.pid}:
            score = (trial.resident if pid == trial.pid else trial.other)["vehicle"][pid]
            llr = line.slope * score + line.offset + (trial.text.llr([pid])[pid] if trial.text else 0)
            same = pid == trial.pid
            costs[same].append(math.log2(1 + math.exp(-llr if same else llr)))
    plain = (np.mean(costs[True]) + np.mean(costs[False])) / 2
    assert found[SUM]["cllr"] == pytest.approx(plain, rel=1e-6)
    assert found[SUM]["pairs_different"] == len(costs[False])


def test_each_source_alone():
    one, texts = set_of(5, every=2)
    fused = set_of(6)[0]._replace(name="fused", keys=one.keys)
    trials = trials_of([fused, one], texts)
    assert [len(alone(trials, name)) for name in ("fused", "vehicle", PLATE_TEXT)] == [60, 60, 30]
    assert all(list(each.resident) == ["vehicle"] for name in ("fused", PLATE_TEXT) for each in alone(trials, name))
    assert all(each.text is None for each in alone(trials, "fused"))
    of_text = alone(trials, PLATE_TEXT)
    found = outcomes(of_text, fit_alone(trials, PLATE_TEXT, RATES))
    assert found["residents_right"] == 30
    assert found["strangers_named"] == 0
    assert right_at(of_text, fit_alone(trials, PLATE_TEXT, RATES), 0.01) == 1


def test_what_a_text_says_of_a_labelled_set():
    texts = ["AB 123", "AB 123", None, "CD-456", None, None]
    samples = [Sample(Path(f"{n}.jpg"), pid=n // 2, camid=n % 2, plate_text=p) for n, p in enumerate(texts)]
    direction = Direction("all", tuple(samples[::2]), tuple(samples[1::2]))
    readings = {samples[0]: PlateReading("AB123", (0.99,) * 5), samples[2]: PlateReading("CD458", (0.95,) * 5)}
    found = read_texts([direction], readings, UNMEASURED)
    assert set(found) == {("all", samples[0]), ("all", samples[2])}
    first, second = found["all", samples[0]], found["all", samples[2]]
    assert (first.near, second.near) == ({0}, {1})
    assert set(first.llr([0, 1, 2])) == {0, 1}  # vehicle 2 has no plate that is known
    assert first.llr([0])[0] > 5 > 0 > first.llr([1])[1]
    assert second.llr([1])[1] == pytest.approx(UNMEASURED.llr(readings[samples[2]], "CD456"))


@pytest.mark.parametrize("count", [50, 142, 199, 400])
def test_the_threshold_by_rank_is_not_reached_more_often_than_asked_for(count):
    """The share of new strangers that reach the threshold of `count` strangers, over many sets of them."""
    rng = np.random.default_rng(count)
    heavy = rng.standard_t(3, (400, count))  # longer tails than the Gumbel distribution has
    shares = [float((rng.standard_t(3, 2000) >= _upper(odds, 0.01)).mean()) for odds in heavy]
    # The largest of 50 is reached by one in 51; the mean of 400 sets has a standard error below 0.0015.
    assert np.mean(shares) <= max(0.01, 1 / (count + 1)) + 0.003


@pytest.mark.parametrize(("count", "above"), [(142, 6.0), (198, 6.0), (199, 5.0), (300, 4.0)])
def test_the_threshold_by_rank_lies_above_the_stranger_that_one_more_of_so_many_reaches(count, above):
    """k / (n + 1) at 1 %: the highest of up to 198 strangers, the second of 199 to 298, the third of 299."""
    odds = np.append(np.linspace(0, 0.5, count - 3), [6.0, 5.0, 4.0])
    assert _upper(odds, 0.01) == math.nextafter(above, math.inf)
