"""A detector learns, is written, read again and measured."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.core.device import make_compute
from app.core.sample import Box, Sample
from app.detection.detector_file import build, go_on_from, read_detector, write_detector
from app.detection.labels import labelled
from app.detection.measure import marked_photograph, marked_scene, measure_detector
from app.detection.other_plates import with_other_plates
from app.detection.own import OwnDetector
from app.detection.stream import DetectionBatches
from app.detection.training import train_detector
from app.settings.detection import DetectorSettings
from app.synthetic import SceneRenderer
from models.detector import PLATE, VEHICLE, Detector
from models.errors import MissingFileError
from scripts.train_detector import main

pytestmark = pytest.mark.slow

OTHER = ({"other_plates": 0.0}, {"other_plates": 1.0})
CPU = torch.device("cpu")
TINY = DetectorSettings(backbone="test_efficientnet", size=128, channels=64, convs=1)


@pytest.fixture
def photographs(tmp_path):
    """White rectangles ("plates") on grey pictures, 200 x 100 pixels."""
    rng, samples = np.random.default_rng(0), []
    for number in range(6):
        pixels = rng.integers(40, 90, (100, 200, 3), np.uint8)
        left, top = int(rng.integers(10, 120)), int(rng.integers(10, 60))
        pixels[top : top + 24, left : left + 60] = 250
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        samples.append(Sample(tmp_path / f"{number}.png", number, 0, plate_boxes=(Box(left, top, 60, 24),)))
    return labelled(samples)


def batches(photographs, **changed):
    options = {"size": 128, "batch_size": 2, "scenes_share": 0.0, "seed": 0} | changed
    return DetectionBatches(photographs, SceneRenderer(128, 0), **options)


def test_a_batch_depends_on_its_number_alone(photographs):
    one, two = batches(photographs, scenes_share=0.5), batches(photographs, scenes_share=0.5)
    two[0]
    for a, b in zip(one[3].images, two[3].images, strict=True):
        assert torch.equal(a, b)
    assert [t["labelled"].tolist() for t in one[3].targets] == [[True, True], [False, True]]  # a scene, a photograph


def test_the_same_seed_trains_the_same_detector(photographs):
    """Bit for bit, as for every other network of the project; another seed another one."""
    found = []
    for seed in (3, 3, 4):
        detector = build(TINY, seed=seed)
        options = {"steps": 2, "lr": 1e-3, "compute": make_compute("cpu", "float32", True, 0)}
        train_detector(detector, batches(photographs, scenes_share=0.5, seed=seed), **options)
        found.append({name: value.clone() for name, value in detector.state_dict().items()})
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert any(not torch.equal(value, found[2][name]) for name, value in found[0].items())


def test_boxes_follow_their_picture_through_the_changes(photographs):
    """Inside the target's box the picture is as light as the rectangle, outside it is dark."""
    stream, checked = batches(photographs, batch_size=1), 0
    for index in range(30):
        (image,), (target,) = stream[index]
        assert image.shape == (3, 128, 128)
        if not len(target["boxes"]):
            continue
        left, top, right, bottom = (round(float(v)) for v in target["boxes"][0])
        inside = image.mean(dim=0)[top + 2 : bottom - 2, left + 2 : right - 2]
        if not inside.numel():
            continue
        mask = torch.ones(128, 128, dtype=torch.bool)
        mask[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3] = False
        assert inside.mean() > image.mean(dim=0)[mask].mean() + 0.1
        checked += 1
    assert checked > 10


def test_a_detector_learns_and_keeps_what_it_learnt(photographs, tmp_path):
    """The rectangles are found after a few steps, on average at least half of what they cover."""
    torch.manual_seed(0)
    detector = build(TINY)
    compute = make_compute("cpu", "float32", False, 0)
    train_detector(detector, batches(photographs, batch_size=4), steps=120, lr=3e-3, compute=compute)
    pictures = [partial(marked_photograph, row, 200) for row in photographs]
    row = measure_detector(detector, pictures, compute.device)
    assert set(row) == {"plate"}  # nobody marked vehicles
    assert row["plate"]["AP50"] > 0.6
    assert row["plate"]["boxes"] == 6
    write_detector(tmp_path / "d.safetensors", detector, TINY)
    again, settings = read_detector(tmp_path / "d.safetensors")
    assert settings == TINY
    image = torch.from_numpy(pictures[0]().image.transpose(2, 0, 1).copy()).float() / 255
    for name, value in detector.find([image])[0].items():
        assert torch.equal(again.find([image])[0][name], value)


def test_a_detector_of_plates_alone_is_taught_nothing_about_vehicles(photographs):
    stream = batches(photographs, scenes_share=0.5, plates_alone=True)
    targets = stream[3].targets
    assert [target["labelled"].tolist() for target in targets] == [[False, True]] * 2
    assert all((target["labels"] == PLATE).all() for target in targets)
    assert OwnDetector(build(TINY), replace(TINY, vehicle_threshold=1.0)).finds_vehicles is False
    assert OwnDetector(build(TINY), TINY).finds_vehicles is True
    found = measure_detector(build(TINY).eval(), [partial(marked_scene, SceneRenderer(128, 0), 1)], CPU, (PLATE,))
    assert "vehicle" not in found


def test_training_at_another_size_leaves_the_detectors_own(photographs, monkeypatch):
    detector, seen = build(TINY), []
    transform = detector.network.transform
    monkeypatch.setattr(
        detector, "losses", lambda images, targets: seen.append(transform.max_size) or _losses(images, targets)
    )
    _losses = Detector.losses.__get__(detector)
    options = {"lr": 1e-3, "compute": make_compute("cpu", "float32", False, 0)}
    train_detector(detector, batches(photographs, size=96), steps=1, size=96, **options)
    train_detector(detector, batches(photographs), steps=1, **options)
    assert seen == [96, 128]
    assert (transform.min_size, transform.max_size) == ((128,), 128)


