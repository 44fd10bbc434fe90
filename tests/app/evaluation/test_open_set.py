"""Open-set trials and local scaling against plain loops over images and vehicles."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from app.evaluation.errors import EvaluationError
from app.evaluation.ids import NO_SEQUENCE
from app.evaluation.local_scaling import neighbours, query_density
from app.evaluation.open_set import Trials, run_trials

K = 3


def vectors(rng, count, dim=8):
    found = rng.normal(size=(count, dim)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def a_set(rng, vehicles, images, queries):
    ids = {
        "g_pids": rng.integers(vehicles, size=images),
        "g_camids": rng.integers(3, size=images),
        "g_sequences": rng.integers(NO_SEQUENCE, 4, size=images),
        "q_pids": rng.integers(vehicles + 1, size=queries),
        "q_camids": rng.integers(3, size=queries),
        "q_sequences": rng.integers(NO_SEQUENCE, 4, size=queries),
    }
    return ids, vectors(rng, queries), vectors(rng, images)


def mean_of_best(values, count=K):
    best = sorted(values, reverse=True)[:count]
    return sum(best) / len(best) if best else 0.0


def by_vehicle(similarity, pids, kept):
    """The best similarity to each vehicle among the images that are kept."""
    found = {}
    for value, pid, keep in zip(similarity, pids, kept, strict=True):
        if keep:
            found[pid] = max(value, found.get(pid, -np.inf))
    return found


def plain_scores(query, gallery, pids, kept, enrolled, scaled):
    """Scores by vehicle, from the formula in the module's docstring; `enrolled` images make the densities."""
    similarity = gallery.astype(np.float64) @ query.astype(np.float64)
    if not scaled:
        return by_vehicle(similarity, pids, kept)
    found = {}
    best = by_vehicle(similarity, pids, kept)
    for image in np.flatnonzero(kept):
        beside = by_vehicle(gallery.astype(np.float64) @ gallery[image], pids, enrolled & (pids != pids[image]))
        usual = mean_of_best([value for pid, value in best.items() if pid != pids[image]])
        score = similarity[image] - mean_of_best(beside.values()) / 2 - usual / 2
        found[pids[image]] = max(score, found.get(pids[image], -np.inf))
    return found


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("vehicles", [2, 3, 4, 12])
def test_trials_equal_plain_loops(scaled, vehicles):
    rng = np.random.default_rng(vehicles)
    ids, queries, gallery = a_set(rng, vehicles, 40, 30)
    asked = []
    for number, query in enumerate(queries):
        own = ids["g_pids"] == ids["q_pids"][number]
        same_camera = ids["g_camids"] == ids["q_camids"][number]
        sequence = ids["q_sequences"][number]
        together = ~own & (ids["g_sequences"] == sequence) & (sequence != NO_SEQUENCE)
        if not (own & ~same_camera).any():
            continue
        resident = plain_scores(
            query, gallery, ids["g_pids"], ~(own & same_camera) & ~together, np.ones(40, bool), scaled
        )
        stranger = plain_scores(query, gallery, ids["g_pids"], ~own & ~together, ~own, scaled)
        name = max(resident, key=resident.get)
        asked.append((resident[name], name == ids["q_pids"][number], max(stranger.values(), default=-np.inf)))
    trials = run_trials(lambda b: queries[b] @ gallery.T, (lambda b: gallery[b] @ gallery.T) if scaled else None, ids)
    resident, right, stranger = map(np.array, zip(*asked, strict=True))
    # float32 dot products of 8 values in [-1, 1] and means of three of them: below 1e-6 apart.
    np.testing.assert_allclose(trials.resident, resident, atol=1e-5)
    np.testing.assert_array_equal(trials.right, right)
    np.testing.assert_allclose(trials.stranger, stranger, atol=1e-5)
    assert 0 < right.mean() < 1


def test_a_query_without_a_true_match_says_nothing():
    ids = {"g_pids": np.array([1, 2]), "g_camids": np.array([0, 0]), "g_sequences": np.array([-1, -1])}
    ids |= {"q_pids": np.array([1, 3]), "q_camids": np.array([0, 1]), "q_sequences": np.array([-1, -1])}
    with pytest.raises(EvaluationError, match="no query has a true match"):
        run_trials(lambda b: np.ones((2, 2), np.float32)[b], None, ids)


