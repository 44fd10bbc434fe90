"""The mean of the last global models as the result of whole federations."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import LocalFederation
from federation_checks import PowerCutError, assert_same_arrays, assert_same_run, kind_of, power_cut_at, seen_models
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from site_checkpoints import made_in, state_of

from app import client_app
from app.core.arrays import float_arrays, shared_layout
from app.core.global_state import MEAN, GlobalModel
from app.core.node_store import digest_of
from app.core.run_folder import RunFolder
from app.core.site_runs import chosen_run, runs_in
from app.data.dataset import open_source
from app.experiment.averaged import averaged_remarks
from app.experiment.baselines import measure_arrays
from app.experiment.compare import compare_models
from app.federation.global_model import GlobalModels, UnusableAggregateError
from app.federation.site_model import model_of
from app.tasks import make_task
from app.training.checkpoint import Checkpoint, without_heads
from strategies import messages as m

pytestmark = pytest.mark.slow

AVERAGED = "federation.rounds=4 federation.averaged_rounds=3"


def network_arrays(run, vector):
    """A vector of the run as arrays without heads."""
    task = make_task(run.settings)
    layout = shared_layout(task.build(1, 0, pretrained=False), run.settings.federation, task.heads)
    return without_heads(layout.unflatten(vector), task)


@pytest.fixture(scope="module")
def averaged(tmp_path_factory, base_overrides):
    return LocalFederation(tmp_path_factory.mktemp("mean") / "run", f"{base_overrides} {AVERAGED}").run()


def test_the_rounds_are_those_of_a_run_without_and_the_final_model_is_the_mean(make_federation, uninterrupted):
    run, measured_with = make_federation("mean", AVERAGED), {}
    look, seen = seen_models(run)

    def also_the_last_network(message, reply):
        if message.metadata.message_type == "evaluate":
            client = client_app._client_of(message, run.grid.contexts[message.metadata.dst_node_id])
            measured_with[client.name] = float_arrays(client.network)
        return look(message, reply)

    run.run(also_the_last_network)
    assert run.lines()[:-1] == uninterrupted.lines()[:-1]
    assert run.checkpoint()[0] == uninterrupted.checkpoint()[0]
    for client, arrays in run.held("global").items():
        np.testing.assert_array_equal(arrays["vector"], uninterrupted.held("global")[client]["vector"])
        expected = np.mean([seen[client, version].astype(np.float64) for version in (2, 3, 4)], axis=0)
        np.testing.assert_allclose(arrays[MEAN], expected, rtol=1e-6, atol=1e-6)
        assert np.abs(arrays[MEAN] - arrays["vector"]).max() > 1e-3
    assert not any(MEAN in arrays for arrays in uninterrupted.held("global").values())
    models = compare_models(run.settings, run.folder)
    arrays = Checkpoint.read(run.folder.path, "global").arrays
    first = next(iter(run.held("global").values()))
    assert_same_arrays(arrays, network_arrays(run, first[MEAN]))
    source = open_source(run.settings.data, run.settings.seed)
    measured = measure_arrays(run.settings, arrays, source.evaluation("test"))
    assert {name: models["global"][name] for name in measured} == measured
    for network in measured_with.values():
        assert_same_arrays({name: network[name] for name in arrays}, arrays)


@pytest.mark.parametrize("stop", [("train", 4), ("evaluate", None)], ids=["in the last round", "before delivery"])
def test_a_resumed_run_has_the_same_mean(make_federation, averaged, stop):
    run = make_federation("cut", AVERAGED)
    with pytest.raises(PowerCutError):
        run.run(power_cut_at(*stop))
    assert_same_run(run.resume(), averaged)


def test_a_round_that_is_rolled_back_counts_once(make_federation, averaged, monkeypatch):
    """Every client refuses the sum of round 3 the first time."""
    apply, refused = GlobalModels._apply, set()

    def fails(models, version, *args):
        if version == 3 and models.client not in refused:
            refused.add(models.client)
            raise UnusableAggregateError("the sum cannot be used")
        return apply(models, version, *args)

    monkeypatch.setattr(GlobalModels, "_apply", fails)
    run = make_federation("undone", AVERAGED).run()
    assert refused == {"client-0", "client-1"}
    for client, arrays in run.held("global").items():
        assert_same_arrays(arrays, averaged.held("global")[client])


def test_a_client_that_missed_rounds_gets_the_mean_with_the_model(make_federation):
    """It loses its folder when the mean has begun, and is given model and mean by another."""
    run = make_federation("lost", "federation.rounds=6 federation.averaged_rounds=5")

    def lose(message, reply):
        if kind_of(message) == ("train", 3) and message.metadata.dst_node_id == 1:
            shutil.rmtree(run.folder.path / "nodes" / "client-0")
            client_app._make_client.cache_clear()
        return reply

    run.run(lose)
    assert any(m.GLOBAL in message.content for message in run.grid.sent)
    first, second = run.held("global", 6).values()
    assert_same_arrays(first, second)
    assert GlobalModel.of(first).mean.since == 2


def test_a_site_has_the_mean_of_the_rounds_so_far(tmp_path, base_overrides):
    """A run that was cut off in round 4: the site's model after round 3 is the mean of two."""
    nodes = [
        {"partition-id": i, "num-partitions": 2, "state-dir": str(tmp_path / f"site-{i}" / "state" / "node")}
        for i in range(2)
    ]
    run = LocalFederation(tmp_path / "run", f"{base_overrides} {AVERAGED}", nodes)
    with pytest.raises(PowerCutError):
        run.run(power_cut_at("train", 4))
    [store] = (state_of(tmp_path) / "node").glob("*/global-000003.safetensors")
    held = GlobalModel.of(load_file(store))
    found = Checkpoint.read(made_in(state_of(tmp_path)), "global").arrays
    assert_same_arrays(found, network_arrays(run, held.mean.vector))
    assert held.mean.since == 2
    assert RunFolder(made_in(state_of(tmp_path))).read_summary()["averaged_models"] == 2

    with safe_open(store, "np") as file:
        about = file.metadata()
    spoilt = {**load_file(store), MEAN: np.full_like(held.mean.vector, np.nan)}
    save_file(spoilt, store, {**about, "digest": digest_of(spoilt)})
    told = model_of(chosen_run(runs_in(state_of(tmp_path))))
    assert told["rounds"]["global"] == 2
    assert "not finite" in told["damaged"][0]


