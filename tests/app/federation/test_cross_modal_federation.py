"""A federation of the cross-modal task: a site with both modalities and one with visible images alone."""

import csv

import numpy as np
import pytest
from conftest import LocalFederation
from PIL import Image

from app.core.arrays import float_arrays
from app.experiment.compare import compare_models, read_nodes
from app.tasks import make_task

pytestmark = pytest.mark.slow

WORDS = (
    "experiment=roadscene data=manifest data.partition.by=site data.val_split=test model.backbone=test_resnet "
    "model.pretrained=false model.height=32 model.width=32 model.embedding_dim=8 loss.perceptual_longest=8 device=cpu "
    "train.precision=float32 train.threads=1 train.pids_per_batch=3 train.images_per_pid=1 train.epochs=2 "
    "federation.num_clients=2 federation.rounds=2 federation.start_timeout=0.1 federation.deadline=180 "
    "evaluation.ranked_lists=2 evaluation.compare=[] federation.measure_every=1 loss.perceptual_edge_weight=1"
)


@pytest.fixture(scope="module")
def night_root(tmp_path_factory):
    """Three vehicles at each site; site b has no infrared camera. The test vehicles are a's."""
    root, rng, rows = tmp_path_factory.mktemp("night"), np.random.default_rng(0), []
    for pid, (site, split) in enumerate([*[("a", "train")] * 3, *[("b", "train")] * 3, *[("a", "test")] * 4]):
        colour = rng.integers(40, 216, 3)
        for camid, modality in enumerate(("visible", "infrared")):
            if site == "b" and modality == "infrared":
                continue
            for number in range(2):
                pixels = (colour + rng.integers(-12, 13, (32, 32, 3))).clip(0, 255).astype(np.uint8)
                image = Image.fromarray(pixels)
                name = f"{pid}-{camid}-{number}.png"
                (image if modality == "visible" else image.convert("L")).save(root / name)
                role = split if split == "train" else f"test_{'query' if number else 'gallery'}"
                rows.append([name, pid, camid, role, site, modality])
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "pid", "camid", "split", "site", "modality"], *rows])
    return root


@pytest.mark.parametrize("privacy", ["plain", "kahe"])
def test_a_site_without_infrared_takes_part(tmp_path, night_root, privacy):
    words = f"{WORDS} data.root={night_root} privacy={privacy}"
    federation = LocalFederation(tmp_path / "run", words).run()
    lines = federation.folder.read_metrics()
    assert [line["server_round"] for line in lines] == [1, 2, 3]  # the last measures the final model
    assert lines[0]["measures"]["loss_perceptual_edge"] > 0
    held = read_nodes(federation.settings, federation.folder)
    first, second = held["global"].values()
    for name in first:
        if "classifier" not in name:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    models = compare_models(federation.settings, federation.folder)
    assert set(models["global"]["directions"]) == {"infrared_to_visible", "visible_to_infrared"}
    for way in models["global"]["directions"]:
        assert (federation.folder.path / f"ranked-query_to_gallery-{way}.png").is_file()


def test_an_absent_modality_leaves_its_stem(tmp_path, night_root):
    """The infrared stem of the first global model is the start plus a's update times a's share of the images."""
    words = f"{WORDS} data.root={night_root} privacy=plain federation.rounds=1"
    federation = LocalFederation(tmp_path / "run", words).run()
    held = read_nodes(federation.settings, federation.folder)
    start = float_arrays(make_task(federation.settings).build(2, federation.settings.seed))
    (after, _), (at_a, at_b) = held["global"].values(), held["local"].values()
    stem = next(name for name in start if name.startswith("infrared_stem.") and start[name].ndim == 4)
    np.testing.assert_array_equal(at_b[stem], start[stem])
    share = 12 / (12 + 6)
    moved = share * (at_a[stem].astype(float) - start[stem])
    assert np.abs(moved).max() > 1e-5
    np.testing.assert_allclose(after[stem] - start[stem], moved, atol=1e-6)  # float32


def test_private_stems_stay_at_home(tmp_path, night_root):
    words = f"{WORDS} data.root={night_root} privacy=plain federation.private=['*classifier*','*_stem.*']"
    federation = LocalFederation(tmp_path / "run", words).run()
    first, second = read_nodes(federation.settings, federation.folder)["global"].values()
    assert any((first[name] != second[name]).any() for name in first if name.startswith("visible_stem."))
    assert all((first[name] == second[name]).all() for name in first if name.startswith("trunk."))
    models = compare_models(federation.settings, federation.folder)
    assert set(models["global"]["clients"]) == {"client-0", "client-1"}  # one model each: more than heads stays at home


def test_patches_beside_the_vehicles_are_identities_of_the_client_that_has_the_photographs(tmp_path):
    """Two photographs with two vehicles each, and three patches in each for a client with a vehicle there."""
    rng, rows = np.random.default_rng(0), ["file\tx\ty\tw\th\tvehicle_id\tclass\tsequence"]
    for place in range(4):
        for folder in ("crop_LR_visible", "cropinfrared"):
            path = tmp_path / "set" / folder / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (120, 200, 3), dtype=np.uint8)).save(path)
        rows += [f"{place}.png\t{x}\t10\t30\t20\tv{place}-{x}\tcar\ts{place}" for x in (5, 150)]
    (tmp_path / "set" / "vehicles.tsv").write_text("\n".join(rows) + "\n")
    words = (
        f"{WORDS} data=roadscene data.partition.by=identity data.root={tmp_path / 'set'} data.val_split= privacy=plain "
        "federation.rounds=1 data.folds=2 data.eval_split=fold"
    )
    sizes = {}
    for number in (0, 3):
        federation = LocalFederation(tmp_path / f"run{number}", f"{words} data.background={number}").run()
        held = federation.held("private")
        sizes[number] = [len(held[client]["array/classifier.weight"]) for client in sorted(held)]
    assert sizes[0] == [2, 2]
    assert all(2 + 3 <= rows <= 2 + 2 * 3 for rows in sizes[3])
