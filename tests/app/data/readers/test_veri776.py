import pytest

from app.data.readers.veri776 import Veri776

TRAIN = ["0003_c002_00016450_0.jpg", "0001_c001_00016450_0.jpg"]
QUERY = ["0002_c020_00030600_0.jpg"]
GALLERY = ["0002_c020_00030600_0.jpg", "0002_c003_00030605_1.jpg"]
ITEM = '<Item imageName="{}" vehicleID="{}" cameraID="{}" colorID="1" typeID="4"/>'


@pytest.fixture
def root(tmp_path):
    for folder, names in (("image_train", TRAIN), ("image_query", QUERY), ("image_test", GALLERY)):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    return tmp_path


def write_labels(path, rows):
    """A label file as the authors give it out, with a Chinese word so that its encoding matters."""
    items = "\n".join(ITEM.format(*row) for row in rows)
    text = f'<?xml version="1.0" encoding="gb2312"?>\n<Images Version="车辆"><Items>{items}</Items></Images>'
    path.write_bytes(text.encode("gb2312"))


def names(samples):
    return [sample.path.name for sample in samples]


def test_without_lists_pictures_come_by_name(root):
    samples = Veri776(root).train()
    assert names(samples) == sorted(TRAIN)
    assert [(sample.pid, sample.camid) for sample in samples] == [(1, 0), (3, 1)]


def test_a_name_list_decides_what_and_in_which_order(root):
    (root / "name_train.txt").write_text("\n".join(TRAIN) + "\n")
    (root / "image_train" / "0009_c001_00000001_0.jpg").touch()
    assert names(Veri776(root).train()) == TRAIN


def test_evaluation_has_query_gallery_and_everything_once(root):
    (direction,) = Veri776(root).evaluation("test")
    assert (direction.name, names(direction.query), names(direction.gallery)) == (
        "query_to_gallery",
        QUERY,
        sorted(GALLERY),
    )
    assert direction.query[0].camid == 19
    (everything,) = Veri776(root).evaluation("all")
    assert names(everything.query) == sorted(TRAIN) + sorted(GALLERY)  # the query is a copy of a gallery picture
    assert everything.query == everything.gallery
    (train,) = Veri776(root).evaluation("train")
    assert names(train.query) == names(train.gallery) == sorted(TRAIN)


def test_labels_in_gb2312_are_read_and_must_agree(root):
    write_labels(root / "train_label.xml", [(TRAIN[0], "0003", "c002"), ("0555_c001_1_0.jpg", "0555", "c001")])
    assert len(Veri776(root).train()) == 2
    write_labels(root / "train_label.xml", [(TRAIN[0], "0003", "c002"), (TRAIN[1], "0007", "c001")])
    with pytest.raises(ValueError, match=r"train_label\.xml says .*0007.* for 0001_c001_00016450_0\.jpg"):
        Veri776(root).train()


@pytest.mark.parametrize("content", [b"<a><Item/></a>", b"<a>", b"\xff\xff"])
def test_an_unreadable_label_file_is_named(root, content):
    (root / "test_label.xml").write_bytes(content)
    with pytest.raises(ValueError, match=r"test_label\.xml is not a VeRi-776 label file"):
        Veri776(root).evaluation("test")


def test_faults_are_named(root):
    with pytest.raises(ValueError, match=r"no split 'val'; it has train, test, all"):
        Veri776(root).evaluation("val")
    with pytest.raises(FileNotFoundError, match="image_train"):
        Veri776(root / "elsewhere").train()
    (root / "name_train.txt").write_text(f"{TRAIN[0]}\n0005_c001_00016450_0.jpg\n")
    with pytest.raises(FileNotFoundError, match=r"0005_c001_00016450_0\.jpg"):
        Veri776(root).train()
    (root / "name_train.txt").write_text(f"{TRAIN[0]}\n{TRAIN[0]}\n")
    with pytest.raises(ValueError, match=f"lists {TRAIN[0]} twice"):
        Veri776(root).train()
    (root / "image_query" / "query.jpg").touch()
    with pytest.raises(ValueError, match=r"not a VeRi-776 file name: .*query\.jpg"):
        Veri776(root).evaluation("test")