def test_rendered_plates_cover_the_marked_ones_and_their_boxes_follow(photographs):
    """Nothing outside the new boxes changes, and nothing of the white rectangle is left uncovered. The photograph that
    is kept in memory stays as it was."""
    stream, shapes = batches(photographs, batch_size=1), []
    for number, photograph in enumerate(photographs):
        image, (plate,) = stream._read(number)[0], photograph.plates
        before = image.copy()
        made, (box,) = with_other_plates(image, [plate], np.random.default_rng(number))
        assert np.array_equal(image, before)
        whole = np.zeros((100, 200), bool)
        whole[int(plate.top) + 1 : int(plate.top) + 23, int(plate.left) + 1 : int(plate.left) + 59] = True
        covered = np.zeros((100, 200), bool)
        covered[int(box.top) : int(box.top + box.height), int(box.left) : int(box.left + box.width)] = True
        assert covered[whole].all()
        changed = (made != image).any(axis=2)
        assert changed[covered].mean() > 0.7
        assert not changed[~covered].any()
        shapes.append(round(box.width / box.height, 1))
    assert len(set(shapes)) > 2
    small = Box(50, 50, 12, 4)
    assert with_other_plates(image, [small], np.random.default_rng(0))[1] == [small]
    usual, none, every = (batches(photographs, **more)[0].images[0] for more in ({}, *OTHER))
    assert torch.equal(usual, none)
    assert not torch.equal(usual, every)


def test_eight_bits_keep_large_matrices_within_half_a_step_and_vectors_exactly(tmp_path):
    """A step of a row is its largest value / 127. Float16 has 11 significant bits: values of small matrices differ by
    at most 2**-11 of themselves, tiny ones by 2**-25."""
    torch.manual_seed(1)
    detector = build(TINY)
    large = [name for name, value in detector.state_dict().items() if value.numel() >= 16_384]
    assert len(large) > 4
    detector.state_dict()[large[0]][0] = 0.0  # a row without values
    for name, bits in (("whole", False), ("rounded", True)):
        write_detector(tmp_path / f"{name}.safetensors", detector, TINY, eight_bits=bits)
    again, settings = read_detector(tmp_path / "rounded.safetensors")
    assert settings == TINY
    for name, value in detector.state_dict().items():
        kept = again.state_dict()[name]
        if value.ndim < 2:
            assert torch.equal(kept, value), name
        elif name in large:
            step = value.flatten(1).abs().amax(1).view(-1, *[1] * (value.ndim - 1)) / 127
            assert ((kept - value).abs() <= 0.501 * step).all(), name
        else:
            torch.testing.assert_close(kept, value, rtol=2**-11, atol=2**-25)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "rounded")]
    assert sizes[1] < 0.45 * sizes[0]


def test_a_detector_goes_on_from_another_one_of_its_network(tmp_path):
    first, second = build(TINY, seed=1), build(TINY, seed=2)
    path = tmp_path / "first.safetensors"
    write_detector(path, first, replace(TINY, size=256, plate_threshold=0.7))
    go_on_from(second, TINY, path)
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value)
    with pytest.raises(ValueError, match="has another network: convs 1 and not 2, deepest 32 and not 16"):
        go_on_from(second, replace(TINY, convs=2, deepest=16), path)


def test_weights_that_another_detector_replaces_are_not_fetched(tmp_path, monkeypatch):
    fetched = []

    def noted(settings, *, pretrained, **more):
        fetched.append(pretrained)
        return build(settings, **more)

    monkeypatch.setattr("scripts.train_detector.build", noted)
    with pytest.raises(MissingFileError, match=r"gone\.safetensors"):
        main([str(tmp_path / "out"), "--start", str(tmp_path / "gone.safetensors"), "--size", "128", "--device", "cpu"])
    assert fetched == [False]


def test_marked_boxes_shrink_with_their_picture(photographs):
    whole, small = marked_photograph(photographs[0], 1000), marked_photograph(photographs[0], 100)
    assert whole.image.shape == (100, 200, 3)
    assert small.image.shape == (50, 100, 3)
    assert np.allclose(small.boxes[PLATE] * 2, whole.boxes[PLATE])
    assert VEHICLE not in whole.boxes


def test_files_of_another_kind_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no detector"):
        read_detector(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(ValueError, match="damaged file"):
        read_detector(tmp_path / "text.safetensors")
    write_detector(tmp_path / "other.safetensors", build(TINY), DetectorSettings(backbone="test_resnet", size=128))
    with pytest.raises(ValueError, match=r"other\.safetensors: a detector of another version"):
        read_detector(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"detector\.kind must be one of fcos, coco; got 'yolo'"):
        DetectorSettings(kind="yolo")
    with pytest.raises(ValueError, match="no photographs"):
        batches([])


def test_the_command_trains_and_measures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("scripts.train_detector._TEST_SCENES", 3)
    monkeypatch.setattr("scripts.train_detector._THRESHOLD_IMAGES", 4)
    words = [
        "--steps=2",
        "--batch-size=2",
        "--size=128",
        "--backbone=test_efficientnet",
        "--weights=none",
        "--device=cpu",
    ]
    main([str(tmp_path / "out"), *words])
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert Path(done["detector"]).is_file()
    assert set(done["measures"]["scenes"]) <= {"vehicle", "plate"}
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == done
    with pytest.raises(ValueError, match="not READER=FOLDER"):
        main([str(tmp_path / "out"), "--data", "plates_openalpr"])
