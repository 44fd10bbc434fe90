"""Readers of visible-infrared sets, on made files of their layout and on the real one that there is."""

from pathlib import Path

import pytest
from PIL import Image

from app.core.sample import Box, Sample
from app.data.readers.msvr310 import Msvr310, Msvr310Thermal
from app.data.readers.reader import both_ways, open_reader
from app.data.readers.regdb import RegDB
from app.data.readers.rgbnt import Rgbnt, RgbntThermal
from app.data.readers.roadscene import RoadScene
from app.data.readers.sysu_mm01 import SysuMM01

SHARED = Path(__file__).parents[5] / "shared" / "data" / "roadscene-rgb-ir"


def put(path, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path)


def ids(samples):
    return [(s.pid, s.camid) for s in samples]


def test_both_ways_ask_the_one_modality_in_the_other():
    samples = [Sample(Path(f"{i}.png"), i, 0, modality=("visible", "infrared")[i % 2]) for i in range(4)]
    first, second = both_ways(samples, samples[:3])
    assert (first.name, ids(first.query), ids(first.gallery)) == (
        "infrared_to_visible",
        [(1, 0), (3, 0)],
        [(0, 0), (2, 0)],
    )
    assert (second.name, ids(second.query), ids(second.gallery)) == ("visible_to_infrared", [(0, 0), (2, 0)], [(1, 0)])


