"""Folds of cross-validation: each vehicle tested once, by a model that saw none of its sequence."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.sample import Sample
from app.data.dataset import Source
from app.data.folds import folds_of
from app.data.readers.errors import DataSetError
from app.data.readers.reader import both_ways, each_against_all
from app.settings.checks import SettingsError
from app.settings.load import load_settings

SETTINGS = load_settings("data=manifest data.root=x").data


def sample(pid, sequence=None, camid=0, modality="visible"):
    return Sample(Path(f"{pid}-{camid}.jpg"), pid, camid, modality=modality, sequence=sequence)


class Pairs:
    """Twelve vehicles of six sequences in both modalities; its own test is of vehicles 0 to 2."""

    def __init__(self):
        kinds = enumerate(("visible", "infrared"))
        self.samples = [sample(pid, f"s{pid // 2}", camid, kind) for camid, kind in kinds for pid in range(12)]

    def train(self):
        return [each for each in self.samples if each.pid > 2]

    def evaluation(self, split):
        chosen = {"all": self.samples, "train": self.train(), "test": [s for s in self.samples if s.pid <= 2]}[split]
        return both_ways(chosen, chosen)


def source(**changes):
    return Source(Pairs(), replace(SETTINGS, **changes), seed=0)


def pids(samples):
    return {each.pid for each in samples}


SEEN = st.lists(st.tuples(st.integers(0, 30), st.none() | st.sampled_from("abcdefgh")), min_size=1, max_size=60)


@given(SEEN, st.integers(2, 5), st.randoms())
def test_every_vehicle_is_in_one_fold_with_all_of_its_sequences(rows, number, random):
    samples = [sample(pid, sequence) for pid, sequence in rows]
    try:
        folds = folds_of(samples, number)
    except DataSetError:
        return
    assert sorted(pid for fold in folds for pid in fold) == sorted(pids(samples))
    assert all(folds)
    of_fold = {pid: place for place, fold in enumerate(folds) for pid in fold}
    for sequence in {each.sequence for each in samples} - {None}:
        assert len({of_fold[each.pid] for each in samples if each.sequence == sequence}) == 1
    shuffled = list(samples)
    random.shuffle(shuffled)
    assert folds_of(shuffled, number) == folds


def test_folds_are_as_even_as_the_sequences_let_them_be():
    sizes = {"a": 5, "b": 3, "c": 2, "d": 2, "e": 1}
    rows = [(name, place) for name, size in sizes.items() for place in range(size)]
    samples = [sample(pid, name) for pid, (name, _) in enumerate(rows)]
    assert sorted(map(len, folds_of(samples, 2))) == [6, 7]
    assert sorted(map(len, folds_of([sample(pid) for pid in range(10)], 4))) == [2, 2, 3, 3]


def test_too_few_sequences_are_counted():
    with pytest.raises(DataSetError, match=r"data\.folds=3: the set has 2 sequences that can be kept apart"):
        folds_of([sample(pid, f"s{pid % 2}") for pid in range(8)], 3)
    with pytest.raises(DataSetError, match=r"data\.folds=3: the set has 2 vehicles that can be kept apart"):
        folds_of([sample(0), sample(1)], 3)


def test_each_fold_is_tested_by_models_of_the_others():
    """The whole set is divided, its own test too, and both directions are those of the fold alone."""
    tested = []
    for fold in range(3):
        part = source(folds=3, fold=fold)
        trained, directions = part.train(), part.evaluation("fold")
        assert [each.name for each in directions] == ["infrared_to_visible", "visible_to_infrared"]
        assert {s.sequence for s in trained}.isdisjoint(s.sequence for each in directions for s in each.query)
        assert len(trained) == 16
        assert pids(trained) | pids(directions[0].query) == set(range(12))
        assert pids(directions[0].gallery) == pids(directions[0].query)
        assert pids(part.union(2)) == pids(trained)
        tested += sorted(pids(directions[1].query))
    assert sorted(tested) == list(range(12))


def test_vehicles_can_be_held_out_of_a_folds_training():
    part = source(folds=3, fold=1, holdout=0.25)
    held, kept = pids(part.evaluation("holdout")[0].query), pids(part.train())
    assert len(held) == 2
    assert held.isdisjoint(kept)
    assert (held | kept).isdisjoint(pids(part.evaluation("fold")[0].query))


def test_other_splits_are_refused_with_the_remedy():
    with pytest.raises(
        DataSetError, match=r"vehicles of test are trained on; data\.eval_split=fold .*data\.folds=0 data\.fold=0"
    ):
        source(folds=3).evaluation("test")
    with pytest.raises(SettingsError, match=r"data\.eval_split=fold needs data\.folds=K"):
        source().evaluation("fold")
    assert pids(source().evaluation("test")[0].query) == {0, 1, 2}


def test_a_set_of_one_direction_is_divided_too():
    reader = Pairs()
    reader.evaluation = lambda split: [each_against_all(split, reader.samples)]
    (direction,) = Source(reader, replace(SETTINGS, folds=2, fold=0), 0).evaluation("fold")
    assert direction.query == direction.gallery
    assert len(pids(direction.query)) == 6


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("data.folds=1", "data.folds must be at least 2, or 0 for none; got 1"),
        ("data.folds=4 data.fold=4", "data.fold must be below data.folds=4; got 4"),
        ("data.fold=1", "data.fold must be 0 without data.folds; got 1"),
    ],
)
def test_numbers_that_name_no_fold(words, reason):
    with pytest.raises(SettingsError, match=reason):
        load_settings(words)
