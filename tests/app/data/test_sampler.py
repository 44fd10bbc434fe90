from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data.sampler import BalancedBatches

labels_of_any_size = st.lists(st.integers(-3, 12), min_size=1, max_size=60).map(np.array)


@given(labels_of_any_size, st.integers(2, 6), st.integers(1, 5), st.integers(0, 2**40), st.integers(0, 3))
def test_an_epoch_holds_every_picture_in_whole_batches(labels, pids_per_batch, images_per_pid, seed, epoch):
    batches = BalancedBatches(labels, pids_per_batch=pids_per_batch, images_per_pid=images_per_pid, seed=seed)
    vehicles = len(set(labels.tolist()))
    first = epoch * batches.batches_per_epoch
    seen: Counter[int] = Counter()
    for number in range(first, first + batches.batches_per_epoch):
        batch = batches[number]
        width = min(pids_per_batch, vehicles)
        per_pid = max(images_per_pid, 2) if vehicles == 1 else images_per_pid
        by_vehicle = labels[batch].reshape(width, per_pid)  # vehicle after vehicle
        assert (by_vehicle == by_vehicle[:, :1]).all()
        assert len(set(by_vehicle[:, 0].tolist())) == width  # no vehicle twice
        assert 2 <= len(batch) <= pids_per_batch * images_per_pid
        seen.update(batch.tolist())
    assert set(seen) == set(range(len(labels)))
    for label in set(labels.tolist()):
        counts = [seen[place] for place in np.flatnonzero(labels == label).tolist()]
        assert max(counts) - min(counts) <= 1


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=2, max_size=60),
    st.integers(2, 6),
    st.integers(1, 4),
    st.integers(0, 2**40),
)
def test_with_kinds_a_vehicle_brings_as_many_pictures_of_each(pictures, pids_per_batch, images_per_pid, seed):
    """In each batch; and every picture is in every epoch."""
    labels, kinds = np.array(pictures).T
    batches = BalancedBatches(
        labels, pids_per_batch=pids_per_batch, images_per_pid=images_per_pid, seed=seed, kinds=kinds
    )
    own = {label: set(kinds[labels == label].tolist()) for label in labels.tolist()}
    per_kind = max(images_per_pid, 2) if len(own) == 1 else images_per_pid
    for epoch in range(2):
        seen: set[int] = set()
        for number in range(batches.batches_per_epoch):
            batch = batches[epoch * batches.batches_per_epoch + number]
            seen.update(batch.tolist())
            counts = Counter(zip(labels[batch].tolist(), kinds[batch].tolist(), strict=True))
            chosen = {label for label, _ in counts}
            assert len(chosen) == min(pids_per_batch, len(own))
            assert counts == {(label, kind): per_kind for label in chosen for kind in own[label]}
        assert seen == set(range(len(labels)))


def test_kinds_of_another_length_are_refused():
    with pytest.raises(ValueError, match="3 kinds of 4 images"):
        BalancedBatches(np.arange(4), pids_per_batch=2, images_per_pid=1, seed=0, kinds=np.arange(3))


@given(labels_of_any_size, st.integers(0, 9), st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_a_batch_depends_on_its_number_alone(labels, seed, numbers):
    def fresh():
        return BalancedBatches(labels, pids_per_batch=3, images_per_pid=2, seed=seed)

    stream = fresh()
    in_turn = [stream[number] for number in range(41)]
    jumping = fresh()
    for number in numbers:
        np.testing.assert_array_equal(jumping[number], in_turn[number])
        np.testing.assert_array_equal(fresh()[number], in_turn[number])


def test_equal_vehicles_are_seen_once_an_epoch():
    """12 vehicles of 8 pictures, 4 x 4 a batch: 96 / 16 = 6 batches without a repeat."""
    labels = np.repeat(np.arange(12), 8)
    batches = BalancedBatches(labels, pids_per_batch=4, images_per_pid=4, seed=0)
    assert batches.batches_per_epoch == 6
    epoch = np.concatenate([batches[number] for number in range(6)])
    assert sorted(epoch.tolist()) == list(range(96))


def test_repeats_fill_less_than_one_batch_where_vehicles_are_alike():
    """17 single pictures, 16 vehicles a batch: 2 batches, 32 places, so each picture is seen once or twice."""
    batches = BalancedBatches(np.arange(17), pids_per_batch=16, images_per_pid=1, seed=0)
    assert batches.batches_per_epoch == 2
    seen = Counter(np.concatenate([batches[0], batches[1]]).tolist())
    assert set(seen.values()) <= {1, 2}


def test_fewer_vehicles_than_asked_for_are_all_in_every_batch():
    labels = np.array([5, 5, 5, 5, 5, 9, 7, 7])
    batches = BalancedBatches(labels, pids_per_batch=8, images_per_pid=2, seed=1)
    assert batches.batches_per_epoch == 3  # ceil(5 / 2) groups of vehicle 5
    for number in range(6):
        assert Counter(labels[batches[number]].tolist()) == {5: 2, 9: 2, 7: 2}


def test_a_vehicle_with_most_pictures_leaves_no_batch_to_itself():
    labels = np.array([0] * 100 + list(range(1, 11)))
    batches = BalancedBatches(labels, pids_per_batch=4, images_per_pid=2, seed=0)
    assert batches.batches_per_epoch == 50
    seen = Counter(np.concatenate([labels[batches[number]] for number in range(50)]).tolist())
    assert seen[0] == 100
    assert {seen[pid] for pid in range(1, 11)} == {30}  # 50 batches x 3 vehicles x 2 pictures, shared by ten


def test_epochs_seeds_and_company_differ():
    labels = np.repeat(np.arange(20), 8)

    def epoch(seed, number):
        batches = BalancedBatches(labels, pids_per_batch=4, images_per_pid=4, seed=seed)
        return [batches[number * batches.batches_per_epoch + place] for place in range(batches.batches_per_epoch)]

    assert not np.array_equal(epoch(0, 0), epoch(0, 1))
    assert not np.array_equal(epoch(0, 0), epoch(1, 0))
    company = [frozenset(labels[batch].tolist()) for batch in epoch(0, 0)]
    assert len(set(company)) == len(company)  # the two groups of a vehicle meet different vehicles


def test_one_vehicle_with_one_picture_still_makes_a_batch_of_two():
    batches = BalancedBatches(np.array([4]), pids_per_batch=2, images_per_pid=1, seed=0)
    assert batches[0].tolist() == [0, 0]


def test_a_changed_batch_does_not_change_the_stream():
    batches = BalancedBatches(np.arange(4), pids_per_batch=2, images_per_pid=2, seed=0)
    before = batches[0].tolist()
    batches[0][:] = 99
    assert batches[0].tolist() == before


def test_faults():
    with pytest.raises(ValueError, match="labels"):
        BalancedBatches(np.array([], dtype=int), pids_per_batch=2, images_per_pid=2, seed=0)
    with pytest.raises(ValueError, match="labels"):
        BalancedBatches(np.zeros((2, 2), dtype=int), pids_per_batch=2, images_per_pid=2, seed=0)
    for wrong in ({"pids_per_batch": 1}, {"images_per_pid": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match="pids_per_batch >= 2"):
            BalancedBatches(np.arange(4), **({"pids_per_batch": 2, "images_per_pid": 2, "seed": 0} | wrong))
    with pytest.raises(IndexError, match="from 0"):
        BalancedBatches(np.arange(4), pids_per_batch=2, images_per_pid=2, seed=0)[-1]
