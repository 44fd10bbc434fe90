"""Readers of plates cut out of photographs, and of all sets by country, on made files and on the real ones."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from app.core.sample import Sample
from app.data.crops import ImageReader
from app.data.readers.plates_ar import PlatesAr
from app.data.readers.plates_countries import COUNTRIES, PlatesChina, PlatesCountries
from app.data.readers.plates_easypr import PlatesEasyPr
from app.data.readers.plates_lprnet import PlatesLprNet
from app.data.readers.plates_openalpr import PlatesOpenAlpr
from app.data.readers.plates_us import PlatesUs
from app.data.readers.plates_vn_eu import EUROPE, VIETNAM, PlatesVnEu
from app.data.readers.reader import by_alphabet, open_reader
from app.settings.load import load_settings
from models.alphabet import Alphabet, plain

SHARED = Path(__file__).parents[5] / "shared" / "data"
real = pytest.mark.skipif(not SHARED.is_dir(), reason="the real pictures are not here")


def touch(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def write_lprnet(root, texts=("皖AAV358", "皖A46E18")):
    touch(root / "data" / "test", [f"{text}.jpg" for text in texts])
    return root


def write_ar(root, texts=("AD054JI", "JPU238", "AD054JI")):
    touch(root / "benchmark" / "imgs", [f"night_{i}.png" for i in range(len(texts))])
    lines = [f"benchmark/imgs/night_{i}.png\t{text}\n" for i, text in enumerate(texts)]
    (root / "benchmark" / "anotaciones.txt").write_text("".join(lines))
    return root


def write_vn_eu(root, rows=(("ZG8894-AB", "hr"), ("54-T15417", "vn-two-line"), ("59L.2149", "vn-one-line"))):
    touch(root / "images", [f"{i}.jpg" for i in range(len(rows))])
    lines = [f"images/{i}.jpg\t{text}\t{kind}\n" for i, (text, kind) in enumerate(rows)]
    (root / "labels.tsv").write_text("".join(["file\ttext\tformat\n", *lines]))
    return root


def write_us(root, rows=(("ak", "FUW999"), ("ny", "FUW999"), ("ca", "6A5730A"))):
    touch(root / "seg_and_ocr" / "usimages", [f"{state}{i}.jpg" for i, (state, _) in enumerate(rows)])
    lines = [f"{state}{i}.jpg,{state},{text}\n" for i, (state, text) in enumerate(rows)]
    (root / "seg_and_ocr" / "groundtruth.csv").write_text("".join(lines))
    return root


def write_openalpr(root, rows):
    for region in ("us", "eu", "br"):
        touch(root / "endtoend" / region, [f"{text}.jpg" for where, text in rows if where == region])
    for region, text in rows:
        (root / "endtoend" / region / f"{text}.txt").write_text(f"{text}.jpg\t1\t2\t30\t10\t{text}\n")
    return root


def write_easypr(root, rows):
    touch(root / "general_test", {name for name, _ in rows})
    lines = [f"{name}\t1\t2\t30\t10\tblue\t{text}\n" for name, text in rows]
    (root / "general_test" / "plates.tsv").write_text("".join(["file\tx\ty\tw\th\tcolour\ttext\n", *lines]), "utf-8")
    return root


def read(reader):
    (direction,) = reader.evaluation("all")
    return [(s.path.name, s.plate_text, s.pid, s.camid, s.site) for s in direction.query]


def test_crops_are_the_plate_and_the_file(tmp_path):
    (direction,) = PlatesLprNet(write_lprnet(tmp_path)).evaluation("all")
    assert [(s.plate_text, s.pid, s.camid, s.site) for s in direction.query] == [
        ("皖A46E18", 0, 0, "cn"),
        ("皖AAV358", 1, 1, "cn"),
    ]
    Image.new("RGB", (94, 24), (9, 8, 7)).save(direction.query[0].path)
    sample = direction.query[0]
    assert sample.plate_path == sample.path
    assert ImageReader((8, 8), (24, 94), 1).plate(sample)[:, 5, 5].tolist() == pytest.approx([9, 8, 7], abs=2)  # JPEG


def test_argentina(tmp_path):
    assert read(PlatesAr(write_ar(tmp_path))) == [
        ("night_0.png", "AD054JI", 0, 0, "ar"),
        ("night_1.png", "JPU238", 1, 1, "ar"),
        ("night_2.png", "AD054JI", 0, 2, "ar"),
    ]


def test_vietnam_and_europe_by_format_without_separators(tmp_path):
    assert read(PlatesVnEu(write_vn_eu(tmp_path))) == [
        ("0.jpg", "ZG8894AB", 2, 0, "hr"),
        ("1.jpg", "54T15417", 0, 1, "vn-two-line"),
        ("2.jpg", "59L2149", 1, 2, "vn-one-line"),
    ]


def test_the_united_states_by_state(tmp_path):
    assert read(PlatesUs(write_us(tmp_path))) == [
        ("ak0.jpg", "FUW999", 1, 0, "ak"),
        ("ny1.jpg", "FUW999", 1, 1, "ny"),
        ("ca2.jpg", "6A5730A", 0, 2, "ca"),
    ]


def test_faults_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder not found"):
        PlatesLprNet(tmp_path).train()
    touch(tmp_path / "data" / "test", ["皖A-46E18.jpg"])
    with pytest.raises(ValueError, match=r"not the text of a plate: .*皖A-46E18\.jpg"):
        PlatesLprNet(tmp_path).train()
    with pytest.raises(FileNotFoundError, match=r"table not found: .*labels\.tsv"):
        PlatesVnEu(tmp_path).train()
    with pytest.raises(ValueError, match=r"labels\.tsv: unknown format 'fr' of 0\.jpg"):
        PlatesVnEu(write_vn_eu(tmp_path, [("AB123CD", "fr")])).train()
    root = write_us(tmp_path)
    table = root / "seg_and_ocr" / "groundtruth.csv"
    for wrong, message in {
        "ak0.jpg,FUW999": r"groundtruth\.csv: not 'file state text': 'ak0\.jpg,FUW999'",
        "ak0.jpg,ak,": "not 'file state text'",
        "ak0.jpg,ak,A1\nak0.jpg,ak,A1": r"lists ak0\.jpg twice",
    }.items():
        table.write_text(wrong)
        with pytest.raises(ValueError, match=message):
            PlatesUs(root).train()
    table.write_bytes("ak0.jpg,ak,Ñ1".encode("latin-1"))
    with pytest.raises(ValueError, match=r"groundtruth\.csv is not UTF-8 text"):
        PlatesUs(root).train()
    table.write_text("zz.jpg,ak,A1")
    with pytest.raises(FileNotFoundError, match=r"image not found: .*zz\.jpg"):
        PlatesUs(root).train()


@pytest.fixture
def countries(tmp_path):
    """Twenty plates a set. cn's photographs show the plates of its crops, two in each; those of us every other.

    Sets are divided apart from each other, so that some plates would be on both sides."""
    plates = [f"AB{number:03d}" for number in range(20)]
    write_lprnet(tmp_path / "plates-lprnet-cn", [f"皖{text}" for text in plates])
    pairs = [(f"{number // 2}.jpg", f"皖{text}") for number, text in enumerate(plates)]
    write_easypr(tmp_path / "plates-easypr-cn", pairs)
    write_us(tmp_path / "plates-openalpr", [("ak", text) for text in plates])
    rows = [("us", text) for text in plates[::2]] + [("eu", f"E{text}") for text in plates]
    write_openalpr(tmp_path / "plates-openalpr", [*rows, ("br", "BRA1234")])
    write_ar(tmp_path / "plates-ar", plates)
    kinds = ("vn-one-line", "vn-two-line", "hr", "cz")
    write_vn_eu(tmp_path / "plates-vn-eu", [(text, kinds[number % 4]) for number, text in enumerate(plates)])
    return tmp_path


def test_a_direction_for_each_set_and_country(countries):
    found = {d.name: d.query for d in PlatesCountries(countries).evaluation("all")}
    assert {name: (len(samples), {s.site for s in samples}) for name, samples in found.items()} == {
        "cn_crops": (20, {"cn"}),
        "cn_photographs": (20, {"cn"}),
        "us_crops": (20, {"us"}),
        "us_photographs": (10, {"us"}),
        "ar": (20, {"ar"}),
        "vn": (10, {"vn"}),
        "europe_crops": (10, {"europe"}),
        "europe_photographs": (20, {"europe"}),
    }
    everything = [sample for samples in found.values() for sample in samples]
    pids = {(s.site, s.plate_text): s.pid for s in everything}
    assert sorted(pids.values()) == list(range(len(pids)))  # AB000 of the United States is not that of Argentina
    assert len({s.camid for s in everything}) == len({s.path for s in everything})
    with pytest.raises(ValueError, match="has no split 'val'; it has train, test, all"):
        PlatesCountries(countries).evaluation("val")


def check_sides(root):
    """No plate of a country and no picture is on both sides; the set's own test is held out. Gives what was moved."""
    reader = PlatesCountries(root)
    train, test = reader.train(), [s for d in reader.evaluation("test") for s in d.query]
    assert Counter(s.site for s in (*train, *test)) == Counter(
        s.site for d in reader.evaluation("all") for s in d.query
    )
    assert {s.pid for s in train}.isdisjoint(s.pid for s in test)
    assert {s.path for s in train}.isdisjoint(s.path for s in test)
    own = {
        (s.path, s.plate_text)
        for cls, folder in {
            PlatesLprNet: "plates-lprnet-cn",
            PlatesEasyPr: "plates-easypr-cn",
            PlatesUs: "plates-openalpr",
            PlatesOpenAlpr: "plates-openalpr",
            PlatesAr: "plates-ar",
            PlatesVnEu: "plates-vn-eu",
        }.items()
        for s in cls(root / folder).evaluation("test")[0].query
        if s.site != "br"
    }
    joint = {(s.path, s.plate_text) for s in test}
    assert own <= joint
    return joint - own


