import datetime

import pyarrow
import pyarrow.parquet
import pytest

from app.core.sample import Box, Point
from app.data.readers.manifest import Manifest


@pytest.fixture
def write(tmp_path):
    """Write manifest.csv, and the pictures a.jpg to f.jpg beside it; gives the folder."""
    for letter in "abcdef":
        (tmp_path / f"{letter}.jpg").touch()

    def write_csv(*lines):
        (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path

    return write_csv


def test_only_path_and_pid_are_needed(write):
    root = write("path,pid", "b.jpg,7", "a.jpg,3", "", "c.jpg,7")
    samples = Manifest(root).train()
    assert [(s.path, s.pid) for s in samples] == [(root / "b.jpg", 7), (root / "a.jpg", 3), (root / "c.jpg", 7)]
    assert len({s.camid for s in samples}) == 3  # no camera is left out but the picture's own
    assert Manifest(root / "manifest.csv").train() == samples
    (direction,) = Manifest(root).evaluation("train")
    assert direction.query == direction.gallery == tuple(samples)


def test_every_column_is_read(write):
    root = write(
        "path,pid,camid,split,site,modality,view,time,vehicle_left,vehicle_top,vehicle_width,vehicle_height,"
        "plate_left,plate_top,plate_width,plate_height,plate_corners,plate_text,plate_path",
        'a.jpg,1,4,train,"North, gate 2",infrared,rear,2024-05-01T08:00,1,2,30,40.5,'
        "5,6,7,8,5 6 12 6 12 14 5 14,皖AY339S,b.jpg",
    )
    (sample,) = Manifest(root).train()
    assert (sample.camid, sample.site, sample.modality, sample.view) == (4, "North, gate 2", "infrared", "rear")
    assert sample.time == "2024-05-01T08:00"
    assert sample.vehicle_box == Box(1, 2, 30, 40.5)
    assert sample.plate_boxes == (Box(5, 6, 7, 8),)
    assert sample.plate_corners == (Point(5, 6), Point(12, 6), Point(12, 14), Point(5, 14))
    assert (sample.plate_text, sample.plate_path) == ("皖AY339S", root / "b.jpg")


def test_an_empty_cell_is_a_missing_column(write):
    root = write("path,pid,camid,split,modality,vehicle_left,plate_corners,plate_path,site", "a.jpg,1,,,,,,,")
    (sample,) = Manifest(root).train()
    assert (sample.modality, sample.vehicle_box, sample.plate_boxes, sample.site) == ("visible", None, (), None)


def test_crops_of_plates_stand_in_both_columns(write):
    """A crop is the plate where plate_path names it too; path alone is a vehicle whose plate nobody knows."""
    (whole, bare) = Manifest(
        write("path,plate_path,pid,plate_text", "a.jpg,a.jpg,AB 12,AB 12", "b.jpg,,CD 3,CD 3")
    ).train()
    assert whole.has_plate
    assert whole.plate_path == whole.path
    assert not bare.has_plate


def test_corners_alone_give_the_box(write):
    (sample,) = Manifest(write("path,pid,plate_corners", "a.jpg,1,10 5 30 7 29 15 9 12")).train()
    assert sample.plate_boxes == (Box(9, 5, 21, 10),)


def test_a_byte_order_mark_and_carriage_returns_do_not_matter(write, tmp_path):
    root = write("path,pid")
    (tmp_path / "manifest.csv").write_bytes('\ufeff"path","pid"\r\n"a.jpg","车1"\r\n'.encode())
    assert [s.pid for s in Manifest(root).train()] == [0]


def test_names_are_numbered_in_sorted_order(write):
    root = write("path,pid,camid", "a.jpg,xyz,gate", "b.jpg,10,exit", "c.jpg,9,gate", "d.jpg,xyz,0")
    assert [s.pid for s in Manifest(root).train()] == [2, 0, 1, 2]  # "10" < "9" < "xyz", as text
    assert [s.camid for s in Manifest(root).train()] == [2, 1, 2, 0]


def test_numbers_beyond_64_bits_are_names(write):
    root = write("path,pid", f"a.jpg,{10**20}", "b.jpg,5")
    assert [s.pid for s in Manifest(root).train()] == [0, 1]


def test_splits(write):
    root = write(
        "path,pid,camid,split",
        *("a.jpg,1,0,train", "b.jpg,2,0,query", "c.jpg,2,1,gallery", "d.jpg,3,0,val_query", "e.jpg,3,1,val_gallery"),
        *("b.jpg,2,0,test_gallery", "f.jpg,2,1,test_query"),
    )

    def names(samples):
        return "".join(s.path.stem for s in samples)

    reader = Manifest(root)
    assert names(reader.train()) == "a"
    (test,), (val,), (every,) = (reader.evaluation(split) for split in ("test", "val", "all"))
    assert (test.name, names(test.query), names(test.gallery)) == ("query_to_gallery", "bf", "cb")
    assert (val.name, names(val.query), names(val.gallery)) == ("query_to_gallery", "d", "e")
    assert sorted(names(every.query)) == list("abcdef")  # b stands in the table twice


def test_a_picture_that_is_query_and_gallery_is_its_own_camera(write):
    root = write("path,pid,split", "a.jpg,1,query", "b.jpg,1,gallery", "a.jpg,1,gallery", "./c.jpg,1,gallery")
    (direction,) = Manifest(root).evaluation("test")
    (query,) = direction.query
    assert [s.camid == query.camid for s in direction.gallery] == [False, True, False]


def test_two_vehicles_may_share_a_picture(write):
    root = write("path,pid,vehicle_left,vehicle_top,vehicle_width,vehicle_height", "a.jpg,1,0,0,9,9", "a.jpg,2,9,0,9,9")
    assert [(s.pid, s.vehicle_box) for s in Manifest(root).train()] == [(1, Box(0, 0, 9, 9)), (2, Box(9, 0, 9, 9))]


def test_a_parquet_table_says_the_same_as_csv(write, tmp_path):
    columns = {
        "path": ["a.jpg", "b.jpg"],
        "pid": [3, 5],
        "camid": [1.0, None],
        "vehicle_left": [0.5, float("nan")],
        "vehicle_top": [1, None],
        "vehicle_width": [2, None],
        "vehicle_height": [3, None],
        "plate_text": [None, " AB 1 "],
        "time": [datetime.datetime(2024, 5, 1, 8), None],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "other.parquet")
    root = write(
        "path,pid,camid,vehicle_left,vehicle_top,vehicle_width,vehicle_height,plate_text,time",
        "a.jpg,3,1,0.5,1,2,3,,2024-05-01T08:00:00",
        "b.jpg,5,,,,,,AB 1,",
    )
    assert Manifest(tmp_path / "other.parquet").train() == Manifest(root).train()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,pid,colour", "a.jpg,1,red"], r"row 1: unknown column 'colour'"),
        (["path,camid", "a.jpg,1"], r"row 1: column 'pid' is missing"),
        (["path,pid,pid", "a.jpg,1,1"], r"row 1: column 'pid' stands twice"),
        (["path,pid", "a.jpg,1", "b.jpg"], r"row 3: 1 cells under 2 columns"),
        (["path,pid", "a.jpg,1,2"], r"row 2: 3 cells under 2 columns"),
        (["path,pid", "a.jpg,"], r"row 2, column pid: is empty"),
        (["path,pid", ",1"], r"row 2, column path: is empty"),
        (["path,pid,camid", ",1,2"], r"row 2, column path: is empty"),
        (["path,pid,split", "a.jpg,1,train", "", "b.jpg,1,probe"], r"row 4, column split: unknown value 'probe'"),
        (["path,pid,modality", "a.jpg,1,thermal"], r"row 2, column modality: unknown value 'thermal'"),
        (["path,pid", "a.jpg,1", "b.jpg,1", "./a.jpg,1"], r"row 4, column path: stands twice"),
        (["path,pid,split", "a.jpg,1,query", "a.jpg,2,gallery"], r"row 3, column pid: is another one"),
        (["path,pid,camid,split", "a.jpg,1,0,query", "a.jpg,1,1,gallery"], r"row 3, column camid: is another one"),
        (["path,pid,plate_left", "a.jpg,1,5"], r"row 2, column plate_top: is empty"),
        (["path,pid,plate_corners", "a.jpg,1,1 2 3"], r"row 2, column plate_corners: not 'x1"),
        (["path,pid,plate_corners", "a.jpg,1,1 2 3 4 5 6 7 x"], r"row 2, column plate_corners: not a number: 'x'"),
        (["path,pid,plate_corners", "a.jpg,1,1 2 3 2 3 2 1 2"], r"row 2, column plate_corners: enclose nothing"),
        (["path,pid", 'a.jpg,"1'], r"is not a CSV file"),
        ([""], r"column 'path' is missing"),
        (["path,pid"], r"no split 'train'.*no rows at all"),
    ],
)
def test_a_fault_is_named_with_file_row_and_column(write, lines, message):
    root = write(*lines)
    with pytest.raises(ValueError, match=message) as error:
        Manifest(root).train()
    assert str(root) in str(error.value)


