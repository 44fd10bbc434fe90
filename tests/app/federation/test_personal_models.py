"""Personal models of the clients of whole federations."""

import json

import numpy as np
import pytest
from conftest import LocalFederation, write_set
from federation_checks import PowerCutError, assert_same_arrays, seen_models
from site_checkpoints import made_in, state_of

from app.core.arrays import float_arrays
from app.core.global_state import MEAN
from app.core.node_store import NodeStore
from app.data.dataset import open_source
from app.experiment import personalise as choice
from app.experiment import training_alone
from app.experiment.client_table import client_figures, client_text
from app.experiment.compare import compare_models
from app.experiment.held_out import hold_out
from app.experiment.personal_store import read_personal
from app.experiment.training_alone import train_alone
from app.federation import personal
from app.federation.run_words import run_words
from app.settings.load import SettingsError, settings_from
from app.training.checkpoint import Checkpoint
from strategies import messages as m

pytestmark = pytest.mark.slow

SHORT = "federation.rounds=1 train.epochs=1"
ON = (
    f"{SHORT} personalise=on personalise.tuning_epochs=1 personalise.rates=[0.5] personalise.least=1 "
    "personalise.confidence=0.5 personalise.alone=false"
)


def personal_of(run):
    """Personal models by client."""
    return {name: read_personal(store, store.rounds("global")[-1]) for name, store in run.stores().items()}


def preferring(line):
    """Full scores for the candidates of one line, by their order; the global model comes first."""
    order = ["global", "statistics", *["local"] * 4, *["tuned"] * 4]
    calls = []

    def scores(*_):
        calls.append(1)
        return {pid: (float(order[(len(calls) - 1) % 10] == line), 1.0) for pid in range(8)}

    return scores


def test_each_client_has_a_personal_model_and_nothing_else_changes(make_federation):
    plain, run = make_federation("plain", SHORT).run(), make_federation("personal", ON).run()
    assert run.lines() == plain.lines()
    assert run.checkpoint()[0] == plain.checkpoint()[0]
    assert not any(store.rounds("personalised") for store in plain.stores().values())
    found = personal_of(run)
    assert sorted(found) == ["client-0", "client-1"]
    for arrays, report in found.values():
        assert not any("classifier" in name for name in arrays)
        assert report["held_out"] == "split val"
        assert len(report["candidates"]) == 10  # global, statistics, and two lines of four points


def test_no_part_of_a_personal_model_travels(make_federation, monkeypatch):
    monkeypatch.setattr(choice.Judge, "scores", preferring("tuned"))
    finals = []

    def look(message, reply):
        if message.metadata.message_type == "evaluate":
            finals.append(reply)
        return reply

    run = make_federation("personal", ON).run(look)
    assert all(found.report["chosen"].startswith("tuned") for found in personal_of(run).values())
    plain = []
    make_federation("plain", SHORT).run(lambda _, reply: plain.append(reply) or reply)
    assert len(finals) == 2
    for reply, without in zip(finals, plain[-2:], strict=True):
        assert reply.content.keys() == without.content.keys()
        assert reply.content[m.MEASURES].keys() == without.content[m.MEASURES].keys()


def test_a_client_killed_while_it_personalises_goes_on_at_the_next_start(make_federation, monkeypatch):
    whole = personal_of(make_federation("whole", ON).run())
    run, made = make_federation("killed", ON), []
    tune = choice.fine_tuned

    def dies(*args):
        made.append(args[-1])
        if args[-1] == "client-1" and len(made) == 2:
            raise PowerCutError
        return tune(*args)

    monkeypatch.setattr(choice, "fine_tuned", dies)
    with pytest.raises(PowerCutError):
        run.run()
    assert personal_of(run)["client-1"] is None
    run.resume()
    assert made == ["client-0", "client-1", "client-1"]  # the finished one is not made again
    for client, found in personal_of(run).items():
        assert_same_arrays(found.arrays, whole[client].arrays)
        assert found.report == whole[client].report


def test_an_error_while_personalising_costs_the_personal_model_alone(make_federation, monkeypatch, caplog):
    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(personal, "personalise", fails)
    run = make_federation("full", f"{ON} evaluation.ranked_lists=0").run()
    assert run.lines() == make_federation("plain", SHORT).run().lines()
    assert "client-0: no personal model, the global one stays: [Errno 28] No space left" in caplog.text
    models = compare_models(run.settings, run.folder)
    assert "flower.log" in models["personalised"]["clients"]["client-0"]["error"]
    assert "personalised" not in client_text(client_figures(models, "mAP"))


