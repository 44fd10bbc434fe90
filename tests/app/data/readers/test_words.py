"""Words in folders and in databases."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.core.sample import Sample
from app.data.crops import ImageCache, ImageReader
from app.data.readers.word_lmdb import WordLmdb
from app.data.readers.words import Words
from app.images.decode import image_file, open_image
from app.images.files import database_of, database_path
from app.images.lmdb import read_value

lmdb = pytest.importorskip("lmdb")
SHARED = Path(__file__).parents[5] / "shared" / "data"


@pytest.fixture
def words(tmp_path):
    sets = {
        "IIIT5K": [("train/1.jpg", "You"), ("train/2.jpg", "No-1"), ("test/1.jpg", "YOU")],
        "SVT": [("images/0.jpg", "DOOR")],
        "ICDAR03": [("images/0.jpg", "Door")],
    }
    for name, rows in sets.items():
        for file, _ in rows:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).touch()
        (tmp_path / name / "labels.tsv").write_text("".join(f"{file}\t{text}\n" for file, text in rows))
    return tmp_path


def test_words_are_in_capitals_whatever_the_set(words):
    assert [(s.plate_text, s.pid, s.camid, s.site) for s in Words(words).train()] == [
        ("YOU", 2, 0, "iiit5k"),
        ("NO1", 1, 1, "iiit5k"),
    ]
    found = {d.name: [(s.plate_text, s.pid) for s in d.query] for d in Words(words).evaluation("test")}
    assert found == {"iiit5k": [("YOU", 2)], "svt": [("DOOR", 0)], "icdar03": [("DOOR", 0)]}


def test_splits_of_words(words):
    def counts(split):
        return {d.name: len(d.gallery) for d in Words(words).evaluation(split)}

    assert counts("train") == {"iiit5k": 2}
    assert counts("all") == {"iiit5k": 3, "svt": 1, "icdar03": 1}
    with pytest.raises(ValueError, match="has no split 'val'; it has train, test, all"):
        Words(words).evaluation("val")
    (words / "SVT" / "labels.tsv").write_text("images/0.jpg DOOR\n")
    with pytest.raises(ValueError, match=r"SVT/labels\.tsv: not 'file text'"):
        Words(words).train()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real pictures are not here")
def test_the_real_words_are_as_described():
    reader = Words(SHARED / "scene-text")
    assert len(reader.train()) == 1367
    assert {d.name: len(d.query) for d in reader.evaluation("test")} == {"iiit5k": 2117, "svt": 453, "icdar03": 602}
    everything = [s for d in reader.evaluation("all") for s in d.query]
    assert len({s.path for s in everything}) == len(everything) == 4539
    assert all(s.plate_text == s.plate_text.upper() != "" for s in everything)


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), colour).save(buffer, "PNG")
    return buffer.getvalue()


def write_database(folder, texts, changes=None):
    """A database of one-coloured pictures (number, 2, 3); `changes` are keys with other content, or None for none."""
    content = {"num-samples": str(len(texts)).encode()}
    for number, text in enumerate(texts, start=1):
        content |= {f"image-{number:09d}": png((number, 2, 3)), f"label-{number:09d}": text.encode()}
    folder.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(folder), map_size=2**20) as database, database.begin(write=True) as writing:
        for key, value in (content | (changes or {})).items():
            if value is not None:
                writing.put(key.encode(), value)
    return folder


@pytest.fixture
def databases(tmp_path):
    write_database(tmp_path / "train" / "MJ", ["Hello", "京A-12"])
    write_database(tmp_path / "train" / "ST", ["!?"])
    write_database(tmp_path / "test", ["hello"])
    return tmp_path


def test_databases_are_read_by_folder(databases):
    train = WordLmdb(databases).train()
    assert [(s.plate_text, s.pid, s.camid, s.site) for s in train] == [
        ("HELLO", 1, 0, "train/MJ"),
        ("京A12", 2, 1, "train/MJ"),
        (None, 0, 2, "train/ST"),
    ]
    (test,) = WordLmdb(databases).evaluation("test")
    assert (test.name, [s.plate_text for s in test.query]) == ("test", ["HELLO"])
    assert [d.name for d in WordLmdb(databases).evaluation("all")] == ["train/MJ", "train/ST", "test"]
    with pytest.raises(ValueError, match="has no split 'val'; it has train, test, all"):
        WordLmdb(databases).evaluation("val")


@pytest.mark.parametrize("kept", [False, True])
def test_pictures_come_out_of_the_database(databases, tmp_path, kept):
    samples = WordLmdb(databases).train()
    files = ImageCache(tmp_path / "decoded", 1) if kept else None
    for _ in range(2):
        pictures = ImageReader((4, 4), (8, 32), 1, files)
        for sample, colour in zip(samples, [(1, 2, 3), (2, 2, 3), (1, 2, 3)], strict=True):
            expected = np.broadcast_to(np.array(colour)[:, None, None], (3, 8, 32))
            np.testing.assert_array_equal(pictures.plate(sample), expected)
        assert not pictures.bad


def test_a_changed_database_is_decoded_anew(databases, tmp_path):
    sample, files = WordLmdb(databases).train()[0], ImageCache(tmp_path / "decoded", 1)
    assert ImageReader((4, 4), (4, 4), 0, files).plate(sample)[0, 0, 0] == 1
    write_database(databases / "train" / "MJ", ["Hello"], {"image-000000001": png((200, 2, 3))})
    assert ImageReader((4, 4), (4, 4), 0, files).plate(sample)[0, 0, 0] == 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num-samples": None}, "has no key 'num-samples'"),
        ({"num-samples": b"two"}, "num-samples: not a number: 'two'"),
        ({"num-samples": b"3"}, "has no key 'image-000000003'"),
        ({"image-000000002": None}, "has no key 'image-000000002'"),
        ({"label-000000001": None}, "has no key 'label-000000001'"),
        ({"label-000000002": b"\xff\xfe"}, "label-000000002: not UTF-8 text"),
    ],
)
def test_missing_and_wrong_keys_are_named(tmp_path, changes, message):
    write_database(tmp_path / "train", ["a", "b"], changes)
    with pytest.raises(ValueError, match=message) as caught:
        WordLmdb(tmp_path).train()
    assert str(tmp_path / "train" / "data.mdb") in str(caught.value)


def test_missing_and_broken_databases_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no data\.mdb below .*train"):
        WordLmdb(tmp_path).train()
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "data.mdb").write_text("no database")
    with pytest.raises(OSError, match=r"train/data\.mdb cannot be read"):
        WordLmdb(tmp_path).train()


def test_a_picture_that_cannot_be_read_is_left_out_and_named(tmp_path):
    write_database(tmp_path / "train", ["a", "b"], {"image-000000001": b"no picture"})
    pictures = ImageReader((4, 4), (4, 4), 1)
    first, second = WordLmdb(tmp_path).train()
    assert pictures.plate(first) is None
    assert pictures.plate(second) is not None
    gone = database_path(tmp_path / "train", 9)
    assert pictures.plate(Sample(gone, 0, 0, plate_path=gone)) is None
    assert list(pictures.bad) == [str(first.path), str(gone)]
    assert "has no key 'image-000000009'" in pictures.bad[str(gone)]
    with pytest.raises(FileNotFoundError, match="no database"):
        read_value(tmp_path, "image-000000001")


def test_threads_read_one_database_beside_one_another(tmp_path):
    """LMDB refuses to open a database that the process has open."""
    write_database(tmp_path, [""] * 8)
    keys = [f"image-{number:09d}" for number in range(1, 9)] * 20
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda key: read_value(tmp_path, key), keys))
    assert found == [png((int(key[-9:]), 2, 3)) for key in keys]


def test_only_places_in_databases_are_taken_for_such(tmp_path):
    assert database_of(tmp_path / "data.mdb#000000012") == (tmp_path, "image-000000012")
    assert database_path(tmp_path, 12).name == "data.mdb#000000012"
    assert image_file(database_path(tmp_path, 12)) == tmp_path / "data.mdb"
    odd = tmp_path / "gate.mdb#000000012"  # a file may be called so
    Image.new("RGB", (3, 2)).save(odd, "PNG")
    assert database_of(odd) is None
    assert image_file(odd) == odd
    with open_image(odd) as picture:
        assert picture.size == (3, 2)
