"""ONNX files: the same embeddings as PyTorch's, and what is refused."""

import sys

import numpy as np
import onnx
import pytest
from registers import photo

from app.core.errors import StoredFileError
from app.core.sample import Sample
from app.detection.detector_file import open_detector
from app.register.embedder import Recogniser, read_recogniser
from app.settings.upgrades import RUN
from app.training.checkpoint import Checkpoint
from app.training.onnx_file import OnnxFile


@pytest.fixture(scope="module")
def both(run_folder, onnx_path):
    """PyTorch and ONNX Runtime with one network."""
    return Recogniser(Checkpoint.read(run_folder, "global"), "cpu"), read_recogniser(onnx_path, "cpu")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Five pictures, of which the second and the fourth have no plate."""
    folder, found = tmp_path_factory.mktemp("pictures"), []
    for number in range(5):
        path, plate = folder / f"{number}.png", folder / f"plate-{number}.png"
        photo(number).image.save(path)
        photo(100 + number).image.save(plate)
        found.append(Sample(path, pid=0, camid=0, plate_path=None if number in (1, 3) else plate))
    return found


@pytest.mark.parametrize("chosen", [[0], [1], [0, 1, 2, 3, 4], [1, 3]])
def test_the_embeddings_are_those_of_pytorch(both, samples, chosen):
    """In batches of one and more, with plates, without, and mixed."""
    ours, theirs = ([dict(row) for row in each.embed_files([samples[i] for i in chosen])] for each in both)
    for expected, found, number in zip(ours, theirs, chosen, strict=True):
        assert list(found) == list(expected) == (["vehicle"] if number in (1, 3) else ["fused", "plate", "vehicle"])
        for library, row in expected.items():
            # Sums of some hundred float32 products in another order, in a few dozen layers; rows of length 1.
            np.testing.assert_allclose(found[library], row, atol=1e-5)


def test_the_file_says_which_network_it_is(run_folder, onnx_path):
    checkpoint, file = Checkpoint.read(run_folder, "global"), OnnxFile(onnx_path)
    assert (file.digest, file.settings) == (checkpoint.digest, checkpoint.settings)
    model = onnx.load(onnx_path)
    onnx.checker.check_model(model)
    assert {entry.key: entry.value for entry in model.metadata_props}["settings_version"] == str(RUN.version)
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input] == ["N"] * 3
    assert b"site-packages" not in onnx_path.read_bytes()  # nor any other path of the machine that wrote it


def test_what_is_no_file_of_ours_is_refused(onnx_path, tmp_path):
    path, whole = tmp_path / "x.onnx", onnx_path.read_bytes()
    with pytest.raises(FileNotFoundError, match="no such file"):
        OnnxFile(path)
    other = onnx.load(onnx_path)
    del other.metadata_props[:]
    for data in (b"", b"text", whole[:-1], whole[: len(whole) // 2], other.SerializeToString()):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"x\.onnx was not written by scripts\.export, or was cut off"):
            OnnxFile(path)


def test_a_large_file_of_another_kind_is_not_read(tmp_path):
    """Of a terabyte, more than any memory, the end alone."""
    path = tmp_path / "x.onnx"
    with path.open("wb") as file:
        file.truncate(2**40)
    for read in (OnnxFile, open_detector):
        with pytest.raises(StoredFileError, match=r"x\.onnx was not written by scripts\.export"):
            read(path)


def test_one_changed_bit_anywhere_is_noticed(onnx_path, tmp_path):
    path, whole = tmp_path / "x.onnx", bytearray(onnx_path.read_bytes())
    for place in (0, len(whole) // 3, len(whole) - 200, len(whole) - 1):
        damaged = whole.copy()
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged file .*x\.onnx"):
            OnnxFile(path)


def test_without_onnx_runtime_it_says_what_to_install(onnx_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeError, match=r"ONNX Runtime is not installed: pip install 'fed-vehicle-reid\[onnx\]'"):
        OnnxFile(onnx_path)
