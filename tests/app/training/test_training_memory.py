"""A memory of embeddings in training: in pieces, over rounds, and in a client's store."""

from dataclasses import replace

import numpy as np
import pytest
from federation_checks import PowerCutError, assert_same_run, kind_of, power_cut_at
from test_trainer import Setting, assert_equal

from app import client_app
from app.core.arrays import float_arrays
from app.settings.load import SettingsError, load_settings

MEMORY = "loss.memory=12 loss.memory_warm_up=0.2"


def test_a_run_in_pieces_equals_a_whole_one_and_the_memory_counts(base_overrides):
    settings = load_settings(f"{base_overrides} {MEMORY}")
    whole, pieces, without = (
        Setting(settings),
        Setting(settings),
        Setting(replace(settings, loss=replace(settings.loss, memory=0))),
    )
    whole.train(0, 6)
    state = pieces.train(0, 2).optimiser
    assert state["memory/vehicle/embeddings"].shape == (12, 16)
    pieces.task = Setting(settings).task  # another process
    pieces.train(2, 6, optimiser=state)
    assert not state
    assert_equal(whole.network, pieces.network)
    without.train(0, 6)
    ours, theirs = float_arrays(whole.network), float_arrays(without.network)
    assert any(not np.array_equal(ours[name], theirs[name]) for name in ours)


def test_a_memory_that_is_no_longer_asked_for_is_dropped(base_overrides):
    settings = load_settings(f"{base_overrides} {MEMORY}")
    state = Setting(settings).train(0, 2).optimiser
    after = Setting(replace(settings, loss=replace(settings.loss, memory=0))).train(2, 3, optimiser=state)
    assert not any(key.startswith("memory/") for key in after.optimiser)


@pytest.mark.slow
def test_a_client_keeps_its_memory_from_round_to_round_and_sends_nothing_of_it(make_federation):
    whole, seen, kept = make_federation("whole", MEMORY), [], {}

    def look(message, reply):
        if kind_of(message) == ("train", 3):  # after the end a simulation keeps no moments
            kept.update(whole.held("private"))
        seen.append(reply)
        return reply

    whole.run(look)
    plain = []
    make_federation("plain", "").run(lambda _, reply: plain.append(reply) or reply)
    for ours, theirs in zip(seen, plain, strict=True):
        assert ours.content.keys() == theirs.content.keys()
        for name, record in ours.content.items():
            assert record.keys() == theirs.content[name].keys()
    assert sorted(kept) == ["client-0", "client-1"]
    for arrays in kept.values():
        assert arrays["optimiser/memory/vehicle/embeddings"].shape == (12, 16)
    cut = make_federation("cut", MEMORY)

    def restart(message, reply):
        client_app._make_client.cache_clear()
        return power_cut_at("train", 3)(message, reply)

    with pytest.raises(PowerCutError):
        cut.run(restart)
    assert_same_run(cut.resume(), whole)


@pytest.mark.parametrize("metric", ["adasp", "quadruplet", "none"])
def test_a_loss_that_remembers_nothing_is_named(metric):
    with pytest.raises(
        SettingsError, match=rf"loss.memory=64 is for loss.metric=triplet, contrastive or circle.*{metric}"
    ):
        load_settings(f"loss.memory=64 loss.metric={metric}")


def test_a_memory_that_every_round_would_empty_is_refused():
    with pytest.raises(SettingsError, match=r"loss.memory=64 stays .* set train.keep_optimiser=true, or loss.memory=0"):
        load_settings("loss.memory=64 train.keep_optimiser=false")
