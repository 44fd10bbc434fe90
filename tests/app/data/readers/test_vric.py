import pytest

from app.data.readers.vric import Vric

LINES = {
    "train": ["000001.jpg 3 12", "000002.jpg 3 13"],
    "probe": ["000003.jpg 5 12"],
    "gallery": ["000003.jpg 5 14", "000004.jpg 6 12"],
}


@pytest.fixture
def root(tmp_path):
    for part, lines in LINES.items():
        (tmp_path / f"{part}_images").mkdir()
        (tmp_path / f"vric_{part}.txt").write_text("\n".join(lines))
        for line in lines:
            (tmp_path / f"{part}_images" / line.split()[0]).touch()
    return tmp_path


def test_pictures_vehicles_and_cameras(root):
    assert [(s.path.parent.name, s.path.name, s.pid, s.camid) for s in Vric(root).train()] == [
        ("train_images", "000001.jpg", 3, 12),
        ("train_images", "000002.jpg", 3, 13),
    ]
    (test,) = Vric(root).evaluation("test")
    assert [(s.pid, s.camid) for s in test.query] == [(5, 12)]
    assert [(s.pid, s.camid) for s in test.gallery] == [(5, 14), (6, 12)]
    (train,), (everything,) = Vric(root).evaluation("train"), Vric(root).evaluation("all")
    assert len(train.query) == 2
    assert len(everything.query) == len(everything.gallery) == 5


def test_faults_are_named(root):
    with pytest.raises(ValueError, match="it has train, test, all"):
        Vric(root).evaluation("val")
    (root / "probe_images" / "000003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"probe_images.000003\.jpg"):
        Vric(root).evaluation("test")
    for line in ("000001.jpg 3", "000001.jpg three 1", "000001.jpg 3 1 1"):
        (root / "vric_train.txt").write_text(line)
        with pytest.raises(ValueError, match=r"vric_train\.txt: not '<image> <vehicle> <camera>'"):
            Vric(root).train()
    (root / "vric_train.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"vric_train\.txt"):
        Vric(root).train()
