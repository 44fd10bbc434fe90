"""Log-likelihood ratios against scikit-learn, scipy's known densities, and sums by hand."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from app.evaluation.errors import EvaluationError
from app.evaluation.likelihood import Line, cllr, fit_line, posterior, reliability


def test_the_line_equals_scikit_learn():
    rng = np.random.default_rng(0)
    same, different = rng.normal(0.6, 0.1, 40), rng.normal(0.2, 0.15, 300)
    scores = np.concatenate([same, different])
    # A smoothed target is a pair of each kind with the two shares as weights.
    targets = np.r_[np.full(40, 341 / 342), np.full(300, 1 / 342)]
    weights = np.r_[np.full(40, 0.5 / 40), np.full(300, 0.5 / 300)]
    x = np.concatenate([scores, scores])[:, None]
    y = np.r_[np.ones(340), np.zeros(340)]
    other = LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000)
    other.fit(x, y, np.r_[weights * targets, weights * (1 - targets)] * 1000)
    line = fit_line(same, different)
    # Both stop where the loss is flat to 1e-10 or 1e-12.
    assert line.slope == pytest.approx(other.coef_[0, 0], rel=1e-3)
    assert line.offset == pytest.approx(other.intercept_[0], rel=1e-3)


def test_the_line_finds_the_true_ratio_of_two_normal_densities():
    """Of equal variance: ln N(x; a, s) / N(x; b, s) is a line."""
    rng = np.random.default_rng(1)
    a, b, s = 0.6, 0.2, 0.15
    line = fit_line(rng.normal(a, s, 20_000), rng.normal(b, s, 200_000))
    assert line.slope == pytest.approx((a - b) / s**2, rel=0.05)  # 20,000 pairs: about 1 % of error
    assert line.llr(np.array([0.4]))[0] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    ("same", "different"), [([0.9, 0.8], [0.1, 0.2, 0.3]), ([5.0] * 50, [-5.0] * 50), ([0.9, 0.9], [0.1, 0.1])]
)
def test_separable_scores_are_certain_only_to_their_number(same, different):
    line = fit_line(np.array(same), np.array(different))
    assert line.slope > 0
    assert line.llr(np.mean(same)) <= math.log(len(same) + len(different) + 1) + 0.01  # (N + 1) / (N + 2) as odds


def test_a_score_that_tells_nothing_or_the_contrary_has_no_weight():
    rng = np.random.default_rng(2)
    assert fit_line(rng.normal(0, 1, 100), rng.normal(1, 1, 100)) == Line(0.0, 0.0)
    assert fit_line(np.full(5, 0.5), np.full(9, 0.5)) == Line(0.0, 0.0)


@pytest.mark.parametrize(
    ("same", "different", "reason"),
    [
        ([0.5], [0.1, 0.2], "1 pairs of the same vehicle"),
        ([0.5, 0.6], [], "0 pairs of different vehicles"),
        ([0.5, np.nan], [0.1, 0.2], "of the same vehicle is not finite"),
        ([0.5, 0.6], [0.1, -np.inf], "of different vehicles is not finite"),
    ],
)
def test_bad_scores_are_named(same, different, reason):
    with pytest.raises(EvaluationError, match=reason):
        fit_line(np.array(same), np.array(different))


def test_cllr_by_hand():
    assert cllr(np.zeros(3), np.zeros(5)) == pytest.approx(1)
    same, different = [math.log(3), 0.0], [-math.log(7)]
    by_hand = ((math.log2(1 + 1 / 3) + 1) / 2 + math.log2(1 + 1 / 7)) / 2
    assert cllr(np.array(same), np.array(different)) == pytest.approx(by_hand)
    assert cllr(np.array([-3.0]), np.array([3.0])) > 1
    assert cllr(np.array([800.0]), np.array([-800.0])) == 0  # no overflow


def test_reliability_counts_both_kinds_alike():
    same, different = np.full(10, math.log(3)), np.r_[np.full(30, -math.log(3)), np.full(10, math.log(3))]
    low, high = reliability(same, different, bins=2)
    assert (low.stated, low.found, low.pairs) == (pytest.approx(0.25), 0.0, 30)
    # 1 of the same kind against a quarter of the other one.
    assert (high.stated, high.found, high.pairs) == (pytest.approx(0.75), pytest.approx(1 / 1.25), 20)


def test_posterior_by_bayes_rule():
    ratios, registered, strangers = [900.0, 3.0, 0.5], 10, 0.2
    weights = [ratio * 0.8 / 10 for ratio in ratios] + [7 * 0.5 * 0.8 / 10, 0.2]
    found = posterior(np.log(ratios), registered, strangers)
    assert found.vehicles == pytest.approx(np.array(weights[:3]) / sum(weights))
    assert (found.others, found.stranger) == (
        pytest.approx(weights[3] / sum(weights)),
        pytest.approx(0.2 / sum(weights)),
    )
    # The likelihood ratio of the rest is 1 at the most, that of another vehicle on average.
    crowded = posterior(np.log([900.0, 300.0]), registered, strangers)
    assert crowded.others / crowded.vehicles[0] == pytest.approx(8 / 900)


def test_posterior_at_its_ends():
    assert posterior(np.empty(0), 0, 0.5) == (pytest.approx([]), 0.0, 1.0)
    alone = posterior(np.array([2000.0]), 1, 0.5)
    assert (alone.vehicles[0], alone.others, alone.stranger) == (1.0, 0.0, 0.0)
    nobody = posterior(np.empty(0), 5, 0.3)
    assert (nobody.others, nobody.stranger) == (pytest.approx(0.7), pytest.approx(0.3))
    for given, reason in (((np.zeros(1), 1, 0.0), "between 0 and 1"), ((np.zeros(2), 1, 0.5), "2 candidates of 1")):
        with pytest.raises(ValueError, match=reason):
            posterior(*given)