# RoadScene ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def roadscene(tmp_path):
    """Eight vehicles in four sequences of two; a photograph for each vehicle."""
    lines = ["file\tx\ty\tw\th\tvehicle_id\tclass\tsequence"]
    for i in range(8):
        lines.append(f"{i}.jpg\t{i}\t2\t3.5\t4\tv{7 - i}\tcar\ts{i // 2}")
        for folder in ("crop_LR_visible", "cropinfrared"):
            put(tmp_path / folder / f"{i}.jpg", (20, 10))
    (tmp_path / "vehicles.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_roadscene_gives_two_samples_a_box(roadscene):
    first, second = RoadScene(roadscene).evaluation("all")
    assert (first.name, second.name) == ("infrared_to_visible", "visible_to_infrared")
    assert first.query == second.gallery
    assert ids(first.gallery) == [(7 - i, 0) for i in range(8)]
    infrared = first.query[1]
    assert (infrared.path, infrared.camid) == (roadscene / "cropinfrared" / "1.jpg", 1)
    assert (infrared.vehicle_box, infrared.sequence) == (Box(1, 2, 3.5, 4), "s0")


def test_roadscene_keeps_whole_sequences_out_whatever_the_seed(roadscene):
    train, (test, _) = RoadScene(roadscene, seed=5).train(), RoadScene(roadscene).evaluation("test")
    assert len({s.pid for s in test.query}) == 2  # a quarter of eight
    assert len({s.pid for s in train}) == 6
    assert not {s.sequence for s in test.query} & {s.sequence for s in train}
    assert RoadScene(roadscene, seed=9).train() == train


def test_roadscene_names_what_is_wrong(roadscene):
    put(roadscene / "cropinfrared" / "3.jpg", (21, 10))
    with pytest.raises(ValueError, match=r"crop_LR_visible/3\.jpg and .*cropinfrared/3\.jpg are not of one size"):
        RoadScene(roadscene).train()
    (roadscene / "cropinfrared" / "3.jpg").write_text("damaged: left to whoever reads it")
    assert len(RoadScene(roadscene).evaluation("all")[0].query) == 8
    (roadscene / "cropinfrared" / "3.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"cropinfrared/3\.jpg"):
        RoadScene(roadscene).train()
    table = roadscene / "vehicles.tsv"
    table.write_text(table.read_text().replace("\t3.5\t", "\twide\t", 1))
    with pytest.raises(ValueError, match=r"'0\.jpg"):
        RoadScene(roadscene).train()
    table.write_text(table.read_text().replace("\twide\t", "\t-3\t", 1))
    with pytest.raises(ValueError, match=r"'0\.jpg"):
        RoadScene(roadscene).train()
    header = table.read_text().splitlines()[0]
    table.write_text(header + "\n")
    with pytest.raises(ValueError, match="has no vehicles"):
        RoadScene(roadscene).train()
    table.write_text(f"{header}\n1.jpg\t1\t2\t3\t4\tv1\tcar\ts1\n")
    with pytest.raises(ValueError, match="too few sequences"):
        RoadScene(roadscene).evaluation("test")
    table.write_text("file x y\n")
    with pytest.raises(ValueError, match="first line"):
        RoadScene(roadscene).train()
    with pytest.raises(ValueError, match="it has train, test, all"):
        RoadScene(roadscene).evaluation("val")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the set is not on this machine")
def test_the_real_roadscene():
    (every, _), (test, _) = (RoadScene(SHARED).evaluation(split) for split in ("all", "test"))
    assert (len(every.query), len({s.pid for s in every.query})) == (122, 119)
    assert (len(test.query), len({s.pid for s in RoadScene(SHARED).train()})) == (29, 90)


# RegDB --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def regdb(tmp_path):
    """Four persons; trials 1 and 10 train on other two."""
    for trial, order in {1: (0, 1, 2, 3), 10: (3, 2, 1, 0)}.items():
        for part, persons in (("train", order[:2]), ("test", order[2:])):
            for kind, letter in (("visible", "v"), ("thermal", "t")):
                names = [f"{kind.title()}/{p}/male_back_{letter}_{n}_{p}.bmp" for p in persons for n in range(2)]
                lines = [f"{name} {place // 2}" for place, name in enumerate(names)]
                (tmp_path / "idx").mkdir(exist_ok=True)
                (tmp_path / "idx" / f"{part}_{kind}_{trial}.txt").write_text("\n".join(lines))
                for name in names:
                    put(tmp_path / name)
    return tmp_path


def test_regdb_has_the_trial_of_the_seed(regdb):
    for seed, first in ((0, "0"), (10, "0"), (9, "3")):
        train = RegDB(regdb, seed=seed).train()
        assert [s.modality for s in train] == ["visible"] * 4 + ["infrared"] * 4
        assert train[0].path.parent.name == first
        assert ids(train) == [(0, 0), (0, 0), (1, 0), (1, 0), (0, 1), (0, 1), (1, 1), (1, 1)]
    with pytest.raises(FileNotFoundError, match=r"train_visible_3\.txt"):
        RegDB(regdb, seed=2).train()


def test_regdb_tests_in_both_directions_on_other_persons(regdb):
    first, second = RegDB(regdb).evaluation("test")
    assert {s.pid for s in first.query} == {s.pid for s in first.gallery} == {2, 3}
    assert (first.query, first.gallery) == (second.gallery, second.query)
    assert {s.pid for s in RegDB(regdb).evaluation("all")[0].query} == {0, 1, 2, 3}
    (regdb / "idx" / "test_visible_1.txt").write_text("Visible/2/a.bmp\n")
    with pytest.raises(ValueError, match=r"test_visible_1\.txt: not '<image> <person>'"):
        RegDB(regdb).evaluation("test")


# SYSU-MM01 ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sysu(tmp_path):
    """Persons 1 to 4 with three pictures each in all six cameras; 4 was never in camera 1."""
    for name, text in {"train": "1", "val": "2", "test": "3,4"}.items():
        (tmp_path / "exp").mkdir(exist_ok=True)
        (tmp_path / "exp" / f"{name}_id.txt").write_text(text + "\n")
    for camera in range(1, 7):
        for person in range(1, 5):
            for number in range(1, 4):
                if (camera, person) != (1, 4):
                    put(tmp_path / f"cam{camera}" / f"{person:04d}" / f"{number:04d}.jpg")
    return tmp_path


def test_sysu_draws_one_gallery_picture_of_each_person_and_camera(sysu):
    draws = SysuMM01(sysu).evaluation("test")
    assert [d.name for d in draws] == [f"infrared_to_visible-{trial}" for trial in range(10)]
    for draw in draws:
        assert {s.path.parts[-3] for s in draw.query} == {"cam3", "cam6"}
        assert len(draw.query) == 2 * 2 * 3
        seen = sorted((s.pid, s.path.parts[-3]) for s in draw.gallery)
        assert seen == [
            (3, "cam1"),
            *((p, c) for p in (3, 4) for c in ("cam2", "cam4", "cam5") if (p, c) != (4, "cam1")),
        ]
    assert len({d.gallery for d in draws}) > 5  # 3^7 galleries
    assert SysuMM01(sysu, seed=1).evaluation("test") != draws
    assert SysuMM01(sysu).evaluation("test") == draws
    indoor = SysuMM01(sysu).evaluation("indoor")[0]
    assert {s.path.parts[-3] for s in indoor.gallery} == {"cam1", "cam2"}
    reverse = SysuMM01(sysu).evaluation("test_reverse")[0]
    assert {s.modality for s in reverse.query} == {"visible"}
    assert sorted((s.pid, s.path.parts[-3]) for s in reverse.gallery) == [
        (p, c) for p in (3, 4) for c in ("cam3", "cam6")
    ]


def test_sysu_does_not_compare_cameras_two_and_three(sysu):
    camids = {s.path.parts[-3]: s.camid for s in SysuMM01(sysu).train()}
    assert camids["cam2"] == camids["cam3"]
    assert len(set(camids.values())) == 5
    assert {s.pid for s in SysuMM01(sysu).train()} == {1, 2}
    (sysu / "exp" / "val_id.txt").write_text("99")
    (sysu / "exp" / "train_id.txt").write_text("98")
    with pytest.raises(FileNotFoundError, match="cam1"):
        SysuMM01(sysu).train()
    (sysu / "exp" / "val_id.txt").write_text("2;3")
    with pytest.raises(ValueError, match=r"val_id\.txt"):
        SysuMM01(sysu).train()


# RGBNT and MSVR310 --------------------------------------------------------------------------------------------------


@pytest.fixture
def rgbnt(tmp_path):
    for folder, names in {
        "bounding_box_train": ["0001_c0001_001", "0002_c0003_002"],
        "query": ["0003_c0001_001"],
        "bounding_box_test": ["0003_c0001_001", "0003_c0002_004", "0004_c0008_001"],
    }.items():
        for name in names:
            put(tmp_path / "rgbir" / folder / f"{name}.jpg", (768, 128))
    return tmp_path


def test_rgbnt_cuts_the_spectra_of_a_picture(rgbnt):
    visible, near = Rgbnt(rgbnt).train()[:2]
    assert visible.path == near.path == rgbnt / "rgbir" / "bounding_box_train" / "0001_c0001_001.jpg"
    assert (visible.modality, visible.vehicle_box) == ("visible", Box(0, 0, 256, 128))
    assert (near.modality, near.vehicle_box) == ("infrared", Box(256, 0, 256, 128))
    thermal = RgbntThermal(rgbnt).train()[1]
    assert thermal.vehicle_box == Box(512, 0, 256, 128)
    first, _ = Rgbnt(rgbnt / "rgbir").evaluation("test")
    assert (ids(first.query), ids(first.gallery)) == ([(3, 0)], [(3, 0), (3, 1), (4, 7)])
    assert len(Rgbnt(rgbnt).evaluation("all")[0].query) == 5  # the query is in the gallery, too


def test_rgbn300_has_no_thermal_part_and_other_forms_are_named(rgbnt):
    folder = rgbnt / "rgbir" / "bounding_box_train"
    put(folder / "0001_c0001_001.jpg", (512, 128))
    assert Rgbnt(rgbnt).train()[1].vehicle_box == Box(256, 0, 256, 128)
    with pytest.raises(ValueError, match="no thermal"):
        RgbntThermal(rgbnt).train()
    put(folder / "0001_c0001_001.jpg", (128, 128))
    with pytest.raises(ValueError, match=r"0001_c0001_001\.jpg is 128 x 128"):
        Rgbnt(rgbnt).train()
    put(folder / "0001_c0001_001.jpg", (1024, 256))  # each picture has its own size
    assert [s.vehicle_box.left for s in Rgbnt(rgbnt).train()] == [0, 512, 0, 256]
    put(folder / "car.jpg", (512, 128))
    with pytest.raises(ValueError, match=r"car\.jpg"):
        Rgbnt(rgbnt).train()


@pytest.fixture
def msvr(tmp_path):
    for folder, names in {
        "bounding_box_train": ["0001_s001_v0_000"],
        "query3": ["0019_s012_v0_000"],
        "bounding_box_test": ["0019_s012_v0_000", "0019_s013_v2_001"],
    }.items():
        for name in names:
            for spectrum in ("vis", "ni", "th"):
                put(tmp_path / folder / name[:4] / spectrum / f"{name}.jpg")
    return tmp_path


def test_msvr310_leaves_out_the_scene(msvr):
    first, second = Msvr310(msvr).evaluation("test")
    assert [(s.pid, s.camid, s.path.parent.name) for s in first.query] == [(19, 12, "ni")]
    assert [(s.pid, s.camid, s.view) for s in first.gallery] == [(19, 12, "0"), (19, 13, "2")]
    assert {s.path.parent.name for s in second.gallery} == {"ni"}
    assert {s.path.parent.name for s in Msvr310Thermal(msvr).train()} == {"vis", "th"}
    assert len(Msvr310(msvr).evaluation("all")[0].query) == 3
    put(msvr / "query3" / "0019" / "ni" / "19.jpg")
    with pytest.raises(ValueError, match=r"query3/0019/ni/19\.jpg"):
        Msvr310(msvr).evaluation("test")


@pytest.mark.parametrize(
    "name", ["roadscene", "regdb", "sysu_mm01", "rgbnt", "rgbnt_thermal", "msvr310", "msvr310_thermal"]
)
def test_an_empty_folder_is_named(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        open_reader(name, tmp_path, seed=0).train()
