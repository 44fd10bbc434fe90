"""The bench of plate readers and their comparison: what is pure in them, and a small run of each."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from test_read_plates import WORDS

from app.core.errors import MissingPackageError
from app.core.sample import Box, Point, Sample
from app.data.crops import cut_as_it_is
from app.data.readers.reader import Direction
from app.evaluation.plate_texts import PlateReading
from app.experiment.published_reader import Line, PublishedReader, in_reading_order, one_text, tall_lines
from app.settings.load import load_settings
from scripts import compare_plate_readers
from scripts.bench import plates

pytestmark = pytest.mark.slow


def line(text, left, top, right, bottom, score=0.9):
    return Line(text, score, left, top, right, bottom)


def test_lines_are_read_from_top_to_bottom_and_rows_from_left_to_right():
    lower = line("5678", 0, 50, 90, 95)
    right, left = line("B1", 60, 4, 95, 40), line("59", 5, 8, 50, 46)
    assert [found.text for found in in_reading_order([lower, right, left])] == ["59", "B1", "5678"]
    assert in_reading_order([]) == []


def test_low_lines_are_no_part_of_the_number():
    lines = [line("ALASKA", 60, 5, 200, 35), line("FUW999", 0, 3, 280, 135), line("1959", 60, 100, 90, 166)]
    assert [found.text for found in tall_lines(lines)] == ["FUW999", "1959"]  # 66 is half of 132, 30 is less
    assert tall_lines([]) == []


def test_lines_are_one_plate_without_marks():
    assert one_text([line("59-b1", 0, 0, 1, 1, 0.5), line(" 34.2", 0, 1, 1, 2, 0.75)]) == PlateReading(
        "59B1342", (0.5,) * 4 + (0.75,) * 3
    )
    assert one_text([]).confidence == 0.0


def test_crops_keep_their_pixels():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    assert cut_as_it_is(picture, None) is picture
    assert cut_as_it_is(picture, Box(10.5, 5, 20, 10)).size == (21, 10)
    assert cut_as_it_is(picture, Box(-5, 30, 20, 30)).size == (15, 10)
    corners = (Point(10, 5), Point(30, 5), Point(30, 15), Point(10, 15))
    flat = np.asarray(cut_as_it_is(picture, corners))
    assert np.array_equal(flat, np.asarray(picture)[5:15, 10:30])
    with pytest.raises(ValueError, match="lies outside"):
        cut_as_it_is(picture, Box(70, 0, 5, 5))


@pytest.fixture
def engine(monkeypatch):
    """In place of RapidOCR: two lines in any image, which it is given with blue first."""

    class RapidOCR:
        def __init__(self, params):
            assert params["EngineConfig.onnxruntime.intra_op_num_threads"] == 1

        def __call__(self, picture, *, use_det, use_cls, use_rec):
            assert use_rec
            assert use_cls is use_det
            assert picture[0, 0].tolist() == [3, 2, 1]
            found = ModuleType("found")
            found.txts, found.scores = ("ab-1", "state"), [0.9, 0.8]
            low = [[0, 40], [60, 40], [60, 46], [0, 46]]
            found.boxes = np.array([[[0, 0], [60, 0], [60, 38], [0, 38]], low], np.float32)
            if not use_det:
                found.txts, found.scores, found.boxes = ("abi",), [0.6], None
            return found

    module = ModuleType("rapidocr")
    module.RapidOCR = RapidOCR
    monkeypatch.setitem(sys.modules, "rapidocr", module)
    monkeypatch.setattr("app.experiment.published_reader.version", lambda _: "1.0")


@pytest.fixture
def samples(tmp_path):
    Image.new("RGB", (60, 48), (1, 2, 3)).save(tmp_path / "plate.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    good, broken = tmp_path / "plate.png", tmp_path / "broken.png"
    return [
        Sample(good, 0, 0, plate_path=good, plate_text="AB1"),
        Sample(good, 1, 1, plate_path=good, plate_text="ABI"),
        Sample(broken, 2, 2, plate_path=broken, plate_text="AB1"),
    ]


@pytest.mark.usefixtures("engine")
def test_the_published_reader_is_measured_in_three_ways(samples):
    """One edit in three characters: ABI for AB1. AB1STATE for AB1 and ABI has five, and six, of six characters."""
    published = PublishedReader(1)
    ways = compare_plate_readers.ways_of(published)
    direction = Direction("only", tuple(samples), tuple(samples))
    rows = {name: compare_plate_readers.measured(read, [direction]) for name, read in ways.items()}
    rates = {name: (row["accuracy"], row["character_error_rate"], row["skipped"]) for name, row in rows.items()}
    assert rates == {
        "recogniser": (0.5, pytest.approx(1 / 6), 1),
        "pipeline": (0, pytest.approx(11 / 6), 1),
        "tall_lines": (0.5, pytest.approx(1 / 6), 1),
    }
    told = compare_plate_readers.table(rows).splitlines()
    assert told[1].split() == ["only", "2", "50.0", "/", "16.7", "0.0", "/", "183.3", "50.0", "/", "16.7"]
    assert [row.split()[0] for row in told] == ["direction", "only", "all"]


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingPackageError, match=r"pip install -e '\.\[compare\]'"):
        PublishedReader()


def test_times_follow_their_definition():
    assert plates.median_and_slowest([3.0, 1.0, 2.5, 9.004]) == {"median": 2.75, "slowest": 9.0}


def test_a_hashed_reader_sends_less_for_each_virtual_parameter():
    """The cipher costs about as much for each shared value; of these there are fewer than virtual ones."""
    dense, hashed = (plates.upload(load_settings(f"{WORDS} model.hashed={share}"), 10**6) for share in (1.0, 0.1))
    assert hashed["shared_values"] < 0.4 * dense["shared_values"]
    assert hashed["bytes_up"] < dense["bytes_up"]
    assert dense["bytes_up_per_virtual_parameter"] == round(dense["bytes_up"] / 1e6, 3)


@pytest.mark.slow
def test_a_small_bench(capsys):
    plates.main(["plates=3", "seconds=0.2", *WORDS.split()[1:]])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["trained"], told["plates"]) == (False, 3)
    assert told["parameters"] == told["virtual_parameters"]
    assert told["checkpoint_bytes"] > 4 * told["parameters"]
    assert 0 < told["one_plate"]["network_ms"]["median"] <= told["one_plate"]["network_ms"]["slowest"]
    assert told["plates_per_s"]["best"]["plates_per_s"] > 0
