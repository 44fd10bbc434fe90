"""A register, and `read_plates`, on whole photographs with the packaged detector and reader: nothing is trained."""

import json

import numpy as np
import pytest
from PIL import Image

from app.core.sample import Box
from app.detection.average_precision import iou_matrix
from app.detection.detector_file import build, write_detector
from app.register.detect import DETECTOR
from app.settings.detection import DetectorSettings
from app.synthetic import SceneRenderer
from app.synthetic.plates import placed_plate
from scripts import read_plates
from scripts import register as register_command
from scripts.bench.packaged_detector import corners_of

pytestmark = pytest.mark.slow

SEED = 5
OWN = DetectorSettings(backbone="test_efficientnet", size=128, convs=1)


@pytest.fixture
def photograph(tmp_path):
    """A rendered van in a car park with a plate of Europe, the text of it, and where it is."""
    scene = SceneRenderer(960, 3).scene(8)
    plate = placed_plate(np.random.default_rng(SEED), ("europe",))
    photograph = Image.fromarray(np.ascontiguousarray(scene.image[..., ::-1]))
    height, width = plate.image.shape[:2]
    size = (200, round(200 * height / width))
    middle = scene.plates[0].left + scene.plates[0].width / 2, scene.plates[0].top + scene.plates[0].height / 2
    box = Box(round(middle[0] - size[0] / 2), round(middle[1] - size[1] / 2), *size)
    photograph.paste(Image.fromarray(plate.image).resize(size, Image.Resampling.LANCZOS), (int(box.left), int(box.top)))
    photograph.save(tmp_path / "photo.png")
    return tmp_path / "photo.png", plate.text, box


def overlap(first, second):
    return iou_matrix(*(corners_of([Box(*box)]) for box in (first, second)))[0, 0]


def test_a_new_register_finds_and_reads_the_plate_of_a_photograph(run_register, run_folder, photograph):
    path, text, plate = photograph
    run_register("reembed", "--run", run_folder)
    assert run_register("identify", path)[0]["plate_text"] is None
    assert run_register("plate-reader")[0]["reads"] is True
    run_register("enrol", path, "--plate", text)
    answer, _ = run_register("identify", path)
    assert answer["plate_text"]["text"] == text
    assert answer["plate_text"]["candidates"][0]["plate"] == text
    [shown] = answer["photographs"]
    assert (shown["box"], shown["vehicles"]) == (None, [])  # all of it: it finds no vehicles
    assert overlap(shown["plate_box"], plate) > 0.5


def test_a_register_keeps_its_own_detector_of_plates(run_register, run_folder, tmp_path, capsys):
    write_detector(tmp_path / "own.safetensors", build(OWN), OWN)
    run_register("reembed", "--run", run_folder)
    run_register("detector", tmp_path / "own.safetensors")
    kept = tmp_path / "register" / "models" / DETECTOR
    before = kept.read_bytes()
    run_register("plate-reader")
    register_command.main(["detector"])
    told = capsys.readouterr()
    assert json.loads(told.out.splitlines()[-1]) == {"finds": []}
    assert "the register keeps its detector of plates: a file replaces it" in told.err
    assert kept.read_bytes() == before
    run_register("detector", "--remove")
    assert run_register("detector")[0] == {"finds": ["plates"]}
    assert kept.read_bytes() != before
    assert run_register("detector", tmp_path / "own.safetensors")[0] == {"finds": ["vehicles and plates"]}
    assert kept.read_bytes() == before


def test_a_reader_of_ones_own_says_that_no_plates_are_found(run_register, run_folder, reader_run, capsys):
    run_register("reembed", "--run", run_folder)
    register_command.main(["plate-reader", str(reader_run), "--model", "other"])
    assert "`detector` without a file takes the packaged one" in capsys.readouterr().err
    run_register("detector")
    register_command.main(["plate-reader", str(reader_run), "--model", "other"])
    assert "no detector finds plates" not in capsys.readouterr().err


def test_plates_of_photographs_are_read_by_the_packaged_networks(photograph, capsys):
    path, text, plate = photograph
    read_plates.main(["detector=packaged", "device=cpu", str(path)])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["text"] == text
    assert overlap(lines[0]["box"], plate) > 0.5
