import math

import numpy as np
import pytest

from app.evaluation.distance import cosine_distance
from app.evaluation.ranking import evaluate_ranking
from app.evaluation.rerank import rerank


def slow_rerank(dist, num_queries, k1, k2, weight):
    """The method by sets and dictionaries over one list of all images; `dist` is (N, N) with a zero diagonal."""
    n = len(dist)
    dist = [[d / max(row) for d in row] for row in dist]

    def nearest(i, k):
        return sorted(range(n), key=lambda j: dist[i][j])[:k]

    def reciprocal(i, k):
        return {j for j in nearest(i, k + 1) if i in nearest(j, k + 1)}

    vectors = []
    for i in range(n):
        core = reciprocal(i, k1)
        members = set(core)
        for j in core:
            half = reciprocal(j, round(k1 / 2))
            if len(half & core) >= 2 / 3 * len(half):
                members |= half
        total = sum(math.exp(-dist[i][j]) for j in members)
        vectors.append([math.exp(-dist[i][j]) / total if j in members else 0.0 for j in range(n)])
    expanded = []
    for i in range(n):
        around = nearest(i, k2)
        expanded.append([sum(vectors[j][m] for j in around) / len(around) for m in range(n)])
    result = []
    for i in range(num_queries):
        row = []
        for j in range(num_queries, n):
            pairs = list(zip(expanded[i], expanded[j], strict=True))
            jaccard = 1 - sum(map(min, pairs)) / sum(map(max, pairs))
            row.append((1 - weight) * jaccard + weight * dist[i][j])
        result.append(row)
    return np.array(result)


def vehicles(seed, noise, num_pids=6, per_pid=6, dim=8):
    """Embeddings (N, D) around one centre a vehicle, and pids (N,)."""
    rng = np.random.default_rng(seed)
    pids = np.repeat(np.arange(num_pids), per_pid)
    return rng.normal(size=(num_pids, dim))[pids] + noise * rng.normal(size=(len(pids), dim)), pids


def parts(dist, num_queries):
    return {
        "q_g_dist": dist[:num_queries, num_queries:],
        "q_q_dist": dist[:num_queries, :num_queries],
        "g_g_dist": dist[num_queries:, num_queries:],
    }


@pytest.mark.parametrize(("k1", "k2"), [(6, 3), (5, 1), (1, 1), (20, 6), (60, 50)])
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_equals_plain_loops(k1, k2, weight):
    embeddings, _ = vehicles(seed=3, noise=0.8)
    dist = cosine_distance(embeddings, embeddings)
    np.fill_diagonal(dist, 0)
    result = rerank(**parts(dist, 9), k1=k1, k2=k2, original_weight=weight)
    # float32 inside: 36 terms of about 1e-7
    np.testing.assert_allclose(result, slow_rerank(dist.tolist(), 9, k1, k2, weight), atol=5e-6)


def test_weight_one_keeps_the_order():
    embeddings, _ = vehicles(seed=0, noise=0.8)
    dist = cosine_distance(embeddings, embeddings)
    result = rerank(**parts(dist, 9), original_weight=1)
    np.testing.assert_array_equal(np.argsort(result), np.argsort(dist[:9, 9:].astype(np.float32)))


def test_raises_map_of_clustered_embeddings():
    embeddings, pids = vehicles(seed=0, noise=0.9, num_pids=10, per_pid=10)
    order = np.random.default_rng(0).permutation(len(pids))
    embeddings, pids = embeddings[order], pids[order]
    dist = cosine_distance(embeddings, embeddings)
    ids = {
        "q_pids": pids[:20],
        "q_camids": np.zeros(20, int),
        "g_pids": pids[20:],
        "g_camids": np.ones(len(pids) - 20, int),
    }
    before = evaluate_ranking(dist=dist[:20, 20:], **ids).mAP
    after = evaluate_ranking(dist=rerank(**parts(dist, 20), k1=9, k2=4), **ids).mAP
    assert before < after <= 1


def test_equal_images_give_numbers():
    result = rerank(**parts(np.zeros((30, 30)), 5), k1=4, k2=2)
    assert np.isfinite(result).all()


def test_wrong_arguments_are_refused():
    dist = np.ones((6, 6))
    with pytest.raises(ValueError, match="does not fit"):
        rerank(**{**parts(dist, 2), "q_q_dist": dist})
    with pytest.raises(ValueError, match="NaN"):
        rerank(**parts(np.full((6, 6), np.nan), 2))
    for wrong in ({"k1": 0}, {"k2": 0}, {"original_weight": 1.1}):
        with pytest.raises(ValueError, match="must be at least"):
            rerank(**parts(dist, 2), **wrong)
