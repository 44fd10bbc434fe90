"""Infrared look-ups: what a photograph is taken for, the network's stem for it, thresholds of their own."""

import csv
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from registers import photo

from app.core.arrays import float_arrays
from app.core.run_folder import RunFolder
from app.core.sample import Box
from app.data.readers.manifest import Manifest
from app.data.readers.reader import both_ways
from app.register.calibrate import calibrate
from app.register.errors import NotEnrolledError, RegisterError
from app.register.identification import Identification
from app.register.matcher import Outcome, Threshold
from app.register.photos import Photo, VehiclePhoto, make_vehicle_photos, parse_modality
from app.settings.load import load_settings
from app.tasks import make_task
from app.tasks.image_files import embed_samples
from app.training.checkpoint import Checkpoint, save_checkpoint

pytestmark = pytest.mark.slow

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
    identification = Identification(tmp_path / "register", f"sqlite:///{tmp_path / 'night.sqlite'}", "cpu")
    identification.active_model.change_to_run(night_folder, "global", "tester")
    yield identification
    identification.close()


def test_a_vehicle_without_colour_is_taken_for_infrared(night):
    photos = [photo(1), grey(1)]
    assert [
        night.framing.frame(vehicle_photo).modality for vehicle_photo in make_vehicle_photos(photos, [], [], [])
    ] == ["visible", "infrared"]
    for given in ("visible", "infrared"):
        vehicle_photos = make_vehicle_photos(photos, [], [], [], parse_modality(given))
        assert {night.framing.frame(vehicle_photo).modality for vehicle_photo in vehicle_photos} == {given}
    wall = grey(2).image.copy()  # a coloured sign beside the vehicle
    wall.paste((255, 0, 0), (0, 0, 20, 48))
    framed = [
        night.framing.frame(VehiclePhoto(Photo(wall, 1.0), modality=None, vehicle_box=box))
        for box in (None, Box(20, 0, 20, 48), Box(0, 0, 20, 48))
    ]
    assert [each.modality for each in framed] == ["visible", "infrared", "visible"]
    assert parse_modality("auto") is None
    with pytest.raises(RegisterError, match="auto, visible, infrared; got 'night'"):
        parse_modality("night")


def test_the_network_looks_with_the_stem_of_the_modality(night):
    """The same pixels enrolled as both: each look-up finds the view of its own modality, with similarity 1."""
    model, _ = night.active_model.current()
    night.models.set_thresholds(model.id, {"vehicle": Threshold(0.999999, 0.99, 0.0)}, "tester")
    day, dark = (
        night.enrol([VehiclePhoto(grey(3), modality=modality)], account="tester")
        for modality in ("visible", "infrared")
    )
    own = {"visible": "vehicle", "infrared": "vehicle-infrared-to-infrared"}
    other = {"visible": "vehicle-visible-to-infrared", "infrared": "vehicle-infrared-to-visible"}
    for modality, vehicle in (("visible", day), ("infrared", dark)):
        decision = night.identify([VehiclePhoto(grey(3), modality=modality)], account="guard").decision
        assert (decision.outcome, decision.vehicle, decision.decided_by) == (Outcome.match, vehicle, own[modality])
        found = {name: [c.vehicle for c in candidates] for name, candidates in decision.candidates.items()}
        assert found == {own[modality]: [vehicle], other[modality]: [dark if vehicle == day else day]}
        assert decision.candidates[other[modality]][0].similarity < 0.999


def test_each_kind_of_comparison_has_its_own_threshold(night):
    """A visible and an infrared view, asked for in both modalities, with thresholds that one kind alone reaches."""
    model, _ = night.active_model.current()
    day, dark = (
        night.enrol([VehiclePhoto(grey(seed), modality=modality)], account="tester")
        for seed, modality in ((1, "visible"), (2, "infrared"))
    )
    names = {
        ("visible", "visible"): "vehicle",
        ("visible", "infrared"): "vehicle-visible-to-infrared",
        ("infrared", "visible"): "vehicle-infrared-to-visible",
        ("infrared", "infrared"): "vehicle-infrared-to-infrared",
    }
    never, always = Threshold(1.0, 1.0), Threshold(-1.0, -1.0, 0.0)
    for (asked, held), name in names.items():
        own = dict.fromkeys(names.values(), never) | {name: always}
        night.models.set_thresholds(model.id, own, "tester")
        assert night.models.thresholds(night.active_model.current()[0]) == own
        for query in ("visible", "infrared"):
            decision = night.identify([VehiclePhoto(grey(9), modality=query)], account="guard").decision
            if query == asked:
                assert (decision.vehicle, decision.decided_by) == (day if held == "visible" else dark, name)
            else:
                assert decision.outcome is Outcome.unknown
    both = [VehiclePhoto(grey(9), modality=modality) for modality in ("visible", "infrared")]
    assert night.identify(both, account="g").decision.outcome is Outcome.unknown  # as visible ones: one is by day
    with pytest.raises(NotEnrolledError, match="vehicle-thermal"):
        night.models.set_thresholds(model.id, {"vehicle-thermal": Threshold()}, "tester")


