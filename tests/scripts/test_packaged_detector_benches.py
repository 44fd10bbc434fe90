"""The benches of the packaged plate detector: its file made from a detector, and its figures."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from app.core.packaged_file import mark_of
from app.core.sample import Box
from app.detection.detector_file import build, read_detector, write_detector
from app.detection.packaged_detector import FILE
from app.evaluation.plate_texts import PlateReading
from app.settings.checks import SettingsError
from app.settings.detection import DetectorSettings
from scripts.bench import package_detector, packaged_detector
from scripts.bench.errors import BenchError

OWN = DetectorSettings(backbone="test_efficientnet", size=128, convs=1, deepest=16, plate_threshold=0.2)
PLATES = (Box(10, 20, 40, 16), Box(90, 60, 36, 14))


@pytest.fixture
def words(tmp_path):
    """A detector, and twelve photographs with two plates each, of which a quarter is for the test."""
    place = tmp_path / "easypr" / "general_test"
    place.mkdir(parents=True)
    rows = ["file\tx\ty\tw\th\tcolour\ttext"]
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (90, 140, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.jpg")
        for letter, box in zip("AB", PLATES, strict=True):
            rows.append("\t".join([f"{number}.jpg", *(f"{value:g}" for value in box), "blue", f"{letter}{number}"]))
    (place / "plates.tsv").write_text("\n".join(rows) + "\n")
    write_detector(tmp_path / "detector.safetensors", build(OWN), OWN)
    return [f"detector={tmp_path}", f"out={tmp_path / 'out'}", f"plates_easypr={tmp_path / 'easypr'}"]


def test_the_file_is_made_with_the_mark_that_is_printed(words, tmp_path, capsys):
    package_detector.main([*words, "threshold=0.4"])
    told = json.loads(capsys.readouterr().out)
    path = tmp_path / "out" / FILE.name
    assert told["mark"] == mark_of(path)._asdict()
    assert told["photographs"] == 3
    settings = read_detector(path)[1]
    assert (settings.plate_threshold, settings.vehicle_threshold, settings.deepest) == (0.4, 1.0, 16)
    package_detector.main(words)
    assert json.loads(capsys.readouterr().out)["threshold"] == 0.2  # the detector's own


def test_nothing_is_written_if_eight_bits_find_less_or_the_file_is_large(words, tmp_path, monkeypatch):
    calls = []

    def found(detector, photographs):
        del detector
        calls.append(0)
        return [(each.corners[: 3 - len(calls)], np.ones(3 - len(calls))) for each in photographs]

    monkeypatch.setattr(package_detector, "_found", found)
    with pytest.raises(BenchError, match=r"8 bits find less: AP50 50\.00 %, not 100\.00 %"):
        package_detector.main(words)
    monkeypatch.setattr(package_detector, "MOST_BYTES", 10)
    with pytest.raises(BenchError, match="more than 10"):
        package_detector.main(words)
    assert not (tmp_path / "out").exists()
    with pytest.raises(SettingsError, match=r"out=\.\.\. is missing"):
        package_detector.main(words[:1])
    with pytest.raises(SettingsError, match="give a set of photographs"):
        package_detector.main(words[:2])


def test_differences_are_of_boxes_from_the_threshold_on():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10.0]])
    first = boxes, np.array([0.9, 0.5])
    swapped = boxes[::-1], np.array([0.52, 0.87])  # the same boxes in another order
    assert package_detector._compared(first, swapped, 0.3) == (False, pytest.approx(0.03))
    assert package_detector._compared(first, (boxes + 1, first[1]), 0.3)[0] is True
    assert package_detector._compared(first, (boxes[:1], first[1][:1]), 0.3)[0] is True
    assert package_detector._compared(first, (boxes[:1], first[1][:1]), 0.6)[0] is False


def test_shares_of_plates_boxes_and_texts(words, capsys, monkeypatch):
    """Of three photographs' six plates the first of each is found, and a box on nothing; two of the three are read."""
    read = iter(("A", "", "A", "", "X", ""))

    class Finder:
        def __init__(self, path):
            assert path is None

        def find(self, image):
            assert image.size == (140, 90)
            return [PLATES[0], Box(60, 2, 20, 10)]

    def packaged(words):
        assert words == ["device=cpu"]
        return SimpleNamespace(size=(8, 16), read_images=lambda images: [_reading(next(read)) for _ in images])

    def _reading(letter):
        return PlateReading(letter and f"{letter}{_number(letter)}", (0.9,) * 2)

    paths = [each.path for each in packaged_detector.photographs_of(_own(words))["plates_easypr cn"]]
    order = iter(paths)

    def _number(letter):
        return next(order).stem if letter in "AX" else ""

    monkeypatch.setattr(packaged_detector, "PlateFinder", Finder)
    monkeypatch.setattr(packaged_detector.PlateRun, "packaged", packaged)
    packaged_detector.main(words[2:])
    row = json.loads(capsys.readouterr().out.splitlines()[-1])["plates_easypr cn"]
    assert (row["photographs"], row["plates"]) == (3, 6)
    assert (row["recall"], row["precision"]) == (0.5, 0.5)
    assert row["text_exact"] == pytest.approx(2 / 6, abs=1e-4)
    with pytest.raises(SettingsError, match="split must be one of test, all"):
        packaged_detector.main([*words[2:], "split=train"])
    assert torch.get_num_threads() >= 1


def _own(words):
    return {"split": "test", "plates_openalpr": "", "plates_easypr": words[2].partition("=")[2]}
