"""A small set of images to equalise, settings for it and a network, for tests."""

import numpy as np
import pytest
from conftest import NETWORK, TRAINING, write_set

from app.data.dataset import open_source
from app.equalise.run import equalise
from app.settings.load import load_settings
from app.tasks import make_task
from app.tasks.image_files import embed_samples

SURE = "data.equalise.suspect_margin=2 data.equalise.suspect_below=2"  # no label is doubted
INSIDE = "data.equalise.interval=[-1,1]"  # every candidate is good enough
ALL = f"{SURE} {INSIDE}"


@pytest.fixture(scope="session")
def equalise_folder(tmp_path_factory):
    """Vehicles 0 to 3 have 4, 4, 2 and 1 images to train on."""
    folder = write_set(tmp_path_factory.mktemp("equalise") / "set", vehicles={"a": 4})
    lines = (folder / "manifest.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    out = ("train-2-2", "train-2-3", "train-3-1", "train-3-2", "train-3-3")
    (folder / "manifest.csv").write_text("".join(x for x in lines if not x.startswith(out)), encoding="utf-8")
    return folder


@pytest.fixture
def equalise_settings(equalise_folder, tmp_path):
    def settings_of(*words, folder=tmp_path / "kept"):
        return load_settings(
            f"experiment=quickstart data=manifest data.root={equalise_folder} data.partition.by=none "
            f"{NETWORK} {TRAINING} train.epochs=1 "
            f"data.equalise.folder={folder} {' '.join(words)}"
        )

    return settings_of


def images_of(settings):
    return open_source(settings.data, 0).train()


def network_of(settings):
    task = make_task(settings)
    return task.build(4, 0).eval()


def run(settings, samples=None, seed=0):
    samples = images_of(settings) if samples is None else samples
    return equalise(settings, samples, lambda: network_of(settings), model_key="fixed", seed=seed)


def embeddings(settings, samples):
    task = make_task(settings)
    network = task.build(4, 0).eval()
    found = embed_samples(task, network, samples)
    return dict(zip(found.samples, found.libraries["vehicle"].astype(np.float64), strict=True))
