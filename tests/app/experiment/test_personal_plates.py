"""Personal readers of plates."""

import csv

import numpy as np
import pytest
from PIL import Image

from app.core.arrays import float_arrays
from app.data.dataset import open_source
from app.data.plate_batches import PlateBatches
from app.experiment.held_out import hold_out
from app.experiment.held_out_scores import Judge, mean_score
from app.experiment.personalise import personalise
from app.settings.load import load_settings
from app.tasks import make_task

READER = (
    "model.start= "
    "experiment=plates_countries data=manifest model.backbone=test_resnet model.height=32 model.width=64 model.dim=16 "
    "model.layers=1 device=cpu train.precision=float32 train.threads=1 train.batch_size=4 data.partition.by=none "
    "data.made_plates.share=0.5 data.made_plates.kinds=[us] personalise=on personalise.least=2 "
    "personalise.tuning_epochs=1 'personalise.rates=[1]' personalise.holdout=0.3 personalise.alone=false"
)


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """Settings and images of eight plates, two images each; what they show is noise, as nothing has to be learnt."""
    root, rng, rows = tmp_path_factory.mktemp("plates"), np.random.default_rng(0), []
    for index in range(16):
        Image.fromarray(rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)).save(root / f"{index}.png")
        rows.append([f"{index}.png", index // 2, "train", f"{index}.png", f"AB{index // 2:02d}"])
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "pid", "split", "plate_path", "plate_text"], *rows])
    settings = load_settings(f"{READER} data.root={root}")
    source = open_source(settings.data, settings.seed)
    return settings, hold_out(settings, source, source.train(), [], "client-0")


def test_a_plate_is_scored_by_its_own_images(plates):
    settings, held_out = plates
    task = make_task(settings)
    network = task.build(1, settings.seed)
    scores = Judge(task, held_out.directions, settings).scores(network)
    assert len(scores) == 2
    assert all(count == 2 for _, count in scores.values())
    whole = task.evaluate(network, held_out.directions, task.compute.device).measures
    assert mean_score(scores) == pytest.approx(whole["accuracy"])


def test_a_personal_reader_learns_from_its_own_plates_alone(plates, monkeypatch):
    settings, held_out = plates
    seen, made = [], PlateBatches.__getitem__

    def look(batches, index):
        batch = made(batches, index)
        seen.append(batches.made)
        return batch

    monkeypatch.setattr(PlateBatches, "__getitem__", look)
    task = make_task(settings)
    arrays = float_arrays(task.build(1, settings.seed))
    report = personalise(task, settings, held_out, {"global": arrays}, "client-0").report
    assert [row["candidate"] for row in report["candidates"]][-1] == "tuned at 1, 1 of the way"
    assert len(seen) > 2
    assert set(seen) == {0}
