import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from app.evaluation.ranking import NoValidQueryError, evaluate_ranking, evaluate_rows


def slow_measures(dist, q_pids, q_camids, g_pids, g_camids, q_sequences=None, g_sequences=None, max_rank=50):
    """mAP, CMC, mINP and counts by definition: sort tuples (distance, is_match), so a tied non-match comes first."""
    precisions, penalties, first, skipped = [], [], [], 0
    q_sequences = [-1] * len(q_pids) if q_sequences is None else q_sequences
    g_sequences = [-1] * len(g_pids) if g_sequences is None else g_sequences
    for i, row in enumerate(dist):
        ranked = sorted(
            (distance, bool(pid == q_pids[i]))
            for distance, pid, camid, sequence in zip(row, g_pids, g_camids, g_sequences, strict=True)
            if not (pid == q_pids[i] and camid == q_camids[i])
            and not (pid != q_pids[i] and sequence == q_sequences[i] != -1)
        )
        hits = [match for _, match in ranked]
        if not any(hits):
            skipped += 1
            continue
        at_matches = [sum(hits[: k + 1]) / (k + 1) for k, match in enumerate(hits) if match]
        precisions.append(sum(at_matches) / len(at_matches))
        penalties.append(sum(hits) / (len(hits) - hits[::-1].index(True)))
        first.append(hits.index(True) + 1)
    cmc = [sum(rank <= k for rank in first) / len(first) for k in range(1, min(max_rank, len(g_pids)) + 1)]
    return sum(precisions) / len(precisions), cmc, sum(penalties) / len(penalties), len(first), skipped


def assert_same(result, slow):
    mean_ap, cmc, minp, valid, skipped = slow
    assert result.mAP == pytest.approx(mean_ap, abs=1e-12)
    np.testing.assert_allclose(result.cmc, cmc, atol=1e-12)
    assert result.mINP == pytest.approx(minp, abs=1e-12)
    assert (result.num_valid_queries, result.num_skipped) == (valid, skipped)


def one_query(distances, is_match, **options):
    """The result for one query of vehicle 1, camera 0, against other cameras."""
    return evaluate_ranking(
        dist=np.array([distances], float),
        q_pids=np.array([1]),
        q_camids=np.array([0]),
        g_pids=np.where(is_match, 1, 2),
        g_camids=np.ones(len(is_match), int),
        **options,
    )


@st.composite
def tasks(draw):
    """A small task with a valid query; few distinct values, so that ties, junk and skipped queries are common."""
    num_q, num_g = draw(st.integers(1, 5)), draw(st.integers(1, 9))

    def ids(size, most):
        return np.array(draw(st.lists(st.integers(0, most), min_size=size, max_size=size)))

    task = {"q_pids": ids(num_q, 2), "q_camids": ids(num_q, 2), "g_pids": ids(num_g, 2), "g_camids": ids(num_g, 2)}
    if draw(st.booleans()):
        task |= {"q_sequences": ids(num_q, 2) - 1, "g_sequences": ids(num_g, 2) - 1}
    task["q_pids"][0], task["q_camids"][0] = task["g_pids"][0], (task["g_camids"][0] + 1) % 3
    return {"dist": ids(num_q * num_g, draw(st.sampled_from([2, 1000]))).reshape(num_q, num_g) / 4, **task}


@given(tasks(), st.integers(1, 12))
def test_measures_equal_plain_loops(task, max_rank):
    result = evaluate_ranking(**task, max_rank=max_rank)
    assert_same(result, slow_measures(**task, max_rank=max_rank))
    assert (np.diff(result.cmc) >= 0).all()
    assert all(0 <= value <= 1 for value in (result.mAP, result.mINP, *result.cmc))


@given(tasks(), st.randoms(use_true_random=False))
def test_order_of_gallery_and_queries_is_irrelevant(task, random):
    g = random.sample(range(len(task["g_pids"])), len(task["g_pids"]))
    q = random.sample(range(len(task["q_pids"])), len(task["q_pids"]))
    shuffled = evaluate_ranking(
        dist=task["dist"][np.ix_(q, g)],
        **{name: ids[q if name[0] == "q" else g] for name, ids in task.items() if name != "dist"},
    )
    result = evaluate_ranking(**task)
    assert shuffled.mAP == pytest.approx(result.mAP)  # a sum in another order
    assert shuffled.mINP == pytest.approx(result.mINP)
    np.testing.assert_array_equal(shuffled.cmc, result.cmc)


@given(tasks(), st.integers(1, 6))
def test_any_block_size_gives_exactly_the_same(task, block):
    dist = task.pop("dist")
    result = evaluate_rows(dist_rows=lambda rows: dist[rows], block=block, **task)
    full = evaluate_ranking(dist=dist, **task)
    assert (result.mAP, result.mINP, result.num_skipped) == (full.mAP, full.mINP, full.num_skipped)
    np.testing.assert_array_equal(result.cmc, full.cmc)


