"""The plate reader that comes with the package: its files, their marks, and what half precision changes."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from plate_readers import TINY_READER

from app.core.arrays import float_arrays
from app.core.errors import StoredFileError
from app.core.packaged_file import mark_of
from app.core.run_folder import RunFolder
from app.data.plate_batches import sized
from app.evaluation.plate_texts import PlateReading
from app.evaluation.reading_errors import ReadingErrors, measure_errors
from app.experiment.plate_run import PlateRun
from app.settings.load import load_settings
from app.synthetic.plates import KINDS, placed_plate
from app.tasks import make_task
from app.training import packaged_reader as packaged
from app.training.checkpoint import Checkpoint, save_checkpoint
from models.errors import MissingFileError
from scripts import read_plates

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checkpoint(tmp_path):
    settings = load_settings(TINY_READER)
    task = make_task(settings)
    save_checkpoint(RunFolder(tmp_path / "run"), "central", float_arrays(task.build(1, 0)), settings, task)
    return Checkpoint.read(tmp_path / "run", "central")


def test_the_files_are_those_of_this_version_and_small():
    for name, mark in packaged.MARKS.items():
        assert mark_of(packaged.FOLDER / name) == mark
    assert packaged.MARKS[packaged.READER].size <= 1_500_000
    checkpoint = packaged.packaged_reader()
    assert {array.dtype for array in checkpoint.arrays.values()} == {np.dtype("float32")}
    assert checkpoint.settings["task"] == "plate_text"
    assert not [place for place in ("/tmp", "/work") if place in str(checkpoint.settings)]
    errors = packaged.packaged_errors()
    assert errors.plates > 1000
    measured = json.loads((packaged.FOLDER / packaged.ERRORS).read_bytes())
    assert measured.keys() == ReadingErrors.model_fields.keys()  # another measure needs the file anew
    assert 0.01 < errors.unrelated < 0.05
    assert errors.llr(PlateReading("ABC1234", (0.99,) * 7), "ABC1234") > 8


def test_rendered_plates_of_every_region_are_read():
    """Plates that no training saw, ten of each region: most of them without an error."""
    run = PlateRun.packaged(["device=cpu"])
    right = []
    for number, kind in enumerate(KINDS):
        rng = np.random.default_rng((77, number))
        plates = [placed_plate(rng, (kind,)) for _ in range(10)]
        found = run.read_images(torch.stack([sized(plate.image, run.size) for plate in plates]))
        right += [reading.text == plate.text for reading, plate in zip(found, plates, strict=True)]
    assert np.mean(right) > 0.7


def test_half_precision_keeps_matrices_within_a_rounding_and_vectors_exactly(checkpoint, tmp_path):
    """Float16 has 11 significant bits: values differ by at most 2**-11 of themselves, tiny ones by 2**-25."""
    packed = packaged.pack(checkpoint, tmp_path / "packed")
    for name, array in checkpoint.arrays.items():
        if array.ndim > 1:
            np.testing.assert_allclose(packed.arrays[name], array, rtol=2**-11, atol=2**-25)
        else:
            np.testing.assert_array_equal(packed.arrays[name], array)
    sizes = [(folder / f"{name}.safetensors").stat().st_size for folder, name in (
        (tmp_path / "packed", "plate_reader"), (tmp_path / "run", "central"))]  # fmt: skip
    assert sizes[0] < 0.7 * sizes[1]
    assert packed.settings == checkpoint.settings


def test_another_file_reads_no_plates(checkpoint, tmp_path):
    packaged.pack(checkpoint, tmp_path)
    packaged.pack_errors(measure_errors([(PlateReading("AB1", (0.9,) * 3), "AB1")]), tmp_path)
    marks = {name: mark_of(tmp_path / name) for name in packaged.MARKS}
    assert packaged.packaged_errors(tmp_path, marks).plates == 1
    for name, load in ((packaged.READER, packaged.packaged_reader), (packaged.ERRORS, packaged.packaged_errors)):
        path = tmp_path / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(StoredFileError, match=re.escape(f"{path} is not the file of this version of the package")):
            load(tmp_path, marks)
        path.write_bytes(content[:-1])
        with pytest.raises(StoredFileError, match=f"has {len(content) - 1} bytes, not {len(content)}"):
            load(tmp_path, marks)
        path.unlink()
        with pytest.raises(MissingFileError, match="the packaged plate reader is not there"):
            load(tmp_path, marks)


def test_places_of_the_training_machine_are_left_out(checkpoint):
    settings = {
        **checkpoint.settings,
        "run_dir": "/tmp/x",
        "model": {**checkpoint.settings["model"], "start": "/tmp/y"},
    }
    kept = packaged.without_places(Checkpoint(checkpoint.arrays, settings)).settings
    assert "/tmp" not in str(kept)


def test_crops_are_read_without_a_run(tmp_path, capsys):
    plate = placed_plate(np.random.default_rng(3), ("europe",))
    Image.fromarray(plate.image).save(tmp_path / "x.png")
    read_plates.main(["device=cpu", str(tmp_path / "x.png")])
    assert f'"text": "{plate.text}"' in capsys.readouterr().out


def test_the_wheel_holds_the_reader():
    """Hatchling packs every file of a listed package that git does not ignore."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "app" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    places = [str(packaged.FOLDER / name) for name in packaged.MARKS]
    ignored = subprocess.run(["git", "check-ignore", *places], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ignored.returncode, ignored.stdout) == (1, "")