def test_without_their_own_they_have_the_librarys(night):
    model, _ = night.active_model.current()
    night.models.set_thresholds(model.id, {"vehicle": Threshold(0.7, 0.6)}, "tester")
    model, _ = night.active_model.current()
    assert night.models.thresholds(model) == {"vehicle": Threshold(0.7, 0.6)}
    assert set(night.models.identification_thresholds(model).values()) == {Threshold(0.7, 0.6)}


def test_another_model_keeps_the_views_of_each_modality_apart(night, night_folder, tmp_path):
    """`reembed` writes what enrolment writes."""
    night.enrol([VehiclePhoto(grey(1), modality="infrared")], account="tester")
    night.enrol([VehiclePhoto(photo(2))], account="tester")
    before = night.identify([VehiclePhoto(grey(1), modality="infrared")], account="g").decision.candidates
    folder = tmp_path / "again"
    shutil.copytree(night_folder, folder)
    kept = Checkpoint.read(folder, "global")
    arrays = dict(kept.arrays)
    arrays["neck.batch_norm.running_mean"] = arrays["neck.batch_norm.running_mean"] + 1.0
    Checkpoint(arrays, kept.settings).write(folder, "global")
    night.active_model.change_to_run(folder, "global", "tester")
    after = night.identify([VehiclePhoto(grey(1), modality="infrared")], account="g").decision.candidates
    vehicles = {name: [c.vehicle for c in candidates] for name, candidates in after.items()}
    assert vehicles == {name: [c.vehicle for c in candidates] for name, candidates in before.items()}
    assert vehicles == {"vehicle-infrared-to-infrared": [1], "vehicle-infrared-to-visible": [2]}


def made_direction(folder):
    """24 queries and 24 gallery pictures of twelve vehicles, half of each in infrared."""
    rng, rows = np.random.default_rng(0), []
    for number in range(96):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        modality, split = ("visible", "infrared")[number % 2], ("test_query", "test_gallery")[number // 48]
        rows.append([path.name, number // 2 % 12, number // 24, split, modality])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "pid", "camid", "split", "modality"], *rows])
    (direction,) = Manifest(folder).evaluation("test")
    return direction


NAMES = {
    "vehicle": ("visible", "visible"),
    "vehicle-visible-to-infrared": ("visible", "infrared"),
    "vehicle-infrared-to-visible": ("infrared", "visible"),
    "vehicle-infrared-to-infrared": ("infrared", "infrared"),
}


def check_thresholds(identification, report, direction, names):
    """Each threshold lets through as many pairs of its own kind as the rate allows, counted one by one."""
    model, recogniser = identification.active_model.current()
    query, gallery = (
        embed_samples(recogniser.task, recogniser.network, samples).libraries["vehicle"]
        for samples in (list(direction.query), list(direction.gallery))
    )
    for name in names:
        asked, held = NAMES[name]
        different = [
            float(query[i] @ gallery[j])
            for i, q in enumerate(direction.query)
            for j, g in enumerate(direction.gallery)
            if (q.modality, g.modality) == (asked, held) and q.pid != g.pid
        ]
        threshold = identification.models.thresholds(model)[name].match
        assert report["libraries"][name]["pairs_different"] == len(different)
        # The pair at the threshold may fall to either side: a product of matrices rounds in another order.
        assert abs(sum(value >= threshold for value in different) - int(0.05 * len(different))) <= 1
        assert (identification.folder / "calibration" / model.digest / f"{name}.png").stat().st_size > 10_000


def test_calibration_sets_the_threshold_of_each_kind(night, tmp_path):
    direction = made_direction(tmp_path)
    report = calibrate(night, [direction], rate=0.05, unsure_rate=0.2, account="tester", about="made pictures")
    assert set(report["libraries"]) == set(NAMES)
    check_thresholds(night, report, direction, NAMES)


def test_a_set_that_asks_across_calibrates_what_it_has(night, tmp_path):
    """As the visible-infrared sets do: each direction has one kind. The others keep their thresholds, and say so."""
    direction = made_direction(tmp_path)
    ways = both_ways(direction.query, direction.gallery)
    report = calibrate(night, ways, rate=0.05, unsure_rate=0.2, account="tester", about="made pictures")
    across = ("vehicle-visible-to-infrared", "vehicle-infrared-to-visible")
    assert set(report["libraries"]) == {"vehicle", *across}
    check_thresholds(night, report, direction, across)
    assert report["libraries"]["vehicle"] == {"error": "there are no images to compare", "threshold": 0.9}


def test_a_dual_network_takes_infrared_pictures_as_any_others(identification):
    """It has one stem: the modality is noted, and changes nothing else."""
    identification.enrol([VehiclePhoto(photo(1))], account="tester")
    found = [
        identification.identify([VehiclePhoto(photo(1), modality=asked)], account="guard")
        .decision.candidates[name][0]
        .similarity
        for asked, name in (("visible", "vehicle"), ("infrared", "vehicle-infrared-to-visible"))
    ]
    assert found[0] == found[1] == pytest.approx(1, abs=1e-5)