@pytest.mark.parametrize(
    ("width", "message"),
    [
        ("0", "more than 0"),
        ("-3", "more than 0"),
        ("wide", "not a number"),
        ("nan", "not a number"),
        ("inf", "not a number"),
    ],
)
def test_a_box_has_a_size(write, width, message):
    root = write("path,pid,vehicle_left,vehicle_top,vehicle_width,vehicle_height", f"a.jpg,1,0,0,{width},9")
    with pytest.raises(ValueError, match=f"row 2, column vehicle_width: .*{message}"):
        Manifest(root).train()


def test_a_missing_split_names_those_there_are(write):
    root = write("path,pid,split", "a.jpg,1,query", "b.jpg,1,gallery", "c.jpg,2,val_query")
    for split in ("val", "train", "nonsense"):
        with pytest.raises(ValueError, match=f"no split '{split}'; it has test, all"):
            Manifest(root).evaluation(split)
    with pytest.raises(ValueError, match="no split 'train'"):
        Manifest(root).train()


def test_missing_files_are_named(write, tmp_path):
    with pytest.raises(FileNotFoundError, match="no manifest"):
        Manifest(tmp_path / "elsewhere").train()
    root = write("path,pid", "a.jpg,1", "z.jpg,1")
    with pytest.raises(FileNotFoundError, match=r"row 3, column path: image not found: .*z\.jpg"):
        Manifest(root).train()
    root = write("path,pid,plate_path", "a.jpg,1,z.jpg")
    with pytest.raises(FileNotFoundError, match=r"row 2, column plate_path: .*z\.jpg"):
        Manifest(root).train()


def test_files_of_another_form_are_named(write):
    root = write("path,pid")
    (root / "manifest.csv").write_bytes("path,pid\n车.jpg,1\n".encode("gb2312"))
    with pytest.raises(ValueError, match=r"manifest\.csv is not a CSV file in UTF-8"):
        Manifest(root).train()
    (root / "manifest.parquet").write_bytes(b"path,pid")
    with pytest.raises(ValueError, match="two manifests"):
        Manifest(root).train()
    with pytest.raises(ValueError, match=r"manifest\.parquet is not a Parquet file"):
        Manifest(root / "manifest.parquet").train()
    (root / "manifest.xlsx").touch()
    with pytest.raises(ValueError, match=r"a \.csv or a \.parquet file, not .*manifest\.xlsx"):
        Manifest(root / "manifest.xlsx").train()