def test_china_alone_is_the_part_of_all_countries(countries):
    """The same plates on the same sides; nothing of the other sets is opened, which are not there."""
    every, alone = PlatesCountries(countries), countries.parent / "alone"
    alone.mkdir()
    for folder in ("plates-lprnet-cn", "plates-easypr-cn"):
        (alone / folder).symlink_to(countries / folder)
    china = PlatesChina(alone)
    names = lambda samples: [(s.path.name, s.plate_text) for s in samples]  # noqa: E731
    assert names(china.train()) == names(s for s in every.train() if s.site == "cn")
    expected = {d.name: names(d.query) for d in every.evaluation("test") if d.name.startswith("cn")}
    assert {d.name: names(d.query) for d in china.evaluation("test")} == expected
    with pytest.raises(ValueError, match="the sets of China has no split 'val'"):
        china.evaluation("val")


def test_a_plate_of_two_sets_is_on_one_side(countries):
    moved = check_sides(countries)
    assert {path.parent.name for path, _ in moved} >= {"usimages", "test"}  # the case is there to be seen


def test_texts_outside_an_alphabet_are_given_back():
    samples = [Sample(Path("a"), 0, 0, plate_text=text) for text in ("AB1", "皖A1", None, "A1")]
    written, others = by_alphabet(samples, Alphabet("AB1"))
    assert [s.plate_text for s in written] == ["AB1", "A1"]
    assert [s.plate_text for s in others] == ["皖A1", None]