def test_a_tie_with_another_vehicle_is_not_right_and_a_single_vehicle_is():
    ids = {"g_pids": np.array([1, 2]), "g_camids": np.array([0, 0]), "g_sequences": np.array([-1, -1])}
    ids |= {"q_pids": np.array([1]), "q_camids": np.array([1]), "q_sequences": np.array([-1])}
    assert not run_trials(np.full((1, 2), 0.5, np.float32).__getitem__, None, ids).right[0]
    alone = {name: values[:1] for name, values in ids.items()}
    trials = run_trials(np.full((1, 1), 0.5, np.float32).__getitem__, np.ones((1, 1), np.float32).__getitem__, alone)
    assert trials.right[0]
    assert trials.resident[0] == 0.5  # there is no other vehicle around either side
    assert trials.stranger[0] == -np.inf


def test_neighbours_and_densities_by_hand():
    similarity = np.array([[0.9, 0.5, 0.7, 0.1, 0.3], [0.2, 0.2, -np.inf, -np.inf, -np.inf]], np.float32)
    found = neighbours(similarity, np.array([0, 4]))
    np.testing.assert_allclose(found.similarity[0], [0.7, 0.5, 0.3, 0.1], atol=1e-7)
    assert found.vehicle[0].tolist() == [2, 1, 4, 3]
    np.testing.assert_allclose(found.density(), [0.5, 0.2], atol=1e-7)
    np.testing.assert_allclose(found.density(np.array([1, 0])), [(0.7 + 0.3 + 0.1) / 3, 0.2], atol=1e-7)
    np.testing.assert_allclose(found.density(0), [0.5, 0.2], atol=1e-7)
    usual = query_density(similarity[0])
    best = (0.9 + 0.7 + 0.5) / 3
    np.testing.assert_allclose(usual, [0.5, (0.9 + 0.7 + 0.3) / 3, (0.9 + 0.5 + 0.3) / 3, best, best], atol=1e-7)


def test_figures_by_hand():
    resident = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, False, True, True])
    stranger = np.array([0.75, 0.4, 0.3, 0.2, 0.1])
    trials = Trials(resident, right, stranger)
    assert trials.threshold(0.01) > 0.75  # one of five is more than 1 %
    assert trials.named_right(trials.threshold(0.01)) == 2 / 5
    assert trials.threshold(0.2) == np.nextafter(0.4, 1)
    assert trials.named_right(trials.threshold(0.2)) == 4 / 5
    assert trials.strangers_named(trials.threshold(0.2)) == 1 / 5
    # At 0.65: residents 0.9, 0.8 right, 0.7 wrong; stranger 0.75 named; two residents missed, one named wrongly.
    precision, recall = 2 / 4, 2 / 5
    assert trials.f1(0.65) == pytest.approx(2 * precision * recall / (precision + recall))
    assert trials.figures(0.65)["tnr"] == 4 / 5
    assert set(trials.figures()) == {"right_at_1", "right_at_5", "pr_auc"}


def test_strangers_of_an_empty_gallery_are_told_apart_without_a_score():
    trials = Trials(np.array([0.5, 0.4]), np.array([True, True]), np.array([-np.inf, -np.inf]))
    assert trials.figures(0.3) == {"right_at_1": 1, "right_at_5": 1, "f1": 1, "tnr": 1, "pr_auc": 1}


@pytest.mark.parametrize("ties", [False, True])
def test_refusal_ap_equals_scikit_learn(ties):
    rng = np.random.default_rng(0)
    resident, stranger = rng.normal(1, 1, 70), rng.normal(0, 1, 50)
    if ties:
        resident, stranger = resident.round(), stranger.round()
    labels = np.r_[np.zeros(70), np.ones(50)]
    wanted = average_precision_score(labels, -np.r_[resident, stranger])
    # Sums of a hundred float64 quotients in another order.
    assert Trials(resident, np.ones(70, bool), stranger).refusal_ap() == pytest.approx(wanted, abs=1e-12)
