from pathlib import Path

import pytest

from app.data.readers.two_cam import TwoCam

LISTS = {
    "train": ["truck_0001_cam2.jpg", "truck_0001_cam1.jpg", "car_0001_cam1.jpg", "car_0001_cam2.jpg"],
    "val": ["car_0002_cam1.jpg", "car_0002_cam2.jpg"],
    "test": ["car_0001_cam2.jpg", "car_0001_cam1.jpg"],
}
REAL = Path(__file__).parents[5] / "shared" / "data" / "vehicle-reid-2cam"


@pytest.fixture
def root(tmp_path):
    for split, names in LISTS.items():
        folder = tmp_path / "images" / ("test" if split == "test" else "train")
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            (folder / name).touch()
    return tmp_path


def test_a_vehicle_is_its_folder_type_and_number(root):
    assert [(s.pid, s.camid) for s in TwoCam(root).train()] == [(2, 1), (2, 0), (0, 0), (0, 1)]
    assert {s.pid for d in TwoCam(root).evaluation("val") for s in d.query} == {1}
    assert {s.pid for d in TwoCam(root).evaluation("test") for s in d.query} == {3}  # car_0001 of the other folder


@pytest.mark.parametrize(("split", "vehicles"), [("train", 2), ("val", 1), ("test", 1), ("all", 4)])
def test_both_directions(root, split, vehicles):
    there, back = TwoCam(root).evaluation(split)
    assert (there.name, back.name) == ("cam1_to_cam2", "cam2_to_cam1")
    assert (there.query, there.gallery) == (back.gallery, back.query)
    assert [s.camid for s in there.query] == [0] * vehicles
    assert [s.camid for s in there.gallery] == [1] * vehicles


def test_faults_are_named(root):
    with pytest.raises(ValueError, match="it has train, val, test, all"):
        TwoCam(root).evaluation("query")
    (root / "images" / "test" / "car_0001_cam1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"car_0001_cam1\.jpg"):
        TwoCam(root).evaluation("test")
    (root / "val.txt").write_text("car_0001_cam1.jpg\n")
    with pytest.raises(ValueError, match=r"train\.txt and val\.txt of .* share a vehicle: car_0001_cam1\.jpg"):
        TwoCam(root).train()
    (root / "train.txt").write_text("car_0001_cam3.jpg\n")
    with pytest.raises(ValueError, match=r"train\.txt: not .*'car_0001_cam3\.jpg'"):
        TwoCam(root).train()
    (root / "train.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.txt"):
        TwoCam(root).evaluation("test")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pictures are not beside the repository")
def test_the_real_set_has_its_published_counts():
    reader = TwoCam(REAL)
    assert len(reader.train()) == 2 * 283
    counts = {
        split: len({s.pid for s in reader.evaluation(split)[0].query}) for split in ("train", "val", "test", "all")
    }
    assert counts == {"train": 283, "val": 71, "test": 42, "all": 396}
