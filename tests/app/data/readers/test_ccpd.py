"""Names of CCPD's files, and both layouts."""

import pytest

from app.core.sample import Box, Point
from app.data.readers.ccpd import Ccpd, parse

BLUE = "025-95_113-154&383_386&473-386&473_177&454_154&383_363&402-0_0_22_27_27_33_16-37-15.jpg"
GREEN = "04-90_267-158&448_542&553-541&553_162&551_158&448_542&450-0_1_3_24_27_33_30_24-99-116.jpg"


def named(characters, area="01"):
    return f"{area}-90_90-10&20_50&40-50&40_10&40_10&20_50&20-{characters}-37-15.jpg"


def test_the_name_holds_everything():
    """From the page of the set: 皖AY339S, corners from the lower right clockwise."""
    plate = parse(BLUE)
    assert plate.text == "皖AY339S"
    assert plate.box == Box(154, 383, 232, 90)
    assert plate.corners == (Point(154, 383), Point(363, 402), Point(386, 473), Point(177, 454))


def test_green_plates_have_eight_characters():
    """0 皖, 1 B, then D (3), 0 (24), 3 (27), 9 (33), 6 (30), 0 (24)."""
    assert parse(GREEN).text == "皖BD03960"


def test_the_last_of_each_table_is_none():
    assert parse(named("33_24_34_0_1_2_3")).text == "ABCD"  # no province, no letter, no character
    assert parse(named("32_0_22_27_27_33_34")).text == "学AY339"
    assert parse(named("31_23_23_23_23_23_23")).text == "警ZZZZZZ"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0001.jpg", "not a CCPD file name: 0001.jpg"),
        (BLUE.replace(".jpg", ".txt"), "not a CCPD file name"),
        (BLUE.replace("-37-15", "-37"), "not a CCPD file name"),
        (named("0_0_22_27_27_33"), "not a CCPD file name"),
        (named("0_0_22_27_27_33_16_1_1"), "not a CCPD file name"),
        (BLUE.replace("386&473_177&454_", "177&454_"), "not a CCPD file name"),
        (named("34_0_22_27_27_33_16"), "a character that CCPD does not have"),
        (named("0_25_22_27_27_33_16"), "a character that CCPD does not have"),
        (named("0_0_22_27_27_33_35"), "a character that CCPD does not have"),
        (named("33_24_34_34_34_34_34"), "a plate without a character"),
        (BLUE.replace("154&383_386&473-", "386&383_154&473-"), "a plate without a size"),
    ],
)
def test_other_names_are_refused_by_name(name, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse(name)
    assert name in str(caught.value)


@pytest.fixture
def ccpd2019(tmp_path):
    lists = {
        "train": [f"ccpd_base/{BLUE}", f"ccpd_base/{named('10_0_0_0_0_0_1')}"],
        "val": [f"ccpd_base/{named('0_0_0_0_0_0_2')}"],
        "test": [f"ccpd_blur/{BLUE}", f"ccpd_fn/{named('0_0_0_0_0_0_3')}", f"ccpd_blur/{named('0_0_0_0_0_0_4')}"],
    }
    (tmp_path / "splits").mkdir()
    for split, names in lists.items():
        (tmp_path / "splits" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
    return tmp_path


def make_green(root):
    for split, names in {"train": [GREEN], "val": [], "test": [named("0_1_3_24_27_33_30_25")]}.items():
        folder = root / "ccpd_green" / split
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()


def test_the_lists_of_2019_are_read(ccpd2019):
    train = Ccpd(ccpd2019).train()
    assert [(s.plate_text, s.pid, s.camid, s.site) for s in train] == [
        ("皖AY339S", 0, 0, "皖"),
        ("苏AAAAAB", 1, 1, "苏"),
    ]
    assert train[0].path == ccpd2019 / "ccpd_base" / BLUE
    assert train[0].plate_boxes == (parse(BLUE).box,)
    assert train[0].plate_corners == parse(BLUE).corners
    found = {d.name: [s.plate_text for s in d.query] for d in Ccpd(ccpd2019).evaluation("test")}
    assert found == {"ccpd_blur": ["皖AY339S", "皖AAAAAE"], "ccpd_fn": ["皖AAAAAD"]}
    assert sum(len(d.query) for d in Ccpd(ccpd2019).evaluation("all")) == 6
    with pytest.raises(ValueError, match="CCPD has no split 'query'; it has train, val, test, all"):
        Ccpd(ccpd2019).evaluation("query")


def test_the_folders_of_2020_are_read(tmp_path):
    make_green(tmp_path)
    assert [s.plate_text for s in Ccpd(tmp_path).train()] == ["皖BD03960"]
    (direction,) = Ccpd(tmp_path).evaluation("test")
    assert (direction.name, [s.plate_text for s in direction.gallery]) == ("ccpd_green", ["皖BD03961"])
    (tmp_path / "ccpd_green" / "val").rmdir()
    with pytest.raises(FileNotFoundError, match=r"folder not found: .*val"):
        Ccpd(tmp_path).evaluation("val")


def test_both_in_one_folder_are_read_together(ccpd2019):
    make_green(ccpd2019)
    assert [s.plate_text for s in Ccpd(ccpd2019).train()] == ["皖AY339S", "苏AAAAAB", "皖BD03960"]
    assert [d.name for d in Ccpd(ccpd2019).evaluation("test")] == ["ccpd_blur", "ccpd_fn", "ccpd_green"]


def test_faults_are_named(ccpd2019):
    with pytest.raises(FileNotFoundError, match="neither CCPD2019 nor CCPD2020"):
        Ccpd(ccpd2019 / "ccpd_base").train()
    (ccpd2019 / "ccpd_base" / BLUE).unlink()
    with pytest.raises(FileNotFoundError, match=r"image not found: .*025-95_113"):
        Ccpd(ccpd2019).train()
    (ccpd2019 / "splits" / "val.txt").write_text("ccpd_base/other.jpg\n")
    (ccpd2019 / "ccpd_base" / "other.jpg").touch()
    with pytest.raises(ValueError, match=r"not a CCPD file name: other\.jpg"):
        Ccpd(ccpd2019).evaluation("val")
    (ccpd2019 / "splits" / "val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"list not found: .*val\.txt"):
        Ccpd(ccpd2019).evaluation("val")
