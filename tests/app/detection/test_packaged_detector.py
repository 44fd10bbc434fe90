"""The plate detector that comes with the package: its file, its mark, and plates that it finds."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from app.core.errors import StoredFileError
from app.core.packaged_file import mark_of
from app.detection.average_precision import match_boxes
from app.detection.packaged_detector import FILE, MARK, packaged_detector
from app.detection.plates import PlateFinder
from app.synthetic import SceneRenderer
from models.errors import MissingFileError
from scripts.bench.packaged_detector import corners_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def test_the_file_is_that_of_this_version_and_small():
    assert mark_of(FILE) == MARK
    assert MARK.size <= 1_500_000
    with safe_open(FILE, framework="np") as file:
        kept, arrays = str(file.metadata()), [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118 - no dict
    assert not [place for place in ("/tmp", "/work", "/home") if place in kept]
    assert {array.dtype for array in arrays if array.ndim > 1} == {np.dtype("int8"), np.dtype("float16")}
    detector, settings = packaged_detector()
    assert not detector.training
    assert settings.vehicle_threshold == 1.0
    ignored = subprocess.run(["git", "check-ignore", FILE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ignored.returncode, ignored.stdout) == (1, "")  # the wheel holds what git does not ignore


def test_another_file_finds_no_plates(tmp_path):
    path = tmp_path / FILE.name
    content = FILE.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoredFileError, match=re.escape(f"{path} is not the file of this version of the package")):
        packaged_detector(path)
    path.write_bytes(content[:-1])
    with pytest.raises(StoredFileError, match=f"has {len(content) - 1} bytes, not {len(content)}"):
        packaged_detector(path)
    path.unlink()
    with pytest.raises(MissingFileError, match="the packaged plate detector is not there"):
        packaged_detector(path)


def test_plates_of_rendered_scenes_are_found():
    """Of vehicles and car parks that no training saw, those plates that are at least twelve pixels high at this size:
    most are found, and most of what is found is a plate."""
    scenes, finder = SceneRenderer(640, 2_000_003), PlateFinder()
    plates = wrong = right = 0
    for number in range(24):
        scene = scenes.scene(number)
        large = [box for box in scene.plates if box.height >= 12]
        if not large:
            continue
        found = finder.find(Image.fromarray(np.ascontiguousarray(scene.image[..., ::-1])))
        order = -np.arange(len(found), dtype=np.float64)
        right += int(match_boxes(corners_of(found), order, corners_of(large), 0.5).sum())
        wrong += len(found) - int(match_boxes(corners_of(found), order, corners_of(scene.plates), 0.5).sum())
        plates += len(large)
    assert plates > 10
    assert right / plates > 0.5
    assert wrong < plates / 2
