"""Decisions by summed evidence, against Bayes' rule by hand."""

import math

import numpy as np
import pytest

from app.evaluation.likelihood import Line
from app.register.evidence import CANDIDATES, EVIDENCE, Calibration, covers, decide_by_evidence, weigh
from app.register.matcher import PLATE_TEXT, Candidate, Outcome

LINES = {"fused": Line(20.0, 1.0), "plate": Line(9.0, 9.0), "vehicle": Line(10.0, -2.0)}
CALIBRATION = Calibration(lines=LINES, named=2.0, registered=-1.0, strangers=0.5, stranger_rate=0.01, unknown_rate=0.01)


def candidates(**scores):
    """By comparison, of {vehicle: score}."""
    return {
        name: [Candidate(v, s / 2, 100 + v, s) for v, s in sorted(of.items(), key=lambda item: -item[1])]
        for name, of in scores.items()
    }


def by_hand(llr, registered, strangers=0.5):
    """Probabilities by vehicle, of all others and of a stranger."""
    ratios = {vehicle: math.exp(value) for vehicle, value in llr.items()}
    others = (registered - len(llr)) * min(1.0, *ratios.values())
    total = (1 - strangers) / registered * (sum(ratios.values()) + others) + strangers
    share = (1 - strangers) / registered / total
    return {v: r * share for v, r in ratios.items()}, others * share, strangers / total


def test_a_plate_counts_once_by_its_text_or_in_the_fused_embedding():
    compared = {"fused": {1: 0.3, 2: 0.1}, "vehicle": {1: 0.4, 2: 0.35, 3: 0.2}}
    texts = {1: 6.0, 4: -3.0}
    found = weigh(compared, CALIBRATION, 50, texts)
    llr = {1: 10 * 0.4 - 2 + 6, 2: 20 * 0.1 + 1, 3: 10 * 0.2 - 2, 4: -3.0}
    assert {each.vehicle: sum(each.llr.values()) for each in found.candidates} == pytest.approx(llr)
    assert found.candidates[0].llr.keys() == {"vehicle", PLATE_TEXT}
    shares, others, stranger = by_hand(llr, 50)
    assert {each.vehicle: each.probability for each in found.candidates} == pytest.approx(shares)
    assert (found.others, found.stranger) == (pytest.approx(others), pytest.approx(stranger))
    assert sum(shares.values()) + others + stranger == pytest.approx(1)
    assert found.named == pytest.approx(math.log(shares[1] / (1 - shares[1])))
    assert found.registered == pytest.approx(math.log((1 - stranger) / stranger))


def test_no_more_candidates_than_are_weighed():
    scores = {vehicle: 0.01 * vehicle for vehicle in range(1, 3 * CANDIDATES)}
    found = weigh({"vehicle": scores}, CALIBRATION, 100)
    assert [each.vehicle for each in found.candidates] == sorted(scores, reverse=True)[:CANDIDATES]


@pytest.mark.parametrize(
    ("score", "foreign", "outcome", "vehicle"),
    [
        (1.2, False, Outcome.match, 1),
        (1.2, True, Outcome.match, 1),  # the text of a plate that is wrongly enrolled, or of another country
        (0.45, False, Outcome.unsure, 1),
        (0.45, True, Outcome.unsure, 1),
        (0.25, True, Outcome.unsure, 1),  # its plate is not known: the text cannot rule it out
        (0.25, False, Outcome.unsure, 1),
        (-0.3, False, Outcome.unknown, None),
        (-0.3, True, Outcome.not_registered, None),
    ],
)
def test_outcomes_follow_the_log_odds(score, foreign, outcome, vehicle):
    registered, other = 3, -0.5
    decision = decide_by_evidence(
        candidates(vehicle={1: score, 2: other}), CALIBRATION, registered, foreign_text=foreign
    )
    shares, _, stranger = by_hand({1: 10 * score - 2, 2: 10 * other - 2}, registered)
    odds, any_odds = math.log(shares[1] / (1 - shares[1])), math.log((1 - stranger) / stranger)
    expected = (odds >= 2, any_odds < 0, any_odds < -1)
    assert (
        expected
        == {
            Outcome.match: (True, False, False),
            Outcome.unsure: (False, any_odds < 0, False),
            Outcome.not_registered: (False, True, any_odds < -1),
            Outcome.unknown: (False, True, True),
        }[outcome]
    )
    assert (decision.outcome, decision.vehicle) == (outcome, vehicle)
    assert decision.decided_by == EVIDENCE
    assert [each.vehicle for each in decision.candidates[EVIDENCE]] == [1, 2]
    hidden = outcome in (Outcome.unknown, Outcome.not_registered)
    assert [each.vehicle for each in decision.shown()] == ([] if hidden else [1, 2])
    assert decision.as_dict()["evidence"]["candidates"][0]["probability"] == pytest.approx(shares[1], abs=5e-5)


def test_a_foreign_text_rules_out_a_vehicle_whose_plate_it_is_not():
    texts = {1: -3.2}
    found = decide_by_evidence(candidates(vehicle={1: 0.45}), CALIBRATION, 3, texts, foreign_text=True)
    assert CALIBRATION.registered < found.evidence.registered < 0
    assert (found.outcome, found.shown()) == (Outcome.not_registered, ())
    assert decide_by_evidence(candidates(vehicle={1: 0.45}), CALIBRATION, 3, texts).outcome is Outcome.unsure


