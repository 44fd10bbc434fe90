"""The order of the libraries, thresholds, margins, and what is unsure."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.register.matcher import Candidate, Outcome, Threshold, decide

FUSED, PLATE, VEHICLE = "fused", "plate", "vehicle"


def found(*pairs):
    return [Candidate(vehicle, similarity) for vehicle, similarity in pairs]


def test_the_fused_library_comes_first():
    decision = decide({FUSED: found((1, 0.95), (2, 0.5)), PLATE: found((2, 0.99)), VEHICLE: found((3, 1.0))}, {})
    assert (decision.outcome, decision.vehicle, decision.decided_by) == (Outcome.match, 1, FUSED)
    assert (decision.similarity, decision.threshold, decision.runner_up) == (0.95, 0.9, Candidate(2, 0.5))
    assert decision.margin == pytest.approx(0.45)


def test_then_the_plate_then_the_vehicle():
    below = {FUSED: found((1, 0.85)), PLATE: found((2, 0.92)), VEHICLE: found((3, 0.97))}
    assert decide(below, {}).decided_by == PLATE
    assert decide(below | {PLATE: found((2, 0.5))}, {}).vehicle == 3
    assert decide(below | {PLATE: []}, {}).decided_by == VEHICLE


def test_a_threshold_is_reached_by_what_equals_it():
    assert decide({VEHICLE: found((1, 0.9))}, {}).outcome is Outcome.match
    assert decide({VEHICLE: found((1, math.nextafter(0.9, 0)))}, {}).outcome is Outcome.unsure
    assert decide({VEHICLE: found((1, 0.8))}, {}).outcome is Outcome.unsure
    assert decide({VEHICLE: found((1, math.nextafter(0.8, 0)))}, {}).outcome is Outcome.unknown


def test_two_vehicles_too_close_leave_it_to_the_next_library():
    close = found((1, 0.95), (2, 0.94))
    decision = decide({FUSED: close, PLATE: found((2, 0.96), (1, 0.3))}, {})
    assert (decision.outcome, decision.vehicle, decision.decided_by) == (Outcome.match, 2, PLATE)
    alone = decide({FUSED: close}, {})
    assert (alone.outcome, alone.vehicle, alone.decided_by) == (Outcome.unsure, 1, FUSED)
    assert decide({FUSED: close}, {FUSED: Threshold(margin=0.005)}).outcome is Outcome.match


def test_an_unknown_vehicle_names_the_library_that_came_nearest():
    decision = decide(
        {FUSED: found((1, 0.1)), PLATE: [], VEHICLE: found((2, 0.6), (3, 0.5))}, {VEHICLE: Threshold(0.7, 0.65)}
    )
    assert (decision.outcome, decision.vehicle, decision.decided_by) == (Outcome.unknown, None, VEHICLE)
    assert (decision.similarity, decision.threshold) == (0.6, 0.7)


def test_an_empty_register_knows_nobody():
    decision = decide({FUSED: [], VEHICLE: []}, {})
    assert decision.outcome is Outcome.unknown
    assert decision.as_dict() == {
        "decision": "unknown",
        "vehicle": None,
        "decided_by": None,
        "similarity": None,
        "threshold": None,
        "runner_up": None,
        "margin": None,
        "candidates": {"fused": [], "vehicle": []},
        "evidence": None,
    }


@pytest.mark.parametrize("wrong", [{"match": 1.1}, {"unsure": 0.95}, {"margin": -0.1}, {"match": math.nan}])
def test_thresholds_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="must"):
        Threshold(**wrong)


similarities = st.lists(st.floats(-1, 1), max_size=4).map(lambda values: sorted(values, reverse=True))


@given(similarities, similarities, st.floats(-1, 1), st.floats(0, 0.5))
def test_a_match_is_over_its_threshold_and_clear_of_the_next(first, second, match, margin):
    threshold = Threshold(match, max(-1.0, match - 0.1), margin)
    libraries = {FUSED: found(*enumerate(first)), VEHICLE: found(*enumerate(second))}
    decision = decide(libraries, {FUSED: threshold, VEHICLE: threshold})
    clear = [
        name
        for name, values in ((FUSED, first), (VEHICLE, second))
        if values and values[0] >= match and (len(values) < 2 or values[0] - values[1] >= margin)
    ]
    assert (decision.outcome is Outcome.match) == bool(clear)
    if clear:
        assert decision.decided_by == clear[0]
    elif any(values and values[0] >= threshold.unsure for values in (first, second)):
        assert decision.outcome is Outcome.unsure
    else:
        assert decision.outcome is Outcome.unknown
