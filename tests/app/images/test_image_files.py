"""Image files by name, for every reader and for commands that take folders; empty sets; linked folders."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from app.data.readers.reader import open_reader
from app.images.files import NoImagesError, files_below, images_in, images_of, is_image
from scripts import inspect_data
from scripts.command import command

CCPD = "025-95_113-154&383_386&473-386&473_177&454_154&383_363&402-0_0_22_27_27_33_16-37-1{}.jpg"
# By reader: its images, as the documents of the sets name them, and the texts beside them.
SETS: dict[str, tuple[list[str], dict[str, str]]] = {
    "veri776": (
        [
            *("image_train/0001_c001_00016450_0.jpg", "image_train/0003_c002_00016450_0.jpg"),
            *("image_query/0002_c020_00030600_0.jpg", "image_test/0002_c003_00030605_1.jpg"),
        ],
        {"train_label.xml": '<A><Item imageName="0001_c001_00016450_0.jpg" vehicleID="0001" cameraID="c001"/></A>'},
    ),
    "ccpd": ([f"ccpd_green/{part}/{CCPD.format(i)}" for i, part in enumerate(("train", "val", "test"))], {}),
    "plates_lprnet": ([f"data/test/AB{i}.jpg" for i in range(8)], {}),
    "sysu_mm01": (
        [f"cam{camera}/{person:04d}/0001.jpg" for camera in range(1, 7) for person in (1, 2, 3)],
        {"exp/train_id.txt": "1", "exp/val_id.txt": "2", "exp/test_id.txt": "3"},
    ),
    "rgbnt": (
        [
            *("bounding_box_train/0561_c0001_006.jpg", "query/0563_c0001_006.jpg"),
            *("bounding_box_test/0563_c0002_006.jpg", "bounding_box_test/0564_c0003_001.jpg"),
        ],
        {},
    ),
    "msvr310": (
        [
            f"{part}/{pid}/{kind}/{pid}_s00{scene}_v0_000.jpg"
            for part, pid, scene in (
                ("bounding_box_train", "0019", 1),
                ("query3", "0020", 2),
                ("bounding_box_test", "0020", 3),
            )
            for kind in ("vis", "ni")
        ],
        {},
    ),
    "vehicle_plate": (
        [
            f"Cruzamento{camera}/2015-03-24-19-40-01/{kind}/{name}/1.jpg"
            for camera, names in ((1, ("aaa-1", "bbb-2")), (2, ("aaa-1", "ccc-3")))
            for name in names
            for kind in ("classes_carros", "classes")
        ],
        {},
    ),
    "vehicle_id": (
        [f"image/000000{i}.jpg" for i in range(1, 5)],
        {
            "train_test_split/train_list.txt": "0000001 5\n0000002 5\n",
            "train_test_split/test_list_800.txt": "0000003 6\n0000004 6\n",
        },
    ),
}


def build(root, name, ending=".jpg"):
    images, texts = SETS[name]
    for place in images:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 20)).save(path.with_suffix(ending), "JPEG")
        for other in ("Thumbs.db", ".DS_Store", f"._{path.stem}{ending}", ".hidden.jpg", "readme.txt"):
            (path.parent / other).write_bytes(b"no image")
    for place, text in texts.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    return root


def found(root, name):
    """What a reader finds to train on and to test with, without the endings."""
    reader = open_reader(name, root, seed=0)
    samples = [*reader.train()]
    for direction in reader.evaluation("test"):
        samples += [*direction.query, *direction.gallery]

    def bare(path):
        return path and str(path.relative_to(root).with_suffix(""))

    return [(bare(s.path), s.pid, s.camid, s.modality, s.plate_text, bare(s.plate_path)) for s in samples]


@pytest.mark.parametrize("ending", [".JPG", ".jpeg", ".jfif", ".Jpe", ".PNG"])
@pytest.mark.parametrize("name", SETS)
def test_readers_find_images_of_every_ending(name, ending, tmp_path):
    """The same ones, with the same identities and cameras, as where all end in .jpg; what is no image is left out."""
    expected = found(build(tmp_path / "plain", name), name)
    assert len({row[0] for row in expected}) >= len(SETS[name][0]) // 2  # plate crops are no samples of their own
    assert found(build(tmp_path / "other", name, ending), name) == expected


@pytest.mark.parametrize("name", SETS)
def test_a_set_without_images_is_an_error_that_names_the_folder(name, tmp_path, capsys):
    """Each folder in turn: what the other folders hold is no excuse for it."""
    whole = len(found(build(tmp_path / "whole", name), name))
    for parent in sorted({Path(place).parent for place in SETS[name][0]}):
        if "classes" in parent.parts or parent.name == "val":
            continue  # a vehicle may have no plate, and nothing asks for this split
        root = build(tmp_path / str(parent).replace("/", "-"), name)
        for file in (root / parent).iterdir():
            if is_image(file.name):
                file.unlink()
        try:
            left = len(found(root, name))
        except FileNotFoundError as error:
            assert str(root) in str(error)  # noqa: PT017 - either of two outcomes
        else:  # one person or vehicle of several
            assert name in ("sysu_mm01", "vehicle_plate")
            assert left < whole
    bare = build(tmp_path / "bare", name)
    for file in list(bare.rglob("*.jpg")):
        file.unlink()
    with pytest.raises(SystemExit) as ended:
        command(inspect_data.main, [f"data={name}", f"data.root={bare}", "federation.num_clients=1"])
    assert ended.value.code == 2
    assert str(bare) in capsys.readouterr().err


def test_a_folder_without_images_is_named_with_what_was_looked_for(tmp_path):
    folder = tmp_path / "crops"
    with pytest.raises(FileNotFoundError, match=f"folder not found: {folder}"):
        images_in(folder)
    folder.mkdir()
    for name in ("readme.txt", ".hidden.jpg", "._a.jpg", "a.jpg.part"):
        (folder / name).touch()
    (folder / "folder.jpg").mkdir()
    with pytest.raises(NoImagesError, match=rf"no images in {folder}: .* \.jfif, .* \.jpg, "):
        images_in(folder)
    assert images_in(folder, required=False) == []
    (folder / "a.JPG").touch()
    assert images_in(folder) == [folder / "a.JPG"]


EMPTY = {
    "vric": ({"vric_train.txt": "", "train_images/": ""}, "vric_train.txt lists no images"),
    "two_cam": ({"train.txt": "\n\n", "val.txt": "", "test.txt": ""}, "train.txt lists no images"),
    "veri_wild": (
        {"train_test_split/vehicle_info.txt": "h\n", "train_test_split/train_list.txt": ""},
        "lists no images",
    ),
    "regdb": ({"idx/train_visible_1.txt": ""}, "train_visible_1.txt lists no images"),
    "plates_ar": ({"benchmark/anotaciones.txt": ""}, "anotaciones.txt lists no images"),
    "plates_us": ({"seg_and_ocr/groundtruth.csv": ""}, "groundtruth.csv lists no images"),
    "plates_vn_eu": ({"labels.tsv": "file\ttext\tformat\n"}, "labels.tsv lists no images"),
    "plates_easypr": ({"general_test/plates.tsv": "file\n"}, "plates.tsv lists no images"),
    "plates_openalpr": ({"endtoend/us/": "", "endtoend/eu/": "", "endtoend/br/": ""}, "no images in .*endtoend/us"),
    "words": ({"IIIT5K/labels.tsv": "", "SVT/labels.tsv": "", "ICDAR03/labels.tsv": ""}, "lists no images"),
    "word_lmdb": ({"train/MJ/": ""}, "no data.mdb below .*train"),
    "msvr310": ({"bounding_box_train/": ""}, "no vehicles in .*bounding_box_train"),
    "vehicle_plate": ({"Cruzamento1/": ""}, "no recordings .*Cruzamento1"),
    "manifest": ({"manifest.csv": "path,pid\n"}, "has no split 'train'"),
    "roadscene": ({"vehicles.tsv": "file\tx\ty\tw\th\tvehicle_id\tclass\tsequence\n"}, "vehicles.tsv has no vehicles"),
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_list_without_images_is_an_error_that_names_it(name, tmp_path):
    files, message = EMPTY[name]
    for place, text in files.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        if place.endswith("/"):
            (tmp_path / place).mkdir()
        else:
            (tmp_path / place).write_text(text)
    with pytest.raises((FileNotFoundError, ValueError), match=message) as caught:
        open_reader(name, tmp_path, seed=0).train()
    assert str(tmp_path) in str(caught.value)


def test_a_part_that_the_layout_leaves_empty_is_an_error_of_every_reader(tmp_path):
    """All vehicles pass both cameras, so that none is left to train on."""
    root = build(tmp_path, "vehicle_plate")
    for camera, lacks, has in ((1, "ccc-3", "bbb-2"), (2, "bbb-2", "aaa-1")):
        for kind in ("classes_carros", "classes"):
            recording = root / f"Cruzamento{camera}" / "2015-03-24-19-40-01" / kind
            shutil.copytree(recording / has, recording / lacks)
    reader = open_reader("vehicle_plate", root, seed=0)
    assert len(reader.evaluation("test")[0].query) == 3
    with pytest.raises(NoImagesError, match=f"{root}: no images to train on, by the layout of vehicle_plate"):
        reader.train()


ENDINGS = (".jpg", ".JPG", ".jpeg", ".JFIF", ".png", ".Tif", ".tiff", ".bmp", ".webp")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((f"a{ending}", True) for ending in ENDINGS),
        *(("a.b.jpg", True), ("x/y.JPG", True), ("车.jpg", True)),
        *((name, False) for name in ("a", "a.txt", "Thumbs.db", "._a.jpg", ".jpg", "a.jpg.part", "jpg", "x/._a.jpg")),
    ],
)
def test_image_files_by_name(name, expected):
    assert is_image(name) == expected


def test_linked_folders_are_followed_once(tmp_path):
    """A loop ends; a folder that is reached in two ways, or named twice, is read once."""
    inner = tmp_path / "set" / "inner"
    inner.mkdir(parents=True)
    for path in (tmp_path / "set" / "a.JPG", inner / "b.jpg", inner / "._b.jpg"):
        path.touch()
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "c.jfif").touch()
    (inner / "loop").symlink_to(tmp_path / "set")
    (inner / "itself").symlink_to(inner)
    (inner / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "set" / "one").symlink_to(other)
    (tmp_path / "set" / "two").symlink_to(other)
    (tmp_path / "set" / "linked.png").symlink_to(other / "c.jfif")
    expected = ["set/a.JPG", "set/inner/b.jpg", "set/linked.png", "set/one/c.jfif"]
    for places in ([tmp_path / "set"], [tmp_path / "set", inner, other, tmp_path / "set"]):
        assert [str(path.relative_to(tmp_path)) for path in images_of(places)] == expected
    assert list(images_of([tmp_path / "no.txt"])) == [tmp_path / "no.txt"]  # what is named is read, or named as missing
    assert files_below(tmp_path / "set", lambda name: name == "c.jfif") == [tmp_path / "set" / "one" / "c.jfif"]


def test_a_linked_vehicle_is_read_and_a_second_link_to_it_is_not(tmp_path):
    root = build(tmp_path / "real", "msvr310")
    vehicles = root / "bounding_box_train"
    (tmp_path / "moved").mkdir()
    (vehicles / "0019").rename(tmp_path / "moved" / "0019")
    (vehicles / "0019").symlink_to(tmp_path / "moved" / "0019")
    (vehicles / "copy").symlink_to(tmp_path / "moved" / "0019")
    assert found(root, "msvr310") == found(build(tmp_path / "plain", "msvr310"), "msvr310")
