"""Average precision against its definition in plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.detection.average_precision import iou_matrix, match_boxes, voc_average_precision


def slow_iou(a, b):
    """Counted on a grid: boxes of whole numbers cover whole cells."""
    cells_a = {(x, y) for x in range(a[0], a[2]) for y in range(a[1], a[3])}
    cells_b = {(x, y) for x in range(b[0], b[2]) for y in range(b[1], b[3])}
    return len(cells_a & cells_b) / len(cells_a | cells_b)


boxes = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(st.lists(boxes, max_size=4), st.lists(boxes, max_size=4))
def test_iou_counts_cells(first, second):
    found = iou_matrix(np.array(first, float).reshape(-1, 4), np.array(second, float).reshape(-1, 4))
    assert found.shape == (len(first), len(second))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            assert found[i, j] == pytest.approx(slow_iou(a, b))


def test_iou_of_boxes_by_hand():
    """Half covered: 50 of 150; apart; the same; without an area, also one on the other: nothing to divide by."""
    box, line = [0.0, 0, 10, 10], [3.0, 3, 3, 9]
    others = [[5.0, 0, 15, 10], [20.0, 20, 30, 30], box, line]
    assert iou_matrix(np.array([box]), np.array(others))[0].tolist() == [50 / 150, 0, 1, 0]
    assert iou_matrix(np.array([line]), np.array([line])).tolist() == [[0]]
    assert iou_matrix(np.array([box], np.float32), np.array([box])).dtype == np.float64


def slow_ap(right, total):
    """Area under the highest precision at each recall or beyond, step by step."""
    points = [(sum(right[: k + 1]) / total, sum(right[: k + 1]) / (k + 1)) for k in range(len(right))]
    area, before = 0.0, 0.0
    for recall, _ in points:
        if recall > before:
            area += (recall - before) * max(p for r, p in points if r >= recall)
            before = recall
    return area


@given(st.lists(st.booleans(), min_size=1, max_size=10), st.integers(0, 3), st.randoms(use_true_random=False))
def test_ap_is_the_area_under_the_curve(right, missed, random):
    """Each right box is a marked one, each wrong one lies elsewhere; some marked ones are not found."""
    total = sum(right) + missed
    if not total:
        return
    scores = sorted(random.sample(range(100), len(right)), reverse=True)
    found = np.array([[10.0 * k, 0 if ok else 500, 10 * k + 8, 8 if ok else 508] for k, ok in enumerate(right)])
    truth = [box for box, ok in zip(found, right, strict=True) if ok] + [
        np.array([10.0 * k, 900, 10 * k + 8, 908]) for k in range(missed)
    ]
    order = random.sample(range(len(right)), len(right))  # how boxes are ordered is irrelevant
    given_boxes = [(found[order], np.array(scores, float)[order])]
    ap, _, recall = voc_average_precision(given_boxes, [np.array(truth)])
    assert ap == pytest.approx(slow_ap(right, total))
    assert recall[-1] == pytest.approx(sum(right) / total)


def test_a_marked_box_is_found_once_and_by_the_best():
    truth = np.array([[0.0, 0, 10, 10]])
    found = np.array([[0.0, 0, 10, 9], [0.0, 0, 10, 10]])
    assert match_boxes(found, np.array([0.9, 0.8]), truth, 0.5).tolist() == [True, False]
    assert match_boxes(found, np.array([0.7, 0.8]), truth, 0.5).tolist() == [False, True]


def test_scores_are_ranked_over_all_pictures():
    """A sure mistake on one picture costs the right box on another its precision: 1/2."""
    truth = [np.zeros((0, 4)), np.array([[0.0, 0, 10, 10]])]
    found = [(np.array([[0.0, 0, 5, 5]]), np.array([0.9])), (np.array([[0.0, 0, 10, 10]]), np.array([0.8]))]
    assert voc_average_precision(found, truth)[0] == pytest.approx(0.5)


def test_nothing_marked_and_nothing_found():
    nothing = (np.zeros((0, 4)), np.zeros(0))
    with pytest.raises(ValueError, match="at least one marked box"):
        voc_average_precision([nothing], [np.zeros((0, 4))])
    assert voc_average_precision([nothing], [np.array([[0.0, 0, 1, 1]])])[0] == 0.0
