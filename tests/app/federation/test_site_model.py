"""Checkpoints at a site: of every cipher, optimiser and task they are what the client learnt and measured."""

import csv
import shutil

import numpy as np
import pytest
from conftest import NETWORK, LocalFederation
from federation_checks import assert_same_arrays
from PIL import Image
from site_checkpoints import made_in, state_of

from app import client_app
from app.core.arrays import float_arrays
from app.core.site_runs import chosen_run, runs_in
from app.data.dataset import open_source
from app.experiment.baselines import measure_arrays
from app.federation.site_model import model_of
from app.settings.load import settings_from
from app.training.checkpoint import Checkpoint

pytestmark = pytest.mark.slow

THREE = "privacy=kahe data.partition.by=identity federation.num_clients=3"
NIGHT = (
    "experiment=roadscene data=manifest data.val_split=val model.backbone=test_resnet model.pretrained=false "
    "model.height=32 model.width=32 model.embedding_dim=8 loss.perceptual_longest=8 train.pids_per_batch=3 "
    "train.images_per_pid=1 federation.private=['*classifier*','*_stem.*']"
)
PLATES = (
    "experiment=plates_countries model.start= data=manifest data.val_split=val model.backbone=test_resnet "
    "model.height=32 model.width=64 model.dim=16 model.layers=1 data.made_plates.share=0 "
    "train.batch_size=4 federation.private=[head.*]"
)


def without_network(words):
    return words.replace(NETWORK, "")


def write_rows(root, header, rows):
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return root


@pytest.fixture(scope="module")
def night_root(tmp_path_factory):
    """Three vehicles at each of two sites, and two to measure with, in visible light and in infrared."""
    root, rng, rows = tmp_path_factory.mktemp("night"), np.random.default_rng(0), []
    for pid, (site, split) in enumerate(
        [*[("a", "train")] * 3, *[("b", "train")] * 3, *[("a", "val")] * 2, *[("b", "val")] * 2]
    ):
        colour = rng.integers(40, 216, 3)
        for camid, modality in enumerate(("visible", "infrared")):
            for number in range(2):
                image = Image.fromarray((colour + rng.integers(-12, 13, (32, 32, 3))).clip(0, 255).astype(np.uint8))
                name = f"{pid}-{camid}-{number}.png"
                (image if modality == "visible" else image.convert("L")).save(root / name)
                role = split if split == "train" else f"val_{'query' if number else 'gallery'}"
                rows.append([name, pid, camid, role, site, modality])
    return write_rows(root, ["path", "pid", "camid", "split", "site", "modality"], rows)


@pytest.fixture(scope="module")
def plates_root(tmp_path_factory):
    """Six plates at each of two sites; what they show is noise, as nothing has to be learnt."""
    root, rng, rows = tmp_path_factory.mktemp("plates"), np.random.default_rng(0), []
    for index in range(16):
        name = f"{index}.png"
        Image.fromarray(rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)).save(root / name)
        split = "train" if index < 12 else ("val_query", "val_gallery")[index // 2 % 2]
        rows.append([name, index, "ab"[index % 2], split, name, f"AB{index:02d}"])
    return write_rows(root, ["path", "pid", "site", "split", "plate_path", "plate_text"], rows)


def site_nodes(folder, count=2):
    """Simulated nodes that keep their state as a site does."""
    return [
        {"partition-id": i, "num-partitions": count, "state-dir": str(folder / f"site-{i}" / "state" / "node")}
        for i in range(count)
    ]


def run_and_look(folder, words, count=2):
    """A run with sites' folders; the networks as the last `fit` left them, by client."""
    trained = {}

    def look(message, reply):
        if message.metadata.message_type == "train":
            client = client_app._client_of(message, run.grid.contexts[message.metadata.dst_node_id])
            trained[client.name] = float_arrays(client.network)
        return reply

    run = LocalFederation(folder / "run", words, site_nodes(folder, count))
    run.run(look)
    return run, trained


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ("", 2),
        ("privacy=kahe", 2),
        ("privacy=ckks", 2),
        (THREE, 3),
        ("federation.batch_norm=local", 2),
        ("federation.server_optimiser.name=momentum", 2),
        ("federation.server_optimiser.name=adam privacy=kahe federation.batch_norm=local", 2),
        ("train.keep_optimiser=false model.hashed=0.5", 2),
        ("federation.averaged_rounds=2 privacy=kahe loss.memory=8", 2),
    ],
)
def test_the_checkpoints_of_a_site_are_what_its_client_learnt_and_measured(tmp_path, base_overrides, changes, count):
    words = f"{base_overrides} federation.rounds=2 train.epochs=2 {changes}"
    assert_checkpoints(tmp_path, words, count, heads=lambda name: "classifier" in name)


def test_stems_that_stay_at_home_are_in_the_checkpoints(tmp_path, base_overrides, night_root):
    words = f"{without_network(base_overrides)} {NIGHT} data.root={night_root} federation.rounds=2 train.epochs=2"
    found = assert_checkpoints(tmp_path, words, 2, heads=lambda name: "classifier" in name)
    stems = [name for name in found if "_stem." in name]
    assert len(stems) > 2


def test_a_reader_of_plates_keeps_its_output_layer(tmp_path, base_overrides, plates_root):
    words = f"{without_network(base_overrides)} {PLATES} data.root={plates_root} federation.rounds=2 train.epochs=2"
    assert "head.weight" in assert_checkpoints(tmp_path, words, 2, heads=lambda _: False)


def assert_checkpoints(folder, words, count, heads):
    """The measures come from the clients' own messages, and the local arrays from the networks in their memory."""
    run, trained = run_and_look(folder, words, count)
    final = run.folder.read_metrics()[-1]["clients"]
    source = open_source(run.settings.data, run.settings.seed)
    parts = source.evaluation_parts("val", count)
    for number in range(count):
        name, state = f"client-{number}", state_of(folder, number)
        made = made_in(state)
        kept = Checkpoint.read(made, "global")
        settings = settings_from(kept.settings)
        measured = measure_arrays(settings, kept.arrays, parts[number])
        for measure in settings.measures[:2]:
            assert measured[measure] == pytest.approx(final[name][f"global_{measure}"], abs=1e-9)
        local = Checkpoint.read(made, "local")
        assert_same_arrays(local.arrays, {n: a for n, a in trained[name].items() if not heads(n)})
        assert local.settings == kept.settings
        shutil.rmtree(made)  # and the command makes the same again
        told = model_of(chosen_run(runs_in(state)))
        assert told["rounds"] == {"global": run.settings.federation.rounds, "local": run.settings.federation.rounds}
        for kind, before in (("global", kept), ("local", local)):
            again = Checkpoint.read(made, kind)
            assert_same_arrays(again.arrays, before.arrays)
            assert again.digest == before.digest
    return kept.arrays
