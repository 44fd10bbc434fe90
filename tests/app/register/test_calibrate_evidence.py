"""Calibration of evidence on vehicles with known scores, and its rates on others."""

import math

import numpy as np
import pytest

from app.evaluation.errors import EvaluationError
from app.evaluation.ids import NO_SEQUENCE
from app.register.calibrate_evidence import RATES, Rates, fit, measure, outcomes
from app.register.comparisons import Comparison
from app.register.evidence import weigh
from app.register.trials import trials_of

pytestmark = pytest.mark.slow

DIM = 24


def images(rng, centres, noise):
    found = (centres + rng.normal(scale=noise, size=centres.shape)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def comparison(rng, vehicles, noise=0.55, name="vehicle"):
    centres = rng.normal(size=(vehicles, DIM))
    pids = np.arange(vehicles)
    ids = {"q_pids": pids, "g_pids": pids, "q_camids": np.zeros(vehicles, int), "g_camids": np.ones(vehicles, int)}
    ids |= {"q_sequences": np.full(vehicles, NO_SEQUENCE), "g_sequences": np.full(vehicles, NO_SEQUENCE)}
    return Comparison(name, images(rng, centres, noise), images(rng, centres, noise), ids, list(range(vehicles)))


def answers(fitted, other):
    """Shares named right, wrong, and of strangers named, on other vehicles: score by score from the formula."""
    calibration, vehicles = fitted.calibration, len(other.queries)
    line = calibration.lines["vehicle"]
    right, wrong, strangers = 0, 0, 0
    for query, vector in enumerate(other.queries):
        for without in (None, query):
            kept = [g for g in range(vehicles) if g != without]
            cosine = {g: float(vector @ other.gallery[g]) for g in kept}
            scores = {}
            for g in kept:
                beside = sorted((float(other.gallery[g] @ other.gallery[h]) for h in kept if h != g), reverse=True)[:3]
                around = sorted((cosine[h] for h in kept if h != g), reverse=True)[:3]
                scores[g] = cosine[g] - sum(beside) / 6 - sum(around) / 6
            ratios = {g: math.exp(line.slope * s + line.offset) for g, s in scores.items()}
            best = sorted(ratios, key=ratios.get, reverse=True)[:10]
            others = (len(kept) - 10) * min(1.0, ratios[best[-1]])
            chance = calibration.strangers * len(kept) / (1 - calibration.strangers)
            rest = sum(ratios[g] for g in best[1:]) + others + chance
            if math.log(ratios[best[0]] / rest) >= calibration.named:
                if without is not None:
                    strangers += 1
                elif best[0] == query:
                    right += 1
                else:
                    wrong += 1
    return right / vehicles, wrong / vehicles, strangers / vehicles


def test_rates_hold_on_other_vehicles():
    rng = np.random.default_rng(0)
    fitted = fit([comparison(rng, 150)], Rates(stranger_rate=0.02))
    report = fitted.report
    right, wrong, strangers = answers(fitted, comparison(rng, 100))
    assert strangers <= 0.06  # of 100 at 2 %: more than 6 have a chance of 0.5 %
    assert right == pytest.approx(report["residents_right"]["share"], abs=0.15)  # shares of 100 and 150 queries
    assert right > 0.5
    assert wrong < 0.03
    assert report["strangers_named"]["share"] <= 0.05
    assert report["residents_right"]["low"] <= report["residents_right"]["share"] <= report["residents_right"]["high"]
    for who, words in (
        ("residents", ("right", "wrong", "unsure", "unknown")),
        ("strangers", ("named", "unsure", "unknown")),
    ):
        assert sum(report[f"{who}_{word}"]["share"] for word in words) == pytest.approx(1)
    assert report["sources"]["vehicle"]["cllr"] < 0.5
    assert (report["vehicles"], report["queries"]) == (150, 150)


def test_the_curve_goes_through_the_thresholds_that_are_set():
    report = fit([comparison(np.random.default_rng(0), 60)], Rates(stranger_rate=0.1)).report
    working = report["strangers_named"]["share"], report["residents_right"]["share"]
    points = [(point["strangers"], point["right"]) for point in report["curve"]]
    assert points == sorted(points)
    assert points[0][0] == 0
    assert points[-1][0] == 1
    before = max(point for point in points if point[0] <= working[0])
    after = min(point for point in points if point[0] > working[0])
    assert before[1] <= working[1] <= after[1]
    assert all(point["low"] <= point["right"] <= point["high"] for point in report["curve"])


def test_the_calibration_before_is_measured_on_the_same_queries():
    one = comparison(np.random.default_rng(1), 80)
    strict, loose = fit([one], RATES).calibration, Rates(stranger_rate=0.3)
    report = fit([one], loose, before=strict).report
    counted = outcomes(trials_of([one]), strict)
    assert {name: round(80 * row["share"]) for name, row in report["before"].items()} == counted
    assert report["before"]["strangers_named"]["share"] < report["strangers_named"]["share"]
    assert measure([one], strict)["residents_right"] == report["before"]["residents_right"]


def test_more_strangers_may_be_named_for_more_residents():
    rng = np.random.default_rng(1)
    one = comparison(rng, 120)
    strict, loose = fit([one], RATES), fit([one], Rates(stranger_rate=0.2))
    assert loose.calibration.named < strict.calibration.named
    assert loose.report["residents_right"]["share"] > strict.report["residents_right"]["share"]


def test_two_comparisons_of_one_query_are_weighed_together():
    """The fused embedding decides where there is one; the vehicle's for the others."""
    rng = np.random.default_rng(2)
    vehicle, fused = comparison(rng, 200, 0.7), comparison(rng, 200, 0.3, "fused")
    some = np.arange(100)
    ids = {name: values[some] for name, values in fused.ids.items()}
    fused = Comparison("fused", fused.queries[some], fused.gallery[some], ids, list(range(100)))
    both, alone = fit([fused, vehicle], RATES), fit([vehicle], RATES)
    assert both.calibration.lines.keys() == {"fused", "vehicle"}
    assert both.report["queries"] == 200
    assert both.report["residents_right"]["share"] > alone.report["residents_right"]["share"] + 0.1
    found = weigh({"fused": {1: 0.8}, "vehicle": {1: 0.1, 2: 0.1}}, both.calibration, 5)
    assert [list(each.llr) for each in found.candidates] == [["fused"], ["vehicle"]]


def test_of_many_queries_some_are_asked_the_same_in_all_comparisons(monkeypatch):
    monkeypatch.setattr("app.register.trials.MOST_QUERIES", 25)
    rng = np.random.default_rng(4)
    report = fit([comparison(rng, 60, name="fused"), comparison(rng, 60)], RATES).report
    assert report["queries"] == report["vehicles"] == 20  # every third of sixty
    assert report["registered"] == 60
    assert [report["sources"][name]["pairs_same"] for name in ("fused", "vehicle")] == [20, 20]


@pytest.mark.parametrize("vehicles", [1, 2, 9])
def test_too_few_vehicles_are_counted(vehicles):
    with pytest.raises(EvaluationError, match=f"{vehicles} vehicles have a second image .* at least 10"):
        fit([comparison(np.random.default_rng(3), vehicles)], RATES)


def test_nothing_to_compare_is_named():
    with pytest.raises(EvaluationError, match="0 vehicles have a second image"):
        fit([], RATES)
