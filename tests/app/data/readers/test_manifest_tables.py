"""Tables as Excel and pandas write them: read, or refused with a hint."""

import datetime
import decimal
import math

import pyarrow
import pyarrow.parquet
import pytest

from app.data.readers.manifest import Manifest


@pytest.fixture
def write(tmp_path):
    """Write manifest.csv, and the pictures a.jpg to c.jpg beside it; gives the folder."""
    for letter in "abc":
        (tmp_path / f"{letter}.jpg").touch()

    def write_csv(*lines):
        (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path

    return write_csv


def test_values_of_excel_and_pandas_are_read_in_any_case(write):
    """Values of a column in capitals, and whole numbers that stand as 3.0 because other cells are empty."""
    root = write(
        "path,pid,camid,split,modality",
        "a.jpg,3.0,1.0,TRAIN,Visible",
        "b.jpg,10.0,2.00,Train,INFRARED",
        "c.jpg,3,1,train, ",
    )
    samples = Manifest(root).train()
    assert [(s.pid, s.camid, s.modality) for s in samples] == [
        (3, 1, "visible"),
        (10, 2, "infrared"),
        (3, 1, "visible"),
    ]


def test_every_kind_of_parquet_column_is_read(write):
    """Against the same table in CSV: categories, decimals, floats, integers, bytes, lists, nulls, times."""
    columns = {
        "path": pyarrow.array(["a.jpg", "b.jpg", "c.jpg"]).dictionary_encode(),
        "pid": pyarrow.array([7.0, None, 9.0]).fill_null(8),
        " camid ": pyarrow.array([1, 2, 3], pyarrow.uint8()),
        "split": pyarrow.array(["Query", "GALLERY", "test_gallery"]).dictionary_encode(),
        "site": pyarrow.array([True, False, None]),
        "view": pyarrow.array([b"front", None, b"rear"], pyarrow.binary()),
        "plate_text": pyarrow.array([decimal.Decimal("123.0"), None, decimal.Decimal("45.5")]),
        "plate_corners": pyarrow.array([[1.0, 2, 9, 2, 9, 5.5, 1, 5], None, None]),
        "vehicle_left": pyarrow.array([0, None, None], pyarrow.int16()),
        "vehicle_top": pyarrow.array([0.0, math.nan, None], pyarrow.float32()),
        "vehicle_width": pyarrow.array([20, None, None], pyarrow.int64()),
        "vehicle_height": pyarrow.array([10.5, None, None], pyarrow.float64()),
        "time": pyarrow.array([datetime.datetime(2024, 5, 1, 8), None, None]),
    }
    root = write(
        "path,pid,camid,split,site,view,plate_text,plate_corners,"
        "vehicle_left,vehicle_top,vehicle_width,vehicle_height,time",
        "a.jpg,7,1,query,true,front,123,1 2 9 2 9 5.5 1 5,0,0,20,10.5,2024-05-01T08:00:00",
        "b.jpg,8,2,gallery,false,,,,,,,,",
        "c.jpg,9,3,gallery,,rear,45.5,,,,,,",
    )
    pyarrow.parquet.write_table(pyarrow.table(columns), root / "odd.parquet")
    assert Manifest(root / "odd.parquet").evaluation("test") == Manifest(root).evaluation("test")


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"path;pid;camid\na.jpg;1;2\n", "the cells have semicolons between"),
        (b'"path";"pid"\n"a.jpg";"1"\n', "the cells have semicolons between"),
        (b"path;pid;site, or gate\na.jpg;1;2\n", "the cells have semicolons between"),
        (b"path\tpid\na.jpg\t1\n", "the cells have tabs between"),
        (b"path|pid\na.jpg|1\n", "the cells have bars between"),
        (b"sep=,\npath,pid\na.jpg,1\n", "this line is for Excel"),
        ("path,pid\na.jpg,1\n".encode("utf-16"), "is in UTF-16: save the table as CSV in UTF-8"),
        ("path,pid\na.jpg,1\n".encode("utf-16-be"), "it holds zeros, as UTF-16 does"),
        ("path,pid\na.jpg,1\n".encode("utf-32"), "in UTF-16: save|holds zeros"),
        (
            "path,pid,site\na.jpg,1,Café\n".encode("latin-1"),
            "not a CSV file in UTF-8: .*; save the table as CSV in UTF-8",
        ),
        (b"PK\3\4 and so on", "is a packed file, such as Excel's"),
        (b"PAR1 and so on", "is a Parquet file: its name must end in .parquet"),
        (b"path,pid,plate text\na.jpg,1,A\n", r"unknown column 'plate text'; .*; did you mean plate_text\?"),
        (b"Path,pid\na.jpg,1\n", r"unknown column 'Path'; .*; did you mean path\?"),
        (b"path,pid,cam_id\na.jpg,1,1\n", r"did you mean camid\?"),
        (b"path,pid,modalty\na.jpg,1,visible\n", r"did you mean modality\?"),
        (b",path,pid\n0,a.jpg,1\n", "Write it with index=False"),
        (b"Unnamed: 0,path,pid\n0,a.jpg,1\n", "Write it with index=False"),
        (
            b"path,pid,split\na.jpg,1,gallry\n",
            r"row 2, column split: unknown value 'gallry'; .*; did you mean gallery\?",
        ),
        (b"path,pid,modality\na.jpg,1,infra red\n", r"did you mean infrared\?"),
    ],
)
def test_a_table_of_another_form_gets_a_hint(write, content, hint):
    root = write("path,pid")
    (root / "manifest.csv").write_bytes(content)
    with pytest.raises(ValueError, match=hint) as error:
        Manifest(root).train()
    assert str(root) in str(error.value)