def test_a_site_has_a_checkpoint_of_its_personal_model(tmp_path, base_overrides, monkeypatch):
    monkeypatch.setattr(choice.Judge, "scores", preferring("local"))
    nodes = [
        {"partition-id": i, "num-partitions": 2, "state-dir": str(tmp_path / f"site-{i}" / "state" / "node")}
        for i in range(2)
    ]
    LocalFederation(tmp_path / "run", f"{base_overrides} {ON}", nodes).run()
    folder = made_in(state_of(tmp_path))
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["held_rounds"] == {"global": 1, "local": 1, "personalised": 1}
    assert summary["personalised"]["chosen"].startswith("local")
    found = Checkpoint.read(folder, "personalised")
    local = Checkpoint.read(folder, "local")
    found.network(settings_from(found.settings))
    assert found.digest not in (local.digest, Checkpoint.read(folder, "global").digest)
    assert found.settings == local.settings
    for path in folder.glob("*.safetensors"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_client_of_two_vehicles_keeps_the_global_model(tmp_path, base_overrides):
    root = write_set(tmp_path / "set", vehicles={"a": 5, "b": 2})
    words = f"{base_overrides} {ON} data.root={root} data.val_split= personalise.holdout=0.4 train.images_per_pid=1"
    run = LocalFederation(tmp_path / "run", words).run()
    first, second = personal_of(run).values()
    assert first.report["held_out"] == "2 training vehicles kept out of training"
    assert first.report["vehicles"] == 2
    assert second.report["chosen"] == "global"
    assert second.report["reason"].startswith("40% of its 2 training vehicles are too few to choose by")
    assert not any(line["left_out"] for line in run.lines())


def test_the_figures_of_a_run_stand_beside_a_second_computation(make_federation, monkeypatch):
    monkeypatch.setattr(choice.Judge, "scores", preferring("tuned"))
    run = make_federation("run", f"{ON} evaluation.compare=[stand_alone] simulation.cpus=1").run()
    models = compare_models(run.settings, run.folder)
    source = open_source(run.settings.data, run.settings.seed)
    for number, client in enumerate(("client-0", "client-1")):
        directions = source.evaluation_parts("test", 2)[number]
        assert {s.site for each in directions for s in (*each.query, *each.gallery)} == {"ab"[number]}
        for model, row in {
            f"personalised-{client}": models["personalised"]["clients"][client],
            f"local-{client}": models["local"]["clients"][client],
            f"stand_alone-{client}": models["stand_alone"]["clients"][client],
            "global": {**models["global"], "own": models["global"]["own"][client]},
        }.items():
            task, network = Checkpoint.read(run.folder.path, model).network(run.settings)
            own = task.evaluate(network, directions, task.compute.device).measures
            assert row["own"] == {"place": "ab"[number], **own}
            whole = task.evaluate(network, source.evaluation("test"), task.compute.device).measures
            assert row["mAP"] == whole["mAP"]
        assert_same_arrays(
            Checkpoint.read(run.folder.path, f"personalised-{client}").arrays, personal_of(run)[client][0]
        )
    assert (run.folder.path / "clients.png").stat().st_size > 1000
    figures = client_figures(models, "mAP")
    assert figures["clients"]["client-0"]["place"] == "a"
    assert figures["clients"]["client-1"]["chosen"].startswith("tuned")


def test_a_client_that_the_federation_does_not_help_keeps_the_model_that_it_trains_alone(make_federation, monkeypatch):
    calls = []

    def scores(*_):  # the global model, the one trained alone, 3 points between them, the statistics, 2 lines of 4
        calls.append(1)
        return {pid: (float((len(calls) - 1) % 14 == 1), 1.0) for pid in range(8)}

    monkeypatch.setattr(choice.Judge, "scores", scores)
    words = f"{ON} personalise.alone=true data.val_split= personalise.holdout=0.4"
    run = make_federation("alone", words).run()
    source = open_source(run.settings.data, run.settings.seed)
    for number, (name, (arrays, report)) in enumerate(sorted(personal_of(run).items())):
        kept = hold_out(run.settings, source, source.parts(2)[number], [], name).samples
        assert len(kept) < len(source.parts(2)[number])
        expected = float_arrays(train_alone(run.settings, kept, name)[1])
        assert (report["chosen"], report["alone"], len(report["candidates"])) == ("alone, 1 of the way", 1.0, 14)
        assert_same_arrays(arrays, {array: expected[array] for array in arrays})
    plain = make_federation("plain", f"{words} personalise.alone=false").run()
    assert run.lines() == plain.lines(), "the federation is the same"


@pytest.mark.parametrize(
    ("more", "goes_on"),
    [
        ("personalise.deadline=99", True),
        ("train.threads=2 data.workers=1 data.cache_mb=1", True),
        ("train.lr=1e-4", False),
    ],
)
def test_a_client_killed_while_it_trains_alone_goes_on_there(make_federation, monkeypatch, more, goes_on):
    words = f"{ON} personalise.alone=true"
    run, train, steps = make_federation("killed", words), training_alone.train, []

    def dies(*args, **named):
        steps.append(named["steps"])
        if named["steps"][0] == 2:
            raise PowerCutError
        return train(*args, **named)

    monkeypatch.setattr(training_alone, "train", dies)
    monkeypatch.setattr(training_alone.KeptTraining.__init__, "__defaults__", (0.0,))  # kept after each part
    with pytest.raises(PowerCutError):
        run.run()
    monkeypatch.setattr(
        training_alone, "train", lambda *args, **named: steps.append(named["steps"]) or train(*args, **named)
    )
    killed = len(steps)
    run.run(more=f"federation.resume=true {more}")
    assert steps[killed][0] == (2 if goes_on else 0)
    for name, found in personal_of(run).items():
        assert found.report["candidates"][1]["candidate"] == "alone, 1 of the way", name
    assert not any(store.rounds("alone") for store in run.stores().values())


def test_a_full_disk_takes_the_model_trained_alone_first(make_federation, monkeypatch):
    write, full = NodeStore.write, []

    def writes(store, kind, *args):
        if kind == "personalised" and store.rounds("alone"):
            full.append(store)
            raise OSError(28, "No space left on device")
        return write(store, kind, *args)

    monkeypatch.setattr(NodeStore, "write", writes)
    run = make_federation("full", f"{ON} personalise.alone=true").run()
    assert len(full) == 2
    assert all(personal_of(run).values())


def test_the_mean_of_the_last_global_models_is_a_candidate(make_federation):
    words = f"{ON} federation.rounds=4 train.epochs=4 personalise.averaged_rounds=3 'personalise.rates=[]'"
    run = make_federation("averaged", words)
    look, seen = seen_models(run)
    run.run(look)
    for client, arrays in run.held("global").items():
        expected = np.mean([seen[client, version] for version in (2, 3, 4)], axis=0)
        np.testing.assert_allclose(arrays[MEAN], expected, rtol=1e-5, atol=1e-6)
    for _, report in personal_of(run).values():
        assert [row["candidate"] for row in report["candidates"]][:3] == ["global", "statistics", "average"]
    plain = make_federation("plain", words.replace("personalise.averaged_rounds=3", "")).run()
    for client, arrays in plain.held("global").items():
        assert MEAN not in arrays
        np.testing.assert_array_equal(arrays["vector"], run.held("global")[client]["vector"])
    assert plain.lines() == run.lines(), "the model of the run stays the last one"


def test_the_mean_that_a_run_results_in_is_what_is_personalised(make_federation, monkeypatch):
    given = {}

    def look(task, settings, held_out, models, name, kept):
        given[name] = models
        return choice.personalise(task, settings, held_out, models, name, kept)

    monkeypatch.setattr(personal, "personalise", look)
    words = f"{ON} federation.rounds=3 train.epochs=3 federation.averaged_rounds=2 personalise.averaged_rounds=3"
    run = make_federation("averaged", words).run()
    for client, arrays in run.held("global").items():
        models = given[client]
        assert "average" not in models, "it is the global model"
        shared = sorted(name for name in models["global"] if "classifier" not in name)
        joined = np.concatenate([models["global"][name].ravel() for name in shared])
        np.testing.assert_array_equal(joined, arrays[MEAN])


def test_a_site_composes_no_file_that_a_run_names_in_place_of_on_or_off():
    with pytest.raises(SettingsError, match="is no plain name of a configuration"):
        run_words("personalise=../../etc/passwd")