@given(st.lists(st.booleans(), min_size=1, max_size=12).filter(any), st.randoms(use_true_random=False))
def test_average_precision_equals_scikit_learn_on_distinct_distances(is_match, random):
    distances = random.sample(range(1000), len(is_match))
    expected = average_precision_score(is_match, [-d for d in distances])
    assert one_query(distances, is_match).mAP == pytest.approx(expected)


def test_streaming_equals_the_full_evaluation():
    """Small integers make every product exact, so that BLAS cannot round blocks and the whole differently."""
    rng = np.random.default_rng(1)
    q, g = rng.integers(-3, 4, (23, 8)).astype(np.float32), rng.integers(-3, 4, (57, 8)).astype(np.float32)
    ids = {
        "q_pids": rng.integers(0, 6, 23),
        "q_camids": rng.integers(0, 3, 23),
        "g_pids": rng.integers(0, 6, 57),
        "g_camids": rng.integers(0, 3, 57),
    }

    def distance(a, b):
        return -a @ b.T

    full = evaluate_ranking(dist=distance(q, g), **ids)
    assert_same(full, slow_measures(distance(q, g), **ids))
    for block in (1, 7, 23, 100):
        result = evaluate_rows(dist_rows=lambda rows: distance(q[rows], g), block=block, **ids)
        assert (result.mAP, result.mINP) == (full.mAP, full.mINP)
        np.testing.assert_array_equal(result.cmc, full.cmc)


def test_one_match_at_rank_three():
    result = one_query([0.1, 0.2, 0.3, 0.4], [False, False, True, False])
    assert result.mAP == pytest.approx(1 / 3)
    assert result.mINP == pytest.approx(1 / 3)
    assert result.cmc.tolist() == [0, 0, 1, 1]
    assert result.summary() == {
        "mAP": result.mAP,
        "rank1": 0.0,
        "rank5": 1.0,  # the gallery has four images: the last of them
        "mINP": result.mINP,
        "queries": 1,
        "skipped": 0,
    }


def test_matches_at_ranks_one_and_four():
    """AP = (1/1 + 2/4) / 2; the hardest of two matches is at rank 4."""
    result = one_query([1, 2, 3, 4], [True, False, False, True])
    assert result.mAP == pytest.approx(0.75)
    assert result.mINP == pytest.approx(0.5)


def test_single_gallery_image():
    result = one_query([0.7], [True])
    assert (result.mAP, result.mINP, result.cmc.tolist()) == (1, 1, [1])


def test_tied_non_matches_rank_before_the_match():
    for is_match in ([True, False, False], [False, True, False], [False, False, True]):
        result = one_query([0.5, 0.5, 0.5], is_match)
        assert result.mAP == pytest.approx(1 / 3)
        assert result.cmc.tolist() == [0, 0, 1]


def test_tied_matches_take_ranks_one_after_another():
    assert one_query([0.5, 0.5, 0.9], [True, True, False]).mAP == 1
    # ranks 2 and 3 after the tied non-match: (1/2 + 2/3) / 2
    assert one_query([0.5, 0.5, 0.5], [True, True, False]).mAP == pytest.approx(7 / 12)


def test_own_camera_is_left_out_and_unmatched_queries_are_counted():
    """Query 0 finds its match first once its own camera is out; 1 has a match in its own camera only; 2 has none."""
    result = evaluate_ranking(
        dist=[[0.0, 0.2, 0.5], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3]],
        q_pids=[1, 2, 3],
        q_camids=[0, 1, 0],
        g_pids=[1, 1, 2],
        g_camids=[0, 1, 1],
    )
    assert (result.mAP, result.num_valid_queries, result.num_skipped) == (1, 1, 2)


def test_no_valid_query_is_an_error():
    with pytest.raises(NoValidQueryError, match="no query has a true match in another camera"):
        one_query([0.1, 0.2], [False, False])
    with pytest.raises(NoValidQueryError, match="no query has a true match"):
        evaluate_ranking(dist=np.zeros((0, 0)), q_pids=[], q_camids=[], g_pids=[], g_camids=[])


def test_cmc_stops_at_max_rank():
    assert len(one_query(range(60), [True] * 60).cmc) == 50
    assert one_query(range(9), [False] * 8 + [True], max_rank=3).cmc.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"dist": [[0.1, np.nan]]}, "dist holds NaN"),
        ({"dist": [[0.1, 0.2, 0.3]]}, "dist must have shape"),
        ({"dist": [0.1, 0.2]}, "dist must have shape"),
        ({"q_camids": [0, 1]}, "q_camids"),
        ({"g_camids": [0]}, "g_camids"),
        ({"g_pids": [[1, 2]]}, "g_pids"),
        ({"q_pids": [1.0]}, "q_pids must hold integers"),
        ({"max_rank": 0}, "max_rank"),
    ],
)
def test_wrong_arguments_are_named(wrong, named):
    right = {"dist": [[0.1, 0.2]], "q_pids": [1], "q_camids": [0], "g_pids": [1, 2], "g_camids": [1, 1]}
    with pytest.raises(ValueError, match=named):
        evaluate_ranking(**{**right, **wrong})
