"""ONNX files of detectors and plate readers, and a register that uses them."""

import io
import json
import shutil
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from registers import photo

from app.core.arrays import float_arrays
from app.core.errors import StoredFileError
from app.core.run_folder import RunFolder
from app.core.sample import Box
from app.detection.detector_file import build, onnx_detector, open_detector, write_detector
from app.detection.own import OwnDetector
from app.register.detect import DETECTOR
from app.register.photos import VehiclePhoto
from app.register.plate_reader import ERRORS, measured_errors
from app.settings.checks import SettingsError
from app.settings.detection import DetectorSettings
from app.settings.load import load_settings
from app.tasks import make_task
from app.training.checkpoint import Checkpoint, save_checkpoint
from app.training.onnx_file import OnnxFile
from scripts import export

pytestmark = pytest.mark.slow

TINY = DetectorSettings(backbone="test_efficientnet", size=128, vehicle_threshold=0.05, plate_threshold=0.05)
READER = (
    "model.start= "
    "experiment=plates_countries data=manifest data.made_plates.share=0 model.backbone=test_resnet model.height=32 "
    "model.width=64 model.dim=16 model.layers=1 device=cpu train.precision=float32 data.eval_split=test"
)


@pytest.fixture(scope="module")
def detector_files(tmp_path_factory):
    """An untrained detector that finds much, its ONNX file, and what the export said."""
    folder = tmp_path_factory.mktemp("detector")
    detector = build(TINY, seed=3)
    head = detector.network.head
    head.classification_head.cls_logits.bias.data.fill_(0.0)
    head.classification_head.cls_logits.weight.data.mul_(50)  # scores far from one another, as trained ones are
    head.regression_head.bbox_reg.bias.data.fill_(2.0)  # boxes of four strides
    write_detector(folder / "detector.safetensors", detector, TINY)
    return folder


@pytest.fixture(scope="module")
def exported(detector_files):
    export.main([f"detector={detector_files}", f"out={detector_files / 'd.onnx'}", "pictures=3"])
    return detector_files / "d.onnx"


@pytest.fixture
def url(tmp_path):
    """Networks are in no database."""
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((90, 160), (160, 90), (40, 40), (300, 301))]


def test_a_detector_is_written_and_agrees(detector_files, tmp_path, capsys):
    """On images of other shapes than the example of the graph: as boxes and scores of the one in PyTorch."""
    for number, pixels in enumerate(images()):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    out = tmp_path / "d.onnx"
    export.main([f"detector={detector_files / 'detector.safetensors'}", f"out={out}", str(tmp_path)])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["pictures"] == 4
    assert told["largest_difference"] <= 1e-4
    assert told["largest_shift"] <= 1e-3
    assert told["different"] == 0
    assert told["detections"] > 20
    assert told["bytes"] == out.stat().st_size
    ours, theirs = open_detector(detector_files / "detector.safetensors"), open_detector(out)
    for pixels in images():
        one, two = ours.find(pixels), theirs.find(pixels)
        assert len(one) == len(two) > 0
        for a, b in zip(one, two, strict=True):
            assert (a.plate, a.kind) == (b.plate, b.kind)
            assert b.score == pytest.approx(a.score, abs=1e-4)
            assert b.box == pytest.approx(a.box, abs=0.05)


def test_a_detector_that_ends_at_stride_16_is_written_too(tmp_path):
    settings = replace(TINY, deepest=16)
    detector = build(settings, seed=3)
    detector.network.head.classification_head.cls_logits.bias.data.fill_(0.0)
    write_detector(tmp_path / "detector.safetensors", detector, settings, eight_bits=True)
    export.main([f"detector={tmp_path}", f"out={tmp_path / 'd.onnx'}", "pictures=1"])
    ours, theirs = (open_detector(tmp_path / name) for name in ("detector.safetensors", "d.onnx"))
    for pixels in images()[:2]:
        one, two = ours.find(pixels), theirs.find(pixels)
        assert len(one) == len(two) > 0
        assert two[0].box == pytest.approx(one[0].box, abs=0.05)


def test_a_detector_that_does_not_agree_leaves_no_file(detector_files, exported, tmp_path, monkeypatch):
    other = build(TINY, seed=4)
    write_detector(tmp_path / "other.safetensors", other, TINY)
    monkeypatch.setattr(export, "write_onnx", lambda temporary, *_: shutil.copyfile(exported, temporary))
    with pytest.raises(StoredFileError, match=r"scores differ from PyTorch's by up to .*x\.onnx was not written"):
        export.main([f"detector={tmp_path / 'other.safetensors'}", f"out={tmp_path / 'x.onnx'}", "pictures=1"])
    assert [path.name for path in tmp_path.iterdir()] == ["other.safetensors"]
    with pytest.raises(SettingsError, match="data=two_cam: a detector takes images"):
        export.main([f"detector={detector_files}", f"out={tmp_path / 'x.onnx'}", "data=two_cam"])