@pytest.mark.parametrize(
    "name",
    ["plates_lprnet", "plates_ar", "plates_vn_eu", "plates_us", "plates_countries", "ccpd", "words", "word_lmdb"],
)
def test_every_set_has_its_settings(name, tmp_path):
    settings = load_settings([f"data={name}", f"data.root={tmp_path}"]).data
    reader = open_reader(settings.reader, tmp_path, seed=0)
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        reader.train()


@real
@pytest.mark.parametrize(
    ("cls", "folder", "pictures", "plates", "sites"),
    [
        (PlatesLprNet, "plates-lprnet-cn", 700, 700, 1),
        (PlatesAr, "plates-ar", 102, 97, 1),
        (PlatesVnEu, "plates-vn-eu", 1489, 1009, 4),
        (PlatesUs, "plates-openalpr", 525, 506, 50),
    ],
)
def test_the_real_sets_are_as_described(cls, folder, pictures, plates, sites):
    (everything,) = cls(SHARED / folder).evaluation("all")
    assert len({s.path for s in everything.query}) == len(everything.query) == pictures
    assert len({s.pid for s in everything.query}) == plates
    assert len({s.site for s in everything.query}) == sites
    assert by_alphabet(everything.query, Alphabet()) == (list(everything.query), [])
    train, (test,) = cls(SHARED / folder).train(), cls(SHARED / folder).evaluation("test")
    assert {s.pid for s in train}.isdisjoint(s.pid for s in test.query)
    assert len(test.query) / pictures == pytest.approx(0.25, abs=0.02)


@pytest.mark.slow
@real
def test_the_real_countries_are_as_described():
    everything = [s for d in PlatesCountries(SHARED).evaluation("all") for s in d.query]
    assert Counter(s.site for s in everything) == {"cn": 905, "us": 682, "ar": 102, "vn": 1263, "europe": 301}
    assert {s.site for s in PlatesCountries(SHARED).train()} == set(COUNTRIES)
    assert len({s.pid for s in everything}) == 2730
    assert all(s.has_plate and s.plate_text == plain(s.plate_text) for s in everything)
    assert Counter(s.site for s in PlatesVnEu(SHARED / "plates-vn-eu").train()).keys() == {*VIETNAM, *EUROPE}
    ((path, _),) = check_sides(SHARED)
    assert path.parts[-3:-1] == ("endtoend", "us")