def test_a_byte_order_mark_and_blanks_in_the_header_are_no_fault(write):
    root = write("path,pid")
    for mark in (b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2):
        (root / "manifest.csv").write_bytes(mark + b" path , pid\r\na.jpg,1\r\n")
        assert [s.pid for s in Manifest(root).train()] == [1]


def not_utf_8():
    places = b"".join(place.to_bytes(4, "little") for place in (0, 1, 2, 3))
    return pyarrow.Array.from_buffers(pyarrow.string(), 3, [None, *map(pyarrow.py_buffer, (places, b"aa\xff"))])


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([0, 0, 2**62], pyarrow.timestamp("us")),
        pyarrow.array([0, 0, 2**50], pyarrow.timestamp("s")),
        pyarrow.array([0, 0, 2**62], pyarrow.duration("s")),
        pyarrow.array([0, 0, 2**30], pyarrow.date32()),
        pyarrow.array([0, 0, 2**60], pyarrow.time64("ns")),
        pyarrow.array([None, None, 1], pyarrow.timestamp("us", tz="Nowhere/City")),
        not_utf_8(),
    ],
    ids=lambda column: str(column.type),
)
def test_a_parquet_value_that_cannot_be_read_is_named(write, column):
    root = write()
    (root / "manifest.csv").unlink()
    table = pyarrow.table({"path": ["a.jpg", "b.jpg", "c.jpg"], "pid": [1, 2, 3], "time": column})
    pyarrow.parquet.write_table(table, root / "manifest.parquet")
    with pytest.raises(ValueError, match=r"manifest\.parquet, row 4, column time: .*; write the column as text"):
        Manifest(root).train()


def test_nanoseconds_need_no_pandas(write):
    root = write()
    (root / "manifest.csv").unlink()
    moments = pyarrow.array([1_000_000_007, 0, None], pyarrow.timestamp("ns"))
    table = pyarrow.table({"path": ["a.jpg", "b.jpg", "c.jpg"], "pid": [1, 2, 3], "time": moments})
    pyarrow.parquet.write_table(table, root / "manifest.parquet")
    assert [s.time for s in Manifest(root).train()] == ["1970-01-01T00:00:01", "1970-01-01T00:00:00", None]


@pytest.mark.parametrize("far", ["1e308", "-1e308", "134217729"])
def test_a_place_that_no_image_has_is_named(write, far):
    for column in ("plate_corners", "vehicle_left"):
        root = write(
            "path,pid,plate_corners,vehicle_left,vehicle_top,vehicle_width,vehicle_height",
            f"a.jpg,1,0 0 {far} 0 9 9 0 9,,,," if column == "plate_corners" else f"a.jpg,1,,{far},0,9,9",
        )
        with pytest.raises(ValueError, match=f"row 2, column {column}: more pixels than an image has: '{far}'"):
            Manifest(root).train()


@pytest.mark.parametrize("pid", ["9" * 5000, "0" * 5000 + "1", "9" * 5000 + ".0"])
def test_a_number_of_thousands_of_digits_is_a_name(write, pid):
    root = write("path,pid", f"a.jpg,{pid}", "b.jpg,x", f"c.jpg,{pid}")
    assert [s.pid for s in Manifest(root).train()] == [0, 1, 0]
    root = write("path,pid", f"a.jpg,{pid}", f"c.jpg,{pid}")
    assert [s.pid for s in Manifest(root).train()] == [0, 0]
