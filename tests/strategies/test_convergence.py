"""When a run stops."""

from hypothesis import given
from hypothesis import strategies as st

from strategies.rounds import Convergence


def stopping_round(measures, patience, min_delta):
    """By definition: the first round after `patience` rounds without a gain of more than `min_delta` over the best."""
    for end in range(1, len(measures) + 1):
        best, since = -1e9, 0
        for measure in measures[:end]:
            best, since = (measure, 0) if measure > best + min_delta else (best, since + 1)
        if patience and since >= patience:
            return end
    return None


@given(st.lists(st.integers(0, 10), max_size=12), st.integers(0, 4), st.integers(0, 2))
def test_it_stops_where_the_definition_says(measures, patience, min_delta):
    rule, stopped = Convergence(patience, min_delta), None
    for number, measure in enumerate(measures, start=1):
        rule = rule.after(measure, number)
        if rule.reached:
            stopped = number
            break
    assert stopped == stopping_round(measures, patience, min_delta)


def test_a_gain_of_just_min_delta_is_none():
    rule = Convergence(2, 0.25).after(0.5, 1)
    assert rule.after(0.75, 2).without_gain == 1
    assert rule.after(0.76, 2).without_gain == 0


def test_small_gains_do_not_move_the_best():
    rule = Convergence(3, 0.5).after(0.0, 1).after(0.4, 2).after(0.8, 3)
    assert (rule.best, rule.without_gain) == (0.8, 0)


def test_a_measure_that_is_not_a_number_is_no_gain():
    rule = Convergence(1, 0.0).after(0.5, 1).after(float("nan"), 2)
    assert rule.reached
    assert rule.best == 0.5


def test_patience_0_never_stops():
    rule = Convergence(0, 0.0)
    for version in range(100):
        rule = rule.after(0.0, version)
    assert not rule.reached


def test_a_version_that_is_measured_again_counts_once():
    rule = Convergence(2, 0.0).after(0.5, 1).after(0.4, 2)
    assert rule.after(0.4, 2) == rule.after(0.9, 1) == rule
    assert rule.after(0.4, 3).reached