def test_a_longer_run_begins_its_mean_anew(make_federation):
    """A run of four rounds goes on to seven: the mean of the last three holds none of the first four."""
    run = make_federation("longer", AVERAGED).run()
    look, seen = seen_models(run)
    run.run(look, "federation.resume=true federation.rounds=7")
    for client, arrays in run.held("global").items():
        expected = np.mean([seen[client, version].astype(np.float64) for version in (5, 6, 7)], axis=0)
        np.testing.assert_allclose(arrays[MEAN], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("changes", ["federation.rounds=7", "federation.averaged_rounds=2"])
def test_nodes_agree_about_a_sum_that_is_delivered_before_and_after_a_resume_with_other_settings(
    make_federation, changes
):
    """The first node has opened the last sum when the server ends; the second opens it in the resumed run, and both go
    on with one model and one mean."""
    run = make_federation("between", AVERAGED)
    with pytest.raises(PowerCutError):
        run.run(power_cut_at("evaluate"))
    assert [store.rounds("global")[-1] for store in run.stores().values()] == [4, 3]
    run.run(more=f"federation.resume=true {changes}")
    first, second = run.held("global").values()
    assert_same_arrays(first, second)


def test_a_mean_of_fewer_models_than_asked_for_is_remarked(make_federation):
    """A run of four rounds goes on by two: the mean of three began anew with the fifth model."""
    run = make_federation("shorter", AVERAGED).run()
    remark = "the mean of 3 of the last models (federation.averaged_rounds=3)"
    assert averaged_remarks(run.settings, run.folder) == {"global model": remark}
    compared = replace(run.settings, evaluation=replace(run.settings.evaluation, compare=["stand_alone", "central"]))
    also = "; stand_alone, central to compare with: the last model of each, no mean"
    assert averaged_remarks(compared, run.folder) == {"global model": remark + also}
    run.run(more="federation.resume=true federation.rounds=6")
    [remark] = averaged_remarks(run.settings, run.folder).values()
    assert remark.startswith("the mean of 2 of the last models (federation.averaged_rounds=3), as the run was extended")


def test_a_mean_that_an_older_version_kept_is_dropped_and_named(make_federation, caplog):
    run = make_federation("older", "federation.rounds=2")
    with pytest.raises(PowerCutError):
        run.run(power_cut_at("train", 2))
    for store in run.stores().values():
        store.write("average", 1, {"vector": np.zeros(3, np.float32)}, {"layout": "abc"})
    run.resume()
    assert [store.rounds("average") for store in run.stores().values()] == [[], []]
    assert "client-1: the mean of the global models after round 1 is of an older version and is dropped" in caplog.text
