"""Decision of `data.equalise.target=auto` by the counts of a client's images."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from equalise_set import ALL, images_of, network_of

from app.core.node_store import NodeStore
from app.core.sample import Sample
from app.data.sampler import make_order, target_count
from app.experiment import baselines
from app.experiment.baselines import equalise_alone
from app.federation.batches import ClientBatches
from app.settings.equalise import EqualiseSettings
from app.tasks import make_task

AUTO = "data.equalise.target=auto"


@pytest.mark.parametrize(
    ("counts", "target"),
    [
        ([1] * 141 + [2] * 142, 2),  # two_cam of scripts.bench.equalise: filling gained 2.9
        ([1] * 140 + [2] * 20, 2),
        ([1, 2, 4, 8, 16, 60], None),  # its synthetic set: filling gained nothing
        ([2] * 100, None),
        ([1] * 39 + [2] * 61, None),
        ([1] * 40 + [2] * 60, 2),
        ([1] * 60 + [4] * 40, None),
    ],
)
def test_few_images_of_many_vehicles_are_filled_to_two(counts, target):
    assert target_count(np.array(counts), EqualiseSettings(target="auto")) == target


def of(settings, singles):
    """The set's images; of the first `singles` vehicles the first image alone."""
    seen = Counter()
    kept = []
    for sample in images_of(settings):
        seen[sample.pid] += 1
        if sample.pid >= singles or seen[sample.pid] == 1:
            kept.append(sample)
    return kept


def test_a_vehicle_with_more_than_two_is_not_downsampled():
    pids = [0, 1, 2, 3, 4, 4, 4, 4, 4]
    samples = [Sample(Path(f"{place}.png"), pid, 0) for place, pid in enumerate(pids)]
    sizes = {"pids_per_batch": 2, "images_per_pid": 1, "seed": 0}
    order = make_order(samples, np.array(pids), equalise=EqualiseSettings(target="auto"), **sizes)
    shown = {place for number in range(order.batches_per_epoch) for place in order[number]}
    assert shown == set(range(len(pids)))
    down = make_order(samples, np.array(pids), equalise=EqualiseSettings(target=2), **sizes)
    assert len({place for number in range(down.batches_per_epoch) for place in down[number]}) < len(pids)


def test_a_client_whose_vehicles_have_enough_trains_no_pre_model(equalise_settings, monkeypatch, caplog, tmp_path):
    settings = equalise_settings(AUTO)
    samples = of(settings, 0)
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    monkeypatch.setattr(baselines, "train_alone", lambda *_: pytest.fail("a pre-model"))
    with caplog.at_level(logging.INFO, "flwr"):
        assert equalise_alone(settings, samples, "central") is None
    assert "4 vehicles with 2.8 images each, 25 % of them with a single one: no image is added" in caplog.text
    task, network = make_task(settings), network_of(settings)
    batches = ClientBatches(settings, task, "a", samples, NodeStore(tmp_path / "s"), network)
    batches.of_round(1, network)
    assert batches.equalised is None


@pytest.mark.slow
def test_a_client_with_few_images_is_filled_to_two(equalise_settings, tmp_path):
    settings = equalise_settings(AUTO, "data.equalise.base=-1 data.equalise.model=global", ALL)
    samples, task, network = of(settings, 2), make_task(settings), network_of(settings)
    assert sorted(Counter(sample.pid for sample in samples).values()) == [1, 1, 1, 2]
    batches = ClientBatches(settings, task, "a", samples, NodeStore(tmp_path / "s"), network)
    batches.of_round(1, network)
    assert Counter(sample.pid for sample in batches.equalised.samples) == dict.fromkeys(range(4), 2)
    assert batches.equalised.record["target"] == 2


@pytest.mark.slow
def test_suspects_are_left_out_whatever_the_counts_say(equalise_settings):
    settings = equalise_settings(AUTO, "data.equalise.suspects=leave_out data.equalise.own_epochs=0.1")
    found = equalise_alone(settings, of(settings, 0), "central")
    assert found is not None
    assert found.record["kept"] == []
