"""The command that reads plates: crops and photographs, what it prints, what it says of files that it cannot read."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.core.arrays import float_arrays
from app.core.run_folder import RunFolder
from app.core.sample import Box, Sample
from app.data.crops import read_image, with_margin
from app.detection.detector_file import build, write_detector
from app.detection.own import OwnDetector
from app.detection.plates import PlateFinder
from app.evaluation.plate_texts import PlateReading
from app.experiment.plate_files import PlateFiles
from app.experiment.plate_run import PlateRun
from app.images.files import images_of
from app.settings.checks import SettingsError
from app.settings.detection import DetectorSettings
from app.settings.load import load_settings
from app.tasks import make_task
from app.training.checkpoint import save_checkpoint
from models.detector import Detector
from scripts import read_plates
from scripts.command import command

WORDS = (
    "model.start= "
    "experiment=plates_countries data=manifest data.root=. model.backbone=test_resnet model.height=32 model.width=64 "
    "model.dim=16 model.layers=1 device=cpu train.precision=float32 train.threads=1 evaluation.batch_size=2"
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A hashed network that was never trained, as a central checkpoint."""
    settings = load_settings(f"{WORDS} model.hashed=0.5")
    task = make_task(settings)
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    save_checkpoint(folder, "central", float_arrays(task.build(1, 0)), settings, task)
    return folder.path


@pytest.fixture
def crops(tmp_path):
    """Three images of noise in two folders, and a file that is none."""
    rng = np.random.default_rng(0)
    (tmp_path / "in" / "b").mkdir(parents=True)
    paths = [tmp_path / "in" / name for name in ("a.png", "b/1.jpg", "c.PNG")]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (30, 70, 3), np.uint8)).save(path)
    (tmp_path / "in" / "labels.tsv").write_text("a.png\tAB1\n")
    return paths


def lines(capsys):
    captured = capsys.readouterr()
    return [json.loads(line) for line in captured.out.splitlines()], captured.err


def test_each_crop_is_a_line_in_name_order(run_dir, crops, tmp_path, capsys):
    """The network reads each file by itself as it does in a batch; float32 sums in another order, so 1e-3."""
    read_plates.main([f"run={run_dir}", "device=cpu", str(tmp_path / "in")])
    found, said = lines(capsys)
    assert [line["file"] for line in found] == [str(path) for path in crops]
    assert said == "3 plates in 3 files\n"
    run = PlateRun.open(str(run_dir), "central", ["device=cpu"])
    for line, path in zip(found, crops, strict=True):
        (alone,) = run.read([Sample(path, 0, 0, plate_path=path)])
        assert (line["text"], line["box"]) == (alone.text, None)
        assert line["confidence"] == pytest.approx(alone.confidence, abs=1e-3)
        assert line["confidences"] == pytest.approx(alone.confidences, abs=1e-3)
    assert list(found[0]) == ["file", "text", "confidence", "box", "confidences", "country", "region"]


def test_files_that_cannot_be_read_are_named_and_the_others_read(run_dir, crops, tmp_path, capsys):
    broken, absent = tmp_path / "broken.jpg", tmp_path / "absent.jpg"
    broken.write_bytes(crops[1].read_bytes()[:200])
    with pytest.raises(SystemExit) as ended:
        read_plates.main([f"run={run_dir}", str(broken), str(absent), str(crops[0])])
    assert ended.value.code == 1
    found, said = lines(capsys)
    assert [line["file"] for line in found] == [str(crops[0])]
    first, second, counted = said.splitlines()
    assert first.startswith(f"{broken}: ")
    assert second == f"{absent}: not found"
    assert counted == "1 plates in 3 files, 2 could not be read"


