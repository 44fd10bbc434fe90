"""Thresholds and rates, against their definitions in plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from app.evaluation.calibration import (
    Similarities,
    false_match_rate,
    joined,
    miss_rate,
    of_a_look_up,
    pairs,
    share_of_vehicles,
    shares_of_vehicles,
    threshold_for,
    trade_off,
)

values = st.lists(st.integers(-50, 50).map(lambda n: n / 50), min_size=10, max_size=60)  # ties on purpose


@given(values, st.sampled_from([0.1, 0.2, 0.5, 0.9]))
def test_the_threshold_is_the_least_that_keeps_the_rate(different, rate):
    threshold = threshold_for(np.array(different), rate)
    assert sum(value >= threshold for value in different) <= rate * len(different) + 1e-9
    lower = max((value for value in different if value < threshold), default=None)
    if lower is not None:  # one similarity further down, and the rate is broken
        assert sum(value >= lower for value in different) > rate * len(different)


@pytest.mark.parametrize(("rate", "reason"), [(0.0, "between 0 and 1"), (1.0, "between"), (0.05, "at least 20 can")])
def test_rates_that_cannot_be_kept_are_refused(rate, reason):
    with pytest.raises(ValueError, match=reason):
        threshold_for(np.linspace(0, 1, 10), rate)


def sample(seed=0, vehicles=30):
    rng = np.random.default_rng(seed)
    q_pids, g_pids = np.arange(vehicles).repeat(2), np.arange(vehicles).repeat(2)
    camids = np.tile([0, 1], vehicles)
    similarity = rng.normal(0.3, 0.1, (len(q_pids), len(g_pids))) + 0.4 * (q_pids[:, None] == g_pids)
    sequences = np.arange(2 * vehicles) // 7 - 1  # the first of them in none
    ids = {"q_pids": q_pids, "q_camids": camids, "q_sequences": sequences}
    return similarity, ids | {"g_pids": g_pids, "g_camids": camids, "g_sequences": sequences}


def test_pairs_leave_out_a_vehicle_in_its_own_camera_and_others_in_its_sequence():
    similarity, ids = sample()
    found = pairs(similarity, **ids)
    same, different = [], []
    for i, (pid, cam) in enumerate(zip(ids["q_pids"], ids["q_camids"], strict=True)):
        for j, (other, its_cam) in enumerate(zip(ids["g_pids"], ids["g_camids"], strict=True)):
            if pid != other and (i < 7 or i // 7 != j // 7):
                different.append((similarity[i, j], pid, other))
            elif pid == other and cam != its_cam:
                same.append((similarity[i, j], pid))
    assert sorted(zip(found.same, found.same_pids, strict=True)) == sorted(same)
    assert sorted((s, *pids) for s, pids in zip(found.different, found.different_pids.tolist(), strict=True)) == sorted(
        different
    )
    twice = joined([found, found])
    assert len(twice.same) == 2 * len(same)
    assert false_match_rate(twice, 0.4).share == false_match_rate(found, 0.4).share


def test_rates_and_the_curve_are_those_of_scikit_learn():
    similarity, ids = sample(1)
    found = pairs(similarity, **ids)
    for threshold in (0.2, 0.5, 0.7):
        assert false_match_rate(found, threshold).share == np.mean([s >= threshold for s in found.different])
        assert miss_rate(found, threshold).share == np.mean([s < threshold for s in found.same])
    scores = np.concatenate([found.different, found.same])
    labels = np.concatenate([np.zeros(len(found.different)), np.ones(len(found.same))])
    wanted_matched, wanted_hit, _ = roc_curve(labels, scores, drop_intermediate=False)
    matched, missed = trade_off(found)
    assert (np.diff(matched) >= 0).all()
    theirs = dict(
        zip(wanted_matched.round(12).tolist(), wanted_hit.tolist(), strict=True)
    )  # the last, highest, of equals
    for rate, missing in zip(matched.round(12).tolist(), missed.tolist(), strict=True):
        assert 1 - missing <= theirs[rate] + 1e-12
    for rate in (1, 2, 5, 20, len(found.different)):  # and none of them is far from the operating points of interest
        assert min(abs(matched - rate / len(found.different))) < 1e-12


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    """Vehicles that are hard or easy as a whole: an interval from single pairs would hold the truth far less often."""
    rng = np.random.default_rng(2)
    truth, held, naive = 0.2, 0, 0
    for draw in range(200):
        hard = rng.random(40) < truth
        pids = np.arange(40).repeat(25)
        same = np.where(hard[pids], 0.1, 0.9)
        found = Similarities(same, pids, np.zeros(1), np.zeros((1, 2), np.int64))
        interval = miss_rate(found, 0.5, seed=draw)
        held += interval.low <= truth <= interval.high
        error = 1.96 * np.sqrt(interval.share * (1 - interval.share) / len(pids))
        naive += abs(interval.share - truth) <= error
    # nominal 95 %; the percentile bootstrap of 40 vehicles is known to fall short by some points
    assert 0.88 <= held / 200 <= 0.99
    assert naive / 200 < 0.6


@pytest.mark.slow
def test_intervals_of_false_matches_know_that_a_pair_has_two_vehicles():
    """Vehicles that many others resemble, as query or in the gallery alike."""
    held, vehicles = 0, 40
    first, second = np.triu_indices(vehicles, 1)
    pids = np.concatenate([np.stack([first, second], 1), np.stack([second, first], 1)])

    def draw(rng, count):
        look = rng.normal(0, 1, count)
        i, j = np.triu_indices(count, 1)
        return (look[i] + look[j] + rng.normal(0, 1, len(i))) > 2.0

    truth = draw(np.random.default_rng(99), 3000).mean()
    for seed in range(100):
        hits = draw(np.random.default_rng(seed), vehicles)
        similar = np.concatenate([hits, hits]).astype(float)
        found = Similarities(np.ones(1), np.zeros(1, np.int64), similar, pids)
        interval = false_match_rate(found, 0.5, seed=seed)
        held += interval.low <= truth <= interval.high
    assert 88 <= held <= 100  # redrawing the queries' vehicles alone holds it in six of ten


def test_a_query_makes_many_comparisons():
    assert of_a_look_up(0.001, 1500) == pytest.approx(1 - 0.999**1500)
    assert of_a_look_up(0.0, 10**6) == 0
    assert of_a_look_up(1.0, 3) == 1


def test_no_hit_at_all_still_has_an_upper_bound():
    pairs_ = np.stack([np.arange(30).repeat(3), np.arange(90) % 30], 1)
    found = Similarities(np.ones(60), np.arange(30).repeat(2), np.zeros(90), pairs_)
    assert false_match_rate(found, 0.5) == (0.0, 0.0, 0.1)  # three in thirty
    assert miss_rate(found, 2.0) == (1.0, 0.9, 1.0)


@pytest.mark.parametrize(
    ("same", "different", "reason"),
    [([], [0.1], "no pair of same vehicle "), ([0.1], [], "different vehicles"), ([np.nan], [0.1], "not finite")],
)
def test_what_cannot_be_calibrated_with_is_said(same, different, reason):
    with pytest.raises(ValueError, match=reason):
        Similarities(
            np.array(same), np.zeros(len(same), int), np.array(different), np.zeros((len(different), 2), int)
        ).require_both()


def test_several_shares_at_once_are_those_one_by_one():
    rng = np.random.default_rng(0)
    pids = rng.integers(0, 12, 60)
    hits = np.stack([rng.random(60) < share for share in (0.2, 0.7)] + [np.zeros(60, bool), np.ones(60, bool)])
    for row, found in zip(hits, shares_of_vehicles(hits, pids), strict=True):
        assert found == pytest.approx(share_of_vehicles(row, pids[:, None]))
