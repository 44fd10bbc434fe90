"""Clients that train on equalised images: alone, in one process, at a node, in a federation."""

import json
import shutil

import numpy as np
import pytest
from conftest import NETWORK, TRAINING
from equalise_set import ALL, images_of
from safetensors.numpy import save_file

from app import client_app
from app.core.node_store import NodeStore
from app.experiment.baselines import Job, run_job
from app.federation.batches import ClientBatches
from app.federation.build import make_rules
from app.settings.load import SettingsError, load_settings
from app.tasks import make_task

pytestmark = pytest.mark.slow


def test_training_and_its_summary_use_what_was_made(equalise_settings, tmp_path):
    settings = equalise_settings(
        "data.equalise.target=4 data.equalise.base=-1 data.equalise.own_epochs=0.1", ALL, "train.epochs=1"
    )
    row = run_job(Job("central", None, settings, tmp_path))
    assert row["training"]["equalised"]["kept"] == 5
    plain = run_job(Job("central", None, equalise_settings("train.epochs=1"), tmp_path))
    assert "equalised" not in plain["training"]
    assert plain["training"]["pictures"] == row["training"]["pictures"]  # an epoch is as long


def test_what_cannot_be_equalised_is_said_at_the_start(equalise_settings, tmp_path):
    with pytest.raises(SettingsError, match="the task plate_text has no embeddings"):
        load_settings("experiment=plates_made data.equalise.target=3")
    with pytest.raises(SettingsError, match=r"from_round=9 is after the last round"):
        equalise_settings("data.equalise.target=3 data.equalise.from_round=9 federation.rounds=8")
    assert equalise_settings("data.equalise=median").data.equalise.target == "median"
    short = equalise_settings("data.equalise.quantile=0.5 data.equalise=7").data.equalise
    assert (short.target, short.quantile) == (7, 0.5)
    for model in ("none.safetensors", "other.safetensors"):
        save_file({"other": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
        settings = equalise_settings("data.equalise.target=3", f"data.equalise.model={tmp_path / model}")
        task = make_task(settings)
        with pytest.raises(SettingsError, match=r"data\.equalise\.model"):
            ClientBatches(settings, task, "a", images_of(settings), NodeStore(tmp_path / "s"), task.build(4, 0))


def test_a_client_takes_the_model_of_now_where_nothing_is_left_of_the_noted_one(equalise_settings, tmp_path):
    settings = equalise_settings("data.equalise.target=4 data.equalise.base=-1 data.equalise.model=global", ALL)
    samples, store, task = images_of(settings), NodeStore(tmp_path / "store"), make_task(settings)
    networks = [task.build(4, seed) for seed in (0, 1)]

    def folder_in(server_round, network):
        batches = ClientBatches(settings, task, "a", samples, store, network)  # a new process
        batches.of_round(server_round, network)
        return batches.equalised.folder

    first = folder_in(3, networks[0])
    assert folder_in(4, networks[1]) == first  # finds the record
    assert folder_in(3, networks[1]) != first  # after a rollback
    second = folder_in(4, networks[0])
    assert second == folder_in(3, networks[1])
    shutil.rmtree(tmp_path / "kept")
    assert folder_in(5, networks[0]) == first  # under the key of its own network


def test_a_stream_is_that_of_its_round(equalise_settings, tmp_path):
    settings = equalise_settings(
        "data.equalise.target=4 data.equalise.base=-1 data.equalise.model=global data.equalise.from_round=2", ALL
    )
    task = make_task(settings)
    network = task.build(4, 0)
    batches = ClientBatches(settings, task, "a", images_of(settings), NodeStore(tmp_path / "store"), network)
    plain, equal = (batches.of_round(number, network) for number in (1, 2))
    assert len(plain.samples) == 11
    assert len(equal.samples) == 16
    assert batches.of_round(1, network) is plain


def test_a_real_node_keeps_what_it_makes_below_its_own_folder(equalise_folder, tmp_path):
    """Whatever the server's settings say."""
    node = {
        "client": "garage",
        "data": "manifest",
        "data-root": str(equalise_folder),
        "state-dir": str(tmp_path / "state"),
    }
    words = f"{NETWORK} {TRAINING} privacy=plain data.equalise.folder={tmp_path / 'public'}"
    client_app._make_client.cache_clear()
    client = client_app._make_client(words, tuple(sorted(node.items())), "0" * 16, 1)
    assert client.settings.data.equalise.folder == str(tmp_path / "state" / "equalised")


def test_clients_of_a_federation_equalise_once(make_federation, tmp_path):
    """From round 2 on, with the global model of that round; another process of the node finds the record."""
    words = (
        f"{ALL} data.equalise.target=6 data.equalise.base=-1 data.equalise.model=global "
        f"data.equalise.from_round=2 data.equalise.folder={tmp_path / 'kept'} data.equalise.candidates=1"
    )
    federation = make_federation(changes=words)

    def forget(_, reply):
        client_app._make_client.cache_clear()  # a new process for each message
        return reply

    federation.run(forget)
    records = list((tmp_path / "kept").glob("*/record.json"))
    assert len(records) == 2  # one a client, in two equalised rounds
    # Target six of each vehicle, four given: five vehicles and three.
    assert sorted(len(json.loads(record.read_text())["kept"]) for record in records) == [6, 10]
    assert all((record.parent / "report.html").is_file() for record in records)
    assert "enhanced" not in json.dumps(federation.lines())  # how many a site makes tells how many images it has
    notes = {note.read_text().split()[0] for note in federation.folder.path.glob("nodes/**/pre_model.txt")}
    assert notes == {"2"}
    assert all(json.loads(record.read_text())["target"] == 6 for record in records)


def test_the_server_gives_the_round_that_equalises_the_whole_deadline(equalise_settings):
    def long_round(words):
        settings = equalise_settings(words)
        return make_rules(settings, task=settings.task, layout="0" * 16, run_key="0" * 16).long_round

    assert long_round("data.equalise.target=4 data.equalise.from_round=2 federation.rounds=3") == 2
    assert long_round("data.equalise.from_round=2 federation.rounds=3") == 1  # nothing is equalised