def test_a_plate_below_the_threshold_has_no_text(run_dir, crops, capsys):
    read_plates.main([f"run={run_dir}", "refuse=1", str(crops[0])])
    ((line,), said) = lines(capsys)
    assert line["text"] is None
    assert "1 refused" in said
    sure = read_plates.FilePlate(crops[0], None, PlateReading("AB", (0.9, 0.5)))
    assert read_plates.line_of(sure, 0.5)["text"] == "AB"
    assert read_plates.line_of(sure, 0.51)["text"] is None
    assert read_plates.line_of(sure)["confidence"] == 0.5


def test_names_that_the_terminal_cannot_print_end_nothing(run_dir, crops, tmp_path, capsys, monkeypatch):
    """Good and broken files of such names, to a terminal that has ASCII alone. What Python escapes `é` and `😀` to
    there, `\\xe9` and `\\U0001f600`, is no JSON."""
    folder = tmp_path / "odd"
    folder.mkdir()
    names = [os.fsdecode(name) for name in (b"\xff.jpg", b"new\nline.JPG", b"z.jpeg")] + ["皖A.jpg", "é 😀.jpg"]
    for name in names:
        (folder / name).write_bytes(crops[1].read_bytes())
    (folder / os.fsdecode(b"broken\xfe\n.jpg")).write_bytes(b"no image")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii", write_through=True))
    with pytest.raises(SystemExit) as ended:
        command(read_plates.main, [f"run={run_dir}", "device=cpu", str(folder)])
    assert ended.value.code == 1
    found = [json.loads(line)["file"] for line in written.getvalue().decode("ascii").splitlines()]
    assert sorted(found) == sorted(str(folder / name) for name in names)
    first, counted = capsys.readouterr().err.splitlines()
    assert first.startswith(rf"{folder}/broken\udcfe\n.jpg: not an image")
    assert counted == "5 plates in 6 files, 1 could not be read"


