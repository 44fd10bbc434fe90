"""Infrared look-ups: what a photograph is taken for, the network's stem for it, thresholds of their own."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from registers import photo

from app.arrays import float_arrays
from app.checkpoint import save_checkpoint
from app.data.manifest import Manifest
from app.registry.calibrate import calibrate
from app.registry.desk import Desk
from app.registry.errors import NotEnrolledError, RegisterError
from app.registry.matcher import Outcome, Threshold
from app.registry.photos import Photo
from app.registry.shots import Shot, make_shots, parse_modality
from app.results import RunFolder
from app.settings import load_settings
from app.tasks import make_task

CROSS_MODAL = (
    "experiment=roadscene model.backbone=test_resnet model.pretrained=false model.height=32 model.width=32 "
    "model.embedding_dim=8 device=cpu train.precision=float32"
)


def grey(seed):
    return Photo(photo(seed).image.convert("L").convert("RGB"), 1.0)


@pytest.fixture(scope="module")
def night_folder(tmp_path_factory):
    """An untrained two-stream network whose stems differ."""
    folder, settings = RunFolder(tmp_path_factory.mktemp("night")), load_settings(CROSS_MODAL)
    task = make_task(settings)
    network = task.build(1, 0)
    torch.manual_seed(1)
    for parameter in network.infrared_stem.parameters():
        parameter.data.add_(torch.randn_like(parameter))
    save_checkpoint(folder, "global", float_arrays(network), settings, task)
    return folder.path


@pytest.fixture
def night(tmp_path, night_folder):
    desk = Desk(tmp_path / "register", f"sqlite:///{tmp_path / 'night.sqlite'}", "cpu")
    desk.use_model(night_folder, "global", "tester")
    yield desk
    desk.close()


def test_a_photograph_without_colour_is_taken_for_infrared():
    photos = [photo(1), grey(1)]
    assert [shot.modality for shot in make_shots(photos, [], [], [])] == ["visible", "infrared"]
    for given in ("visible", "infrared"):
        assert {shot.modality for shot in make_shots(photos, [], [], [], parse_modality(given))} == {given}
    assert parse_modality("auto") is None
    with pytest.raises(RegisterError, match="auto, visible, infrared; got 'night'"):
        parse_modality("night")


def test_the_network_looks_with_the_stem_of_the_modality(night):
    """The same pixels enrolled as both: each look-up finds the view of its own modality, with similarity 1."""
    model, _ = night.serving()
    night.models.set_thresholds(model.id, {"vehicle": Threshold(0.999999, 0.99, 0.0)}, "tester")
    day, dark = (
        night.enrol([Shot(grey(3), modality=modality)], account="tester") for modality in ("visible", "infrared")
    )
    for modality, vehicle in (("visible", day), ("infrared", dark)):
        decision = night.identify([Shot(grey(3), modality=modality)], account="guard").decision
        assert (decision.outcome, decision.vehicle) == (Outcome.match, vehicle)
        other = {c.vehicle: c.similarity for c in decision.candidates["vehicle"]}
        assert min(other.values()) < 0.999 < max(other.values())


def test_infrared_look_ups_have_their_own_thresholds(night):
    model, _ = night.serving()
    night.enrol([Shot(photo(1))], account="tester")
    own = {"vehicle": Threshold(1.0, 1.0), "vehicle-infrared": Threshold(-1.0, -1.0, 0.0)}
    night.models.set_thresholds(model.id, own, "tester")
    model, _ = night.serving()
    assert night.models.all_thresholds(model) == own
    shots = {name: Shot(photo(2), modality=name) for name in ("visible", "infrared")}
    outcomes = {name: night.identify([shot], account="g").decision.outcome for name, shot in shots.items()}
    assert outcomes == {"visible": Outcome.unknown, "infrared": Outcome.match}
    both = night.identify(list(shots.values()), account="g").decision
    assert both.outcome is Outcome.unknown  # the stricter ones: one of the photographs is by day
    with pytest.raises(NotEnrolledError, match="vehicle-thermal"):
        night.models.set_thresholds(model.id, {"vehicle-thermal": Threshold()}, "tester")


def test_without_their_own_they_have_those_of_visible_ones(night):
    model, _ = night.serving()
    night.models.set_thresholds(model.id, {"vehicle": Threshold(0.7, 0.6)}, "tester")
    model, _ = night.serving()
    assert night.models.thresholds(model, "infrared") == {"vehicle": Threshold(0.7, 0.6)}


def test_calibration_sets_the_thresholds_of_each_modality(night, tmp_path):
    """The least thresholds that keep the rate, from the similarities of the queries of each modality by themselves."""
    rng, rows = np.random.default_rng(0), []
    for number in range(48):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        modality, split = ("visible", "infrared")[number % 2], ("test_query", "test_gallery")[number // 24]
        rows.append([path.name, number % 12, number // 12, split, modality])
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "pid", "camid", "split", "modality"], *rows])
    (direction,) = Manifest(tmp_path).evaluation("test")
    report = calibrate(night, [direction], rate=0.05, unsure_rate=0.2, account="tester", about="made pictures")
    assert set(report["libraries"]) == {"vehicle", "vehicle-infrared"}
    model, recogniser = night.serving()
    query, gallery = (
        recogniser.task.embeddings(recogniser.network, samples, torch.device("cpu")).libraries["vehicle"]
        for samples in (list(direction.query), list(direction.gallery))
    )
    for modality, name in (("visible", "vehicle"), ("infrared", "vehicle-infrared")):
        different = [
            float(query[i] @ gallery[j])
            for i, q in enumerate(direction.query)
            for j, g in enumerate(direction.gallery)
            if q.modality == modality and q.pid != g.pid
        ]
        threshold = night.models.all_thresholds(model)[name].match
        assert report["libraries"][name]["pairs_different"] == len(different)
        assert sum(value >= threshold for value in different) == int(0.05 * len(different))
        assert (night.folder / "calibration" / model.digest / f"{name}.png").stat().st_size > 10_000


def test_a_dual_network_takes_infrared_pictures_as_any_others(desk):
    """It has one stem: the modality is noted, and changes nothing else."""
    desk.enrol([Shot(photo(1))], account="tester")
    found = [
        desk.identify([Shot(photo(1), modality=name)], account="guard").decision.candidates["vehicle"][0].similarity
        for name in ("visible", "infrared")
    ]
    assert found[0] == found[1] == pytest.approx(1, abs=1e-5)
