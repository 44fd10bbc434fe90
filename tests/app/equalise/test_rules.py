"""The rules of data equalisation against plain loops."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.sample import Sample
from app.data.sampler import BalancedBatches, EqualisedBatches, groups_of, make_order, split_groups, target_count
from app.equalise.rules import base_images, base_threshold, find_centres, left_out, suspects
from app.settings.checks import SettingsError
from app.settings.equalise import EqualiseSettings

# Sums of a few products of numbers below 1 in float64, added in another order.
CLOSE = {"abs": 1e-12}


def unit(vector):
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def mean(vectors):
    return unit([sum(column) for column in zip(*vectors, strict=True)])


def dot(first, second):
    return sum(x * y for x, y in zip(first, second, strict=True))


def random_embeddings(seed=0, pids=(4, 4, 4, 7, 7, 9), dim=5):
    rng = np.random.default_rng(seed)
    vectors = np.array([unit(row) for row in rng.normal(size=(len(pids), dim))])
    return vectors, np.unique(pids, return_inverse=True)[1], np.array(pids)


def test_centres_are_those_of_plain_loops():
    vectors, groups, pids = random_embeddings()
    found = find_centres(vectors, groups, pids)
    rows = vectors.tolist()
    for group in range(3):
        own = [row for row, g in zip(rows, groups, strict=True) if g == group]
        assert found.matrix[group].tolist() == pytest.approx(mean(own), **CLOSE)
    for i, row in enumerate(rows):
        own = [other for other, g in zip(rows, groups, strict=True) if g == groups[i]]
        assert found.own[i] == pytest.approx(dot(row, mean(own)), **CLOSE)
        rest = [other for j, other in enumerate(rows) if groups[j] == groups[i] and j != i]
        if rest:
            assert found.without[i] == pytest.approx(dot(row, mean(rest)), **CLOSE)
        else:
            assert np.isnan(found.without[i])
        others = {
            group: dot(row, mean([rows[j] for j in range(6) if groups[j] == group]))
            for group in range(3)
            if group != groups[i]
        }
        assert found.other[i] == pytest.approx(max(others.values()), **CLOSE)
        assert found.nearest[i] == max(others, key=others.get)


def test_the_other_modality_of_a_vehicle_is_no_other_vehicle():
    vectors, _, _ = random_embeddings(pids=(1, 1, 1, 1))
    found = find_centres(vectors, np.array([0, 0, 1, 1]), np.array([1, 1, 1, 1]))
    assert np.isnan(found.other).all()
    assert found.nearest.tolist() == [-1] * 4


def test_groups_are_vehicles_and_their_modalities(tmp_path):
    samples = [
        Sample(tmp_path / str(i), pid, i, modality=modality)
        for i, (pid, modality) in enumerate([(5, "infrared"), (5, "visible"), (2, "visible"), (5, "visible")])
    ]
    assert groups_of(samples).tolist() == [2, 1, 0, 1]
    assert groups_of([]).tolist() == []


def test_base_images_by_number_and_by_quantile():
    own = np.array([0.2, 0.65, 0.66, 0.9])
    assert base_images(own, base_threshold(own, EqualiseSettings())).tolist() == [False, False, True, True]
    half = base_threshold(own, EqualiseSettings(base_quantile=0.5))
    assert half == pytest.approx(statistics.median(own.tolist()))
    assert base_images(own, half).tolist() == [False, False, True, True]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_targets(counts, quantile):
    found = target_count(np.array(counts), EqualiseSettings(target="median"))
    assert found == math.floor(statistics.median(counts) + 0.5)
    found = target_count(np.array(counts), EqualiseSettings(target="quantile", quantile=quantile))
    ordered, place = sorted(counts), quantile * (len(counts) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    assert abs(found - (low + (high - low) * (place - math.floor(place)))) <= 0.5 + 1e-9
    assert target_count(np.array(counts), EqualiseSettings(target=7)) == 7
    assert target_count(np.array(counts), EqualiseSettings()) is None


def test_suspects_are_nearer_to_another_vehicle():
    """Two tight vehicles on axes of their own, and an image of the second with the label of the first."""
    first, second = [1.0, 0.05, 0.0], [0.0, 0.05, 1.0]
    vectors = np.array([unit(v) for v in [first, first, first, second, second, second, second]])
    pids = np.array([1, 1, 1, 1, 2, 2, 2])
    found = find_centres(vectors, pids - 1, pids)
    nearer, below = suspects(found, -1.0, EqualiseSettings())
    assert nearer.tolist() == [False, False, False, True, False, False, False]
    assert not below.any()
    gap = found.other[3] - found.without[3]
    for step, doubted in ((-1e-9, True), (1e-9, False)):
        assert suspects(found, -1.0, EqualiseSettings(suspect_margin=gap + step))[0][3] == doubted


def test_suspects_are_far_from_the_others_of_their_vehicle():
    """Nothing else is near; a third image of the vehicle has an angle of 80 degrees to the two others."""
    odd = [math.cos(math.radians(80)), math.sin(math.radians(80)), 0.0]
    vectors = np.array([[1.0, 0, 0], [1.0, 0, 0], odd, [0, 0, 1.0]])
    found = find_centres(vectors, np.array([0, 0, 0, 1]), np.array([1, 1, 1, 2]))
    cosine = math.cos(math.radians(80))
    for below, doubted in ((0.65 - cosine - 1e-9, True), (0.65 - cosine + 1e-9, False)):
        nearer, far = suspects(found, 0.65, EqualiseSettings(suspect_below=below))
        assert far.tolist() == [False, False, doubted, False]
        assert not nearer.any()


def test_the_only_image_of_a_vehicle_is_not_suspected():
    near, far = unit([1.0, 0.05, 0.0]), unit([0.0, 0.05, 1.0])
    vectors, pids = np.array([near, near, near, far]), np.array([1, 1, 2, 3])
    all_doubted = EqualiseSettings(suspect_margin=-2.0, suspect_below=0.0)
    found = find_centres(vectors, pids - 1, pids)
    nearer, below = suspects(found, 1.0, all_doubted)
    assert (nearer | below).tolist() == [True, True, False, False]
    alone = find_centres(vectors[:2], np.array([0, 0]), np.array([1, 1]))
    assert not suspects(alone, 0.65, all_doubted)[0].any()


def test_a_group_keeps_the_image_that_is_nearest_to_its_others():
    suspected, groups = np.array([True, True, True, False, True, True, True]), np.array([1, 1, 1, 2, 2, 3, 3])
    without = np.array([0.1, 0.3, 0.2, 0.9, 0.4, 0.25, 0.25 + 1e-12])
    assert left_out(suspected, without, groups).tolist() == [True, False, True, False, True, False, True]
    assert [places.tolist() for places in split_groups(np.array([4, 0, 4, 2]))] == [[1], [3], [0, 2]]
    assert split_groups(np.zeros(0, np.int64)) == []


def order_of(counts, at_most, enhanced=0, seed=3):
    labels = np.repeat(np.arange(len(counts)), counts)
    own = np.ones(len(labels), bool)
    labels = np.concatenate([labels, np.zeros(enhanced, np.int64)])
    own = np.concatenate([own, np.zeros(enhanced, bool)])
    sizes = {"pids_per_batch": 4, "images_per_pid": 2, "seed": seed}
    return labels, own, EqualisedBatches(labels, labels, own, at_most=at_most, **sizes), sizes


def test_every_vehicle_is_downsampled_to_the_target_in_an_epoch_and_all_images_are_used():
    counts = [17, 9, 5, 4, 3, 2, 1, 1]
    labels, _, order, _ = order_of(counts, at_most=4)
    length = order._length
    passes = [np.concatenate([order[p * length + i] for i in range(length)]) for p in range(5)]
    seen = set()
    for shown in passes:
        for vehicle, count in enumerate(counts):
            assert len(set(shown[labels[shown] == vehicle])) == min(count, 4)
        seen |= set(shown.tolist())
    assert seen == set(range(sum(counts)))  # 17 images, four an epoch: five epochs
    again = order_of(counts, at_most=4)[2]
    assert again[3 * length + 1].tolist() == order[3 * length + 1].tolist()
    assert order_of(counts, at_most=4, seed=4)[2][0].tolist() != order[0].tolist()


def test_an_epoch_is_as_long_as_the_number_of_images():
    counts = [17, 9, 5, 4, 3, 2, 1, 1]
    labels, own, order, sizes = order_of(counts, at_most=4, enhanced=40)
    assert order.batches_per_epoch == BalancedBatches(labels[own], **sizes).batches_per_epoch
    shown = np.concatenate([order[i] for i in range(400)])
    assert set(shown.tolist()) == set(range(len(labels)))  # enhanced ones too


def test_settings_choose_the_order(tmp_path):
    samples = [Sample(tmp_path / str(i), pid, i) for i, pid in enumerate([1] * 9 + [2] * 3 + [3])]
    labels = np.array([0] * 9 + [1] * 3 + [2])
    sizes = {"pids_per_batch": 2, "images_per_pid": 2, "seed": 0}
    assert isinstance(make_order(samples, labels, equalise=EqualiseSettings(), **sizes), BalancedBatches)
    order = make_order(samples, labels, equalise=EqualiseSettings(target="median"), **sizes)
    assert isinstance(order, EqualisedBatches)
    assert order._at_most == 3
    whole = make_order(samples, labels, equalise=EqualiseSettings(target="median", sample_down=False), **sizes)
    assert whole._at_most >= 9


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"target": "mean"}, "target"),
        ({"target": 0}, "target"),
        ({"interval": [0.9, 0.5]}, "interval"),
        ({"interval": [0.5]}, "interval"),
        ({"kinds": ["snow"]}, "kinds"),
        ({"kinds": []}, "kinds"),
        ({"base": 1.5}, "base"),
        ({"base_quantile": 2.0}, "base_quantile"),
        ({"candidates": 0}, "candidates"),
        ({"suspects": "drop"}, "suspects"),
        ({"from_round": 0}, "from_round"),
    ],
)
def test_wrong_settings_are_named(values, key):
    with pytest.raises(SettingsError, match=f"data.equalise.{key}"):
        EqualiseSettings(**values)
