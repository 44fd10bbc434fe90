"""Circle loss and AdaSP against NumPy loops; their gradients with the factors that have none held fixed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import losses as library

from models.losses import AdaptiveSparsePairwiseLoss, CircleLoss

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=9)


def batch(labels, seed, dimension=4):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(len(labels), dimension, generator=generator, dtype=torch.float64)
    return embeddings + 0.7, torch.tensor(labels)  # cosines above 0 and below


def cosine(x, y):
    return float(np.dot(x, y) / (np.linalg.norm(x) * np.linalg.norm(y)))


def circle_weights(points, labels, margin):
    """(anchor, other) -> the weight of the pair."""
    weights = {}
    for a in range(len(points)):
        for o in range(len(points)):
            s = cosine(points[a], points[o])
            weights[a, o] = max(0.0, 1 + margin - s) if labels[a] == labels[o] else max(0.0, s + margin)
    return weights


def slow_circle(points, labels, margin, scale, weights):
    found = []
    for a, anchor in enumerate(points):
        far = near = 0.0
        for o, other in enumerate(points):
            s = cosine(anchor, other)
            if labels[a] != labels[o]:
                near += math.exp(scale * weights[a, o] * (s - margin))
            elif a != o:
                far += math.exp(-scale * weights[a, o] * (s - (1 - margin)))
        if far and near:
            found.append(math.log1p(far * near))
    return sum(found) / len(found) if found else 0.0


def adasp_parts(points, labels, vehicle, t):
    """Hardest positive, least hard of the hardest positives, and hardest negative of a vehicle; None for no such."""
    own = [i for i, label in enumerate(labels) if label == vehicle]
    others = [i for i, label in enumerate(labels) if label != vehicle]
    if len(own) < 2 or not others:
        return None
    sums = [sum(math.exp(-cosine(points[a], points[p]) / t) for p in own if p != a) for a in own]
    hardest = -t * math.log(sum(sums))
    least_hard = t * math.log(sum(1 / each for each in sums))
    negative = t * math.log(sum(math.exp(cosine(points[a], points[n]) / t) for a in own for n in others))
    return hardest, least_hard, negative


def adasp_weights(points, labels, t):
    weights = {}
    for vehicle in set(labels):
        if (parts := adasp_parts(points, labels, vehicle, t)) is not None:
            hardest, least_hard, _ = parts
            weights[vehicle] = 2 * hardest * least_hard / (hardest + least_hard) if hardest > 0 else 0.0
    return weights


def slow_adasp(points, labels, t, weights):
    found = []
    for vehicle, weight in weights.items():
        hardest, least_hard, negative = adasp_parts(points, labels, vehicle, t)
        found.append(math.log1p(math.exp((negative - weight * hardest - (1 - weight) * least_hard) / t)))
    return sum(found) / len(found) if found else 0.0


@given(labels=LABELS, seed=st.integers(0, 999), options=st.sampled_from([(0.25, 12.0), (0.0, 5.0), (0.4, 30.0)]))
@settings(max_examples=40, deadline=None)
def test_circle_equals_plain_loops(labels, seed, options):
    embeddings, tensor = batch(labels, seed)
    points = embeddings.numpy()
    expected = slow_circle(points, labels, *options, circle_weights(points, labels, options[0]))
    assert CircleLoss(*options)(embeddings, tensor).item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_circle_equals_the_library(seed):
    """Over the anchors that have a positive, as all here have."""
    embeddings, labels = batch([0, 0, 1, 1, 2, 2, 2], seed)
    theirs = library.CircleLoss(m=0.25, gamma=20.0)
    assert CircleLoss(0.25, 20.0)(embeddings, labels).item() == pytest.approx(theirs(embeddings, labels).item())


@given(labels=LABELS, seed=st.integers(0, 999), t=st.sampled_from([0.04, 0.2, 1.0]))
@settings(max_examples=60, deadline=None)
def test_adasp_equals_plain_loops(labels, seed, t):
    embeddings, tensor = batch(labels, seed)
    points = embeddings.numpy()
    expected = slow_adasp(points, labels, t, adasp_weights(points, labels, t))
    assert AdaptiveSparsePairwiseLoss(t)(embeddings, tensor).item() == pytest.approx(expected)


def test_the_easier_pair_counts_for_a_vehicle_whose_images_differ():
    """Images at 0, 10 and 180 degrees: the hardest pair has the cosine -1, so that the least hard of the images'
    hardest pairs counts alone, that from 10 to 180 degrees."""
    angles = np.radians([0, 10, 180, 90])
    embeddings = torch.tensor(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    labels = [0, 0, 0, 1]
    weights = adasp_weights(embeddings.numpy(), labels, 0.04)
    assert weights == {0: 0.0}
    expected = slow_adasp(embeddings.numpy(), labels, 0.04, weights)
    assert AdaptiveSparsePairwiseLoss()(embeddings, torch.tensor(labels)).item() == pytest.approx(expected)


def central_differences(function, points, step=1e-5):
    gradient = np.zeros_like(points)
    for index in np.ndindex(points.shape):
        ahead, behind = points.copy(), points.copy()
        ahead[index] += step
        behind[index] -= step
        gradient[index] = (function(ahead) - function(behind)) / (2 * step)
    return gradient


@pytest.mark.parametrize("seed", range(3))
def test_gradients_hold_the_weights_fixed(seed):
    embeddings, tensor = batch([0, 0, 0, 1, 1, 2, 3], seed)
    points, labels = embeddings.numpy().copy(), tensor.tolist()
    pair_weights, weights = circle_weights(points, labels, 0.25), adasp_weights(points, labels, 0.2)
    for loss, slow in (
        (CircleLoss(0.25, 10.0), lambda x: slow_circle(x, labels, 0.25, 10.0, pair_weights)),
        (AdaptiveSparsePairwiseLoss(0.2), lambda x: slow_adasp(x, labels, 0.2, weights)),
    ):
        given_points = torch.tensor(points, requires_grad=True)
        loss(given_points, tensor).backward()
        np.testing.assert_allclose(given_points.grad.numpy(), central_differences(slow, points), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", [CircleLoss(), AdaptiveSparsePairwiseLoss()])
def test_the_sharpest_pairs_stay_finite_in_float32(loss):
    """exp(128 * 1.25 * 0.75) and exp(1 / 0.04) are far above float32."""
    embeddings = torch.tensor([[1.0, 0], [-1, 0], [1, 1e-3], [-1, 1e-3]], requires_grad=True)
    value = loss(embeddings, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value.isfinite()
    assert embeddings.grad.isfinite().all()
    assert (embeddings.grad != 0).any()