def test_queries_of_another_kind_than_the_calibration_are_not_covered():
    night = {"vehicle-infrared-to-visible": [Candidate(2, 0.9, 5, 0.9)]}
    assert covers(CALIBRATION, candidates(vehicle={1: 0.5}, plate={1: 0.5}))
    assert covers(CALIBRATION, {"vehicle": [], "vehicle-infrared-to-visible": []})
    assert covers(CALIBRATION.model_copy(update={"lines": {"vehicle": LINES["vehicle"]}}), candidates(plate={1: 1.0}))
    assert not covers(CALIBRATION, night)
    assert not covers(CALIBRATION, night | {"vehicle-infrared-to-infrared": [Candidate(1, 0.9, 5, 0.9)]})
    assert not covers(CALIBRATION, {"vehicle": [], "vehicle-visible-to-infrared": night["vehicle-infrared-to-visible"]})


@pytest.mark.parametrize(
    ("score", "similarity", "outcome", "vehicle"),
    [
        (1.0, 0.95, Outcome.match, 1),
        (0.25, 0.95, Outcome.unsure, 1),
        (-0.3, 0.95, Outcome.unsure, 7),
        (-0.3, 0.6, Outcome.unknown, None),
    ],
)
def test_views_of_the_night_leave_photographs_of_the_day_to_the_evidence(score, similarity, outcome, vehicle):
    """A vehicle that was enrolled at night alone is worth a look where the evidence has nobody."""
    asked = candidates(vehicle={1: score}) | {"vehicle-visible-to-infrared": [Candidate(7, similarity, 5, 0.2)]}
    assert covers(CALIBRATION, asked)
    decision = decide_by_evidence(asked, CALIBRATION, 3, thresholds={})
    assert (decision.outcome, decision.vehicle) == (outcome, vehicle)
    assert decision.evidence == decide_by_evidence(candidates(vehicle={1: score}), CALIBRATION, 3).evidence
    assert decision.decided_by == ("vehicle-visible-to-infrared" if vehicle == 7 else EVIDENCE)
    assert vehicle is None or decision.shown()[0].vehicle == vehicle


def test_views_of_the_night_do_not_overrule_what_was_weighed_by_day():
    """A vehicle with views of both modalities counts by those of the photograph's own, which are calibrated."""
    night = {"vehicle-visible-to-infrared": [Candidate(1, 0.99, 5, 0.2), Candidate(2, 0.95, 6, 0.1)]}
    day = candidates(vehicle={1: -0.3, 2: -0.4})
    decision = decide_by_evidence(day | night, CALIBRATION, 3, thresholds={})
    assert (decision.outcome, decision.vehicle, decision.shown()) == (Outcome.unknown, None, ())
    assert decision.decided_by == EVIDENCE


@pytest.mark.parametrize(("score", "vehicle"), [(0.6, 1), (-0.3, 20)])
def test_no_more_vehicles_are_shown_with_views_of_the_night(score, vehicle):
    """The search goes deeper than what a person gets to see; the vehicle that was enrolled at night is among it."""
    night = [Candidate(20 + n, 0.95 - 0.05 * n, 5, 0.2) for n in range(2 * CANDIDATES)]
    day = {1: score} | dict.fromkeys(range(2, 12), score - 1)
    asked = candidates(vehicle=day) | {"vehicle-visible-to-infrared": night}
    decision = decide_by_evidence(asked, CALIBRATION, 50, thresholds={})
    assert (decision.outcome, decision.vehicle) == (Outcome.unsure, vehicle)
    assert len(decision.shown()) == 5
    assert 20 in [each.vehicle for each in decision.shown()]


def test_a_text_turns_the_vehicle_that_only_looks_alike_into_another():
    scores = candidates(vehicle={1: 1.0, 2: 0.5})
    assert decide_by_evidence(scores, CALIBRATION, 10).vehicle == 1
    turned = decide_by_evidence(scores, CALIBRATION, 10, {1: -9.0, 2: 15.0})
    assert (turned.outcome, turned.vehicle) == (Outcome.match, 2)
    assert turned.candidates[EVIDENCE][0].view == 102


def test_plates_alone_are_not_added_to_what_holds_them():
    alone = decide_by_evidence(candidates(plate={1: 1.0}), CALIBRATION, 10)
    assert alone.outcome is Outcome.unsure
    assert alone.evidence is not None
    assert alone.evidence.candidates == []
    both = candidates(fused={1: 0.3}, plate={1: 1.0}, vehicle={1: 0.3})
    assert sum(decide_by_evidence(both, CALIBRATION, 10).evidence.candidates[0].llr.values()) == pytest.approx(7.0)


def test_an_empty_register_knows_nobody():
    found = decide_by_evidence({"vehicle": []}, CALIBRATION, 0)
    assert (found.outcome, found.vehicle, found.evidence.stranger) == (Outcome.unknown, None, 1.0)
    assert found.evidence.named == -math.inf


def test_a_comparison_without_a_line_and_a_candidate_without_a_score_have_no_part():
    mixed = candidates(vehicle={1: 0.5}) | {"vehicle-infrared-to-visible": [Candidate(2, 0.9, 5, 0.9)]}
    mixed["vehicle"].append(Candidate(3, 0.9))
    assert [each.vehicle for each in decide_by_evidence(mixed, CALIBRATION, 5).evidence.candidates] == [1]


def test_probabilities_do_not_overflow():
    found = weigh({"vehicle": {1: 1e4, 2: -1e4}}, CALIBRATION, 2)
    assert [each.probability for each in found.candidates] == [1.0, 0.0]
    assert found.named == found.registered == math.inf
    assert np.isfinite(found.as_dict()["not_registered"])
