"""Handwritten record of an equalisation, with its images, for tests of the report."""

import numpy as np
import pytest
from PIL import Image

from app.core.sample import Sample
from app.equalise.store import EnhancedFiles


def write_image(path, seed, size=(40, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def equalise_files(tmp_path):
    return EnhancedFiles(tmp_path / "equalised")


@pytest.fixture
def equalise_samples(tmp_path):
    """Vehicle 7 has five images, 3 has two, 9 has one."""
    pids = [7, 7, 3, 7, 9, 7, 3, 7]
    return [Sample(write_image(tmp_path / f"{i}.png", i), pid, i % 2) for i, pid in enumerate(pids)]


@pytest.fixture
def equalise_record(equalise_files):
    def made(place, cosine, name):
        write_image(equalise_files.path(name), place + 100)
        return {"place": place, "cosine": cosine, "file": name, "plate_file": None}

    return {
        "target": 3,
        "threshold": 0.65,
        "interval": [0.5, 0.97],
        "library": "fused",
        "own": [0.9, 0.8, 0.7, 0.3, 1.0, 0.41, 0.75, None],
        "base": [0, 1, 2, 4, 6],
        "suspects": [
            {"place": 0, "cosine": 0.9, "gap": 0.4, "nearer": 2},
            {"place": 5, "cosine": 0.41, "gap": 0.3, "nearer": 2},
            {"place": 3, "cosine": 0.3, "gap": 0.5, "nearer": 4},
        ],
        "left_out": [3, 5],
        "kept": [made(2, 0.6, "aa/0.jpg"), made(4, 0.9, "aa/1.jpg"), made(4, 0.8, "aa/2.jpg")],
        "refused": [made(2, 0.98, "bb/0.jpg")],
        "drawn": [0.6, 0.9, 0.8, 0.98],
        "warnings": ["vehicle 7 is <odd>", "1 of 8 images cannot be embedded and stay as they are"],
        "seconds": {"pre_model": 1.25, "embed": 0.5, "enhance": 2.0, "rest": 0.0},
    }
