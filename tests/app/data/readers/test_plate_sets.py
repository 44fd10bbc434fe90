"""Readers of the plate sets, on made files of their layout and on the real ones where they are."""

from pathlib import Path

import pytest

from app.core.sample import Box, Sample
from app.data.readers.plate_splits import split_by_text
from app.data.readers.plates_easypr import PlatesEasyPr
from app.data.readers.plates_openalpr import PlatesOpenAlpr

SHARED = Path(__file__).parents[5] / "shared" / "data"


@pytest.fixture
def openalpr(tmp_path):
    for region, rows in {"us": ["AB1", "CD2"], "eu": ["EF3"], "br": ["AB1"]}.items():
        folder = tmp_path / "endtoend" / region
        folder.mkdir(parents=True)
        for number, text in enumerate(rows):
            (folder / f"{number}.jpg").touch()
            (folder / f"{number}.txt").write_text(f"{number}.jpg\t10\t20\t30\t8\t{text}\n")
    return tmp_path


@pytest.fixture
def easypr(tmp_path):
    folder = tmp_path / "general_test"
    folder.mkdir()
    rows = [("a", "京A1"), ("a", "京B2"), ("b", "京B2"), ("c", "京C3"), ("d", "京D4"), ("e", "京E5")]
    for name, _ in rows:
        (folder / f"{name}.jpg").touch()
    lines = [f"{name}.jpg\t1\t2\t30\t10\tblue\t{text}" for name, text in rows]
    (folder / "plates.tsv").write_text("\n".join(["file\tx\ty\tw\th\tcolour\ttext", *lines]) + "\n", encoding="utf-8")
    return tmp_path


def test_openalpr_is_read_by_region(openalpr):
    (direction,) = PlatesOpenAlpr(openalpr).evaluation("all")
    assert [(s.site, s.path.name, s.plate_text, s.pid, s.camid) for s in direction.query] == [
        ("us", "0.jpg", "AB1", 0, 0),
        ("us", "1.jpg", "CD2", 1, 0),
        ("eu", "0.jpg", "EF3", 2, 1),
        ("br", "0.jpg", "AB1", 0, 2),  # the same text is the same plate
    ]
    assert direction.query[0].plate_boxes == (Box(10, 20, 30, 8),)


def test_easypr_gives_a_sample_for_each_plate(easypr):
    (direction,) = PlatesEasyPr(easypr).evaluation("all")
    assert [(s.path.stem, s.plate_text, s.pid, s.camid) for s in direction.query][:3] == [
        ("a", "京A1", 0, 0),
        ("a", "京B2", 1, 0),
        ("b", "京B2", 1, 1),
    ]


def test_photographs_that_share_a_plate_stay_together():
    """a and b share B2, b and f share F6: all three are on one side, as plates and as files."""
    rows = [("a", "A1"), ("a", "B2"), ("b", "B2"), ("b", "F6"), ("f", "F6"), ("c", "C3"), ("d", "D4"), ("e", "E5")]
    samples = [Sample(Path(name), 0, 0, plate_text=text) for name, text in rows]
    train, test = split_by_text(samples)
    assert sorted(map(rows.index, ((s.path.name, s.plate_text) for s in (*train, *test)))) == list(range(len(rows)))
    assert {s.path for s in train}.isdisjoint(s.path for s in test)
    assert {s.plate_text for s in train}.isdisjoint(s.plate_text for s in test)
    assert (
        len({s.plate_text for s in test if s.path.name not in "abf"} | {"abf" for s in test if s.path.name in "abf"})
        == 1
    )


def test_faults_are_named(openalpr, easypr):
    label = openalpr / "endtoend" / "us" / "0.txt"
    label.write_text("0.jpg 10 20 30 8 AB1\n")  # blanks in place of tabs
    with pytest.raises(ValueError, match=r"0\.txt: not 'file left top width height text'"):
        PlatesOpenAlpr(openalpr).train()
    label.write_text("9.jpg\t10\t20\t30\t8\tAB1\n")
    with pytest.raises(FileNotFoundError, match=r"0\.txt: image not found"):
        PlatesOpenAlpr(openalpr).train()
    with pytest.raises(FileNotFoundError, match="folder not found"):
        PlatesOpenAlpr(easypr / "general_test").train()
    with pytest.raises(ValueError, match="has no split 'val'"):
        PlatesEasyPr(easypr).evaluation("val")
    (easypr / "general_test" / "c.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"plates\.tsv: image not found"):
        PlatesEasyPr(easypr).train()
    with pytest.raises(FileNotFoundError, match="table not found"):
        PlatesEasyPr(easypr / "general_test").train()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real pictures are not here")
@pytest.mark.parametrize(
    ("reader", "folder", "photographs", "plates"),
    [(PlatesOpenAlpr, "plates-openalpr", 312, 302), (PlatesEasyPr, "plates-easypr-cn", 177, 201)],
)
def test_the_real_sets_are_as_described(reader, folder, photographs, plates):
    (everything,) = reader(SHARED / folder).evaluation("all")
    assert len({s.path for s in everything.query}) == photographs
    assert len({s.pid for s in everything.query}) == plates
    train, (test,) = reader(SHARED / folder).train(), reader(SHARED / folder).evaluation("test")
    assert len(train) + len(test.query) == len(everything.query)
    assert {s.path for s in train}.isdisjoint(s.path for s in test.query)
    assert {s.pid for s in train}.isdisjoint(s.pid for s in test.query)
    assert len(test.query) / len(everything.query) == pytest.approx(0.25, abs=0.01)
