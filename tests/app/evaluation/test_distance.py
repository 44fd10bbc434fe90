import numpy as np
import pytest

from app.evaluation.distance import cosine_distance, fused_distance, normalise

TOLERANCE = 1e-6  # float32 keeps 7 digits; the values here are near 1


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def cosine(a, b):
    return float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))


def test_cosine_equals_the_formula_for_rows_of_any_length(rng):
    q, g = rng.normal(size=(3, 5)) * [[1], [7], [0.1]], rng.normal(size=(4, 5))
    expected = [[1 - cosine(a, b) for b in g] for a in q]
    np.testing.assert_allclose(cosine_distance(q, g), expected, atol=1e-12)
    np.testing.assert_allclose(cosine_distance(q.astype(np.float32), g.astype(np.float32)), expected, atol=TOLERANCE)


def test_half_precision_is_widened_and_arguments_are_left_alone(rng):
    q = rng.normal(size=(3, 5)).astype(np.float16)
    before = q.copy()
    assert cosine_distance(q, q).dtype == np.float32
    np.testing.assert_array_equal(q, before)


def test_a_zero_row_is_at_distance_one_from_everything():
    assert cosine_distance(np.zeros((1, 2)), np.eye(2)).tolist() == [[1, 1]]
    assert cosine_distance(np.eye(2), np.zeros((1, 2))).tolist() == [[1], [1]]
    assert normalise(np.array([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0, 0], [0.6, 0.8]]


def test_shapes_that_do_not_fit_are_refused(rng):
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        cosine_distance(np.ones((2, 3)), np.ones((2, 4)))
    q = rng.normal(size=(2, 3))
    with pytest.raises(ValueError, match="plate masks"):
        fused_distance(q, q, q, q, np.array([True]), np.array([True, True]))
    with pytest.raises(ValueError, match="plate distances"):
        fused_distance(q, q, q[:1], q, np.array([True, True]), np.array([True, True]))


def test_fused_distance_equals_plain_loops_and_ignores_rows_without_a_plate(rng):
    qv, gv, qp, gp = (rng.normal(size=shape) for shape in ((4, 6), (5, 6), (4, 3), (5, 3)))
    q_has, g_has = np.array([True, False, True, False]), np.array([True, True, False, False, True])
    expected = np.zeros((4, 5))
    for i in range(4):
        for j in range(5):
            similarity = cosine(qv[i], gv[j])
            if q_has[i] and g_has[j]:
                similarity = (similarity + cosine(qp[i], gp[j])) / 2
            expected[i, j] = 1 - similarity
    qp[~q_has], gp[~g_has] = np.nan, 0
    np.testing.assert_allclose(fused_distance(qv, gv, qp, gp, q_has, g_has), expected, atol=1e-12)


def test_fused_distance_is_the_cosine_of_the_joined_embeddings_where_all_have_a_plate(rng):
    qv, gv, qp, gp = (rng.normal(size=shape) for shape in ((4, 6), (5, 6), (4, 3), (5, 3)))
    joined = [np.hstack([normalise(v), normalise(p)]) for v, p in ((qv, qp), (gv, gp))]
    fused = fused_distance(qv, gv, qp, gp, np.ones(4, bool), np.ones(5, bool))
    np.testing.assert_allclose(fused, cosine_distance(*joined), atol=1e-12)


def test_blocks_of_queries_equal_the_whole(rng):
    q, g = rng.normal(size=(7, 16)).astype(np.float32), rng.normal(size=(9, 16)).astype(np.float32)
    blocks = np.vstack([cosine_distance(q[i : i + 3], g) for i in range(0, 7, 3)])
    np.testing.assert_allclose(blocks, cosine_distance(q, g), atol=TOLERANCE)