def test_a_register_uses_a_detector_in_onnx(identification, detector_files, exported, tmp_path, monkeypatch):
    """The file of the register holds it whole; the weights of PyTorch are not there any more."""
    framing, picture = identification.framing, VehiclePhoto(photo(1, (90, 160)))
    framing.use(detector_files / "detector.safetensors", "tester")
    before = framing.frame(picture)
    assert framing.use(exported, "tester") == "vehicles and plates"
    monkeypatch.setattr("app.detection.detector_file._own", None)
    after = framing.frame(picture)
    assert [path.name for path in framing.folder.iterdir() if path.name.startswith("det")] == [DETECTOR]
    assert after.vehicle_photo.vehicle_box == before.vehicle_photo.vehicle_box
    assert len(after.detections.vehicles) == len(before.detections.vehicles) > 0
    for a, b in zip(before.detections.vehicles, after.detections.vehicles, strict=True):
        assert b.box == pytest.approx(a.box, abs=0.05)
    held = (framing.folder / DETECTOR).read_bytes()
    cut, altered = tmp_path / "cut.onnx", tmp_path / "altered.onnx"
    content = exported.read_bytes()
    cut.write_bytes(content[:-200])
    altered.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    for path, reason in ((cut, "was cut off"), (altered, "damaged file")):
        with pytest.raises(StoredFileError, match=reason):
            framing.use(path, "tester")
    assert (framing.folder / DETECTOR).read_bytes() == held


def test_kinds_of_onnx_files_are_told_apart(identification, exported, onnx_path):
    with pytest.raises(StoredFileError, match="is of a detector, not of a run's network"):
        OnnxFile(exported)
    with pytest.raises(StoredFileError, match="is of a run's network, not of a detector"):
        identification.framing.use(onnx_path, "tester")
    with pytest.raises(ValueError, match="is of the task dual_reid; plates are read by"):
        identification.plate_reader.use(onnx_path, "global", "tester")
    assert isinstance(onnx_detector(exported.read_bytes(), "x"), OwnDetector)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """An untrained reader, with three plates of its own set."""
    root = tmp_path_factory.mktemp("plates")
    rows = ["path,pid,camid,split,plate_text,plate_left,plate_top,plate_width,plate_height"]
    for pid in range(3):
        photo(pid, (40, 90)).image.save(root / f"{pid}.png")
        rows += [
            f"{pid}.png,{pid},0,{split}_{'query' if pid else 'gallery'},AB1{pid},20,10,50,20"
            for split in ("test", "val")
        ]
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    settings = load_settings(f"{READER} data.root={root}")
    task = make_task(settings)
    folder = RunFolder(root / "run")
    for seed, name in enumerate(("global", "other")):
        save_checkpoint(folder, name, float_arrays(task.build(1, seed)), settings, task)
    return folder.path


@pytest.fixture(scope="module")
def written_reader(reader):
    """The ONNX file of the reader "global", and what the export said."""
    told = io.StringIO()
    with redirect_stdout(told):
        export.main([f"run={reader}", f"out={reader.parent / 'reader.onnx'}"])
    return reader.parent / "reader.onnx", json.loads(told.getvalue().splitlines()[-1])


def test_a_reader_is_written_and_reads_alike_in_a_register(reader, written_reader, identification):
    out, told = written_reader
    assert told["largest_difference"] <= 1e-5
    assert (told["pictures"], told["different"], told["split"]) == (3, 0, "test")
    assert told["digest"] == Checkpoint.read(reader, "global").digest
    gate, image = identification.plate_reader, VehiclePhoto(photo(1, (40, 90)), plate_box=Box(20, 10, 50, 20))
    images = [identification.framing.frame(image).image]
    gate.use(reader, "global", "tester", measured_errors(reader, "global", "cpu"))
    expected, errors = gate.read(images), gate.errors
    folder = gate.folder
    assert expected
    assert gate.use(out, "global", "tester", measured_errors(out, "global", "cpu")) == told["digest"]
    assert sorted(path.name for path in folder.glob("plate_reader*")) == [ERRORS, "plate_reader.onnx"]
    assert (gate.errors.plates, gate.errors.confused) == (errors.plates, errors.confused)
    assert gate.errors.missing == pytest.approx(errors.missing)
    [found] = gate.read(images)
    assert found.text == expected[0].text
    assert found.confidences == pytest.approx(expected[0].confidences, abs=1e-5)
    gate.use(reader, "other", "tester")  # the one given last reads
    assert [path.name for path in folder.glob("plate_reader*")] == ["plate_reader.safetensors"]
    assert gate.read(images) != expected
    gate.use(out, "global", "tester")
    gate.forget("tester")
    assert not gate.is_there
    assert not list(folder.glob("plate_reader*"))


def test_views_are_of_embeddings_alone(reader, detector_files, tmp_path):
    for words in ([f"run={reader}"], [f"detector={detector_files}"]):
        with pytest.raises(SettingsError, match="views= is for networks that embed"):
            export.main([*words, f"out={tmp_path / 'x.onnx'}", "views=4"])
    assert not list(tmp_path.iterdir())


def test_readers_that_do_not_agree_leave_no_file(reader, written_reader, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "write_onnx", lambda temporary, *_: shutil.copyfile(written_reader[0], temporary))
    with pytest.raises(
        StoredFileError, match=r"probabilities differ from PyTorch's by up to .*x\.onnx was not written"
    ):
        export.main([f"run={reader}", "model=other", f"out={tmp_path / 'x.onnx'}"])
    assert not (tmp_path / "x.onnx").exists()