def test_a_folder_without_images_is_no_success(run_dir, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(SettingsError, match=f"there are no images in {tmp_path}"):
        read_plates.main([f"run={run_dir}", str(tmp_path)])


def test_deep_grey_and_turned_images_are_what_they_show(tmp_path):
    """A grey gradient of 16 bits, and the same lying on its side with a note of how the camera was held."""
    values = np.linspace(0, 255, 40 * 20).reshape(20, 40).astype(np.uint8)
    upright = Image.fromarray(values)
    upright.save(tmp_path / "grey.png")
    Image.fromarray(values.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    seen = []
    reader = PlateFiles(lambda batch: [PlateReading("", ())] * len(seen.extend(batch) or batch), (20, 40), 8)
    list(reader.plates(images_of([tmp_path])))
    deep, grey, turned = (picture.float() for picture in seen)
    assert (grey - turned).abs().max() == 0
    assert (grey - deep).abs().max() <= 3  # stretched from half a per cent to 99.5


class Found(Detector):
    """Finds given boxes: rows of left, top, right, bottom, label and score."""

    def __init__(self, rows):
        super().__init__(torch.nn.Identity(), {0: 0, 1: 1})
        self.rows = torch.tensor(rows).reshape(-1, 6)
        self.shown = []

    def find(self, images):
        self.shown += [tuple(image.shape) for image in images]
        return [{"boxes": self.rows[:, :4], "labels": self.rows[:, 4].long(), "scores": self.rows[:, 5]}]


@pytest.fixture
def finder(monkeypatch):
    """Makes finders whose detector finds these rows."""

    def make(rows):
        detector = Found(rows)
        own = OwnDetector(detector, DetectorSettings())
        monkeypatch.setattr("app.detection.plates.open_detector", lambda _: own)
        return PlateFinder(Path("detector.safetensors")), detector

    return make


def test_plates_are_found_best_first_and_in_pixels_of_the_file(finder):
    found, detector = finder(
        [
            [10.0, 20, 60, 40, 1, 0.9],
            [0, 0, 90, 90, 0, 0.8],  # a vehicle
            [70, 20, 90, 30, 1, 0.5],
            [70, 50, 72, 90, 1, 0.45],  # two pixels wide
            [1, 2, 40, 30, 1, 0.2],  # below the detector's threshold of 0.3
        ]
    )
    assert found.find(Image.new("RGB", (100, 100))) == [Box(10, 20, 50, 20), Box(70, 20, 20, 10)]
    assert found.find(Image.new("RGB", (3200, 100)))[0] == Box(20, 40, 100, 40)
    assert detector.shown == [(3, 100, 100), (3, 50, 1600)]


def test_each_plate_of_a_photograph_is_a_line(run_dir, crops, tmp_path, monkeypatch, capsys):
    boxes = {(70, 30): [Box(5, 6, 40, 20), Box(30, 2, 20, 10)], (64, 64): []}
    Image.new("RGB", (64, 64)).save(tmp_path / "empty.png")

    class Finder:
        def __init__(self, path):
            assert path == tmp_path

        def find(self, picture):
            return boxes[picture.size]

    monkeypatch.setattr(read_plates, "PlateFinder", Finder)
    read_plates.main([f"run={run_dir}", f"detector={tmp_path}", str(crops[0]), str(tmp_path / "empty.png")])
    found, said = lines(capsys)
    assert [line["box"] for line in found] == [[5, 6, 40, 20], [30, 2, 20, 10]]
    assert said == "2 plates in 2 files, 1 without a plate\n"
    run = PlateRun.open(str(run_dir), "", ["device=cpu"])
    for line, box in zip(found, boxes[70, 30], strict=True):
        (alone,) = run.read([Sample(crops[0], 0, 0, plate_boxes=(box,))])
        assert line["text"] == alone.text
        assert line["confidence"] == pytest.approx(alone.confidence, abs=1e-3)


def test_a_plate_is_cut_out_with_its_margin(crops):
    """A tenth of the box on each side, as in training."""
    seen = []
    reader = PlateFiles(
        lambda batch: [PlateReading("", ())] * len(seen.extend(batch) or batch),
        (8, 16),
        1,
        lambda _: [Box(20, 10, 30, 10)],
    )
    list(reader.plates(crops[:1]))
    assert torch.equal(seen[0], read_image(crops[0], Box(17, 9, 36, 12), (8, 16)))
    assert with_margin(Box(20, 10, 30, 10)) == Box(17, 9, 36, 12)


def test_a_real_detector_is_opened_from_its_file_or_folder(tmp_path):
    settings = DetectorSettings(backbone="test_efficientnet", size=128, channels=64, convs=1, plate_threshold=1.0)
    write_detector(tmp_path / "detector.safetensors", build(settings), settings)
    for path in (tmp_path, tmp_path / "detector.safetensors"):
        assert PlateFinder(path).find(Image.new("RGB", (200, 100))) == []
    with pytest.raises(FileNotFoundError, match="no detector"):
        PlateFinder(tmp_path / "none")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["model=global", "x.png"], "model= is a checkpoint of a run: give run=RUN_FOLDER"),
        (["run=.", "country=xx", "x.png"], "country must be one of cn, us, ar, br, vn, europe"),
        (["run=."], "name files or folders"),
        (["run=.", "refuse=2", "x.png"], r"refuse must be a number from 0 to 1; got '2'"),
        (["run=.", "refuse=most", "x.png"], "got 'most'"),
    ],
)
def test_a_mistake_is_one_line(words, reason):
    with pytest.raises(SettingsError, match=reason):
        read_plates.main(words)


def test_a_run_of_another_task_reads_no_plates(base_overrides, tmp_path):
    settings = load_settings(base_overrides)
    task = make_task(settings)
    save_checkpoint(RunFolder(tmp_path), "global", float_arrays(task.build(2, 0)), settings, task)
    with pytest.raises(SettingsError, match="the task dual_reid reads no plates"):
        read_plates.main([f"run={tmp_path}", "x.png"])
