import shutil
from pathlib import Path

import pytest

from app.data.readers.vehicle_plate import VehiclePlate

RECORDING = "2015-03-24-19-40-01"
SEEN = {"Cruzamento1": ["bbb-2222", "aaa-1111"], "Cruzamento2": ["bbb-2222", "ccc-3333"]}
FRAMES = ["99", "100"]  # in another order by name than by number
REAL = Path(__file__).parents[5] / "shared" / "data" / "vehicle-plate-dual-2cam"


@pytest.fixture
def root(tmp_path):
    for camera, vehicles in SEEN.items():
        for vehicle in vehicles:
            for kind in ("classes_carros", "classes"):
                folder = tmp_path / camera / RECORDING / kind / vehicle
                folder.mkdir(parents=True)
                for frame in FRAMES:
                    (folder / f"{frame}.jpg").touch()
    return tmp_path


def test_train_holds_the_vehicles_of_one_camera_with_their_plates(root):
    samples = VehiclePlate(root).train()
    assert [(s.pid, s.camid, s.plate_text, s.path.stem) for s in samples] == [
        (0, 0, "AAA1111", "99"),
        (0, 0, "AAA1111", "100"),
        (2, 1, "CCC3333", "99"),
        (2, 1, "CCC3333", "100"),
    ]
    assert samples[0].plate_path == root / "Cruzamento1" / RECORDING / "classes" / "aaa-1111" / "99.jpg"
    assert samples[0].has_plate
    assert samples[0].time == RECORDING


def test_the_test_is_across_cameras_and_all_adds_distractors(root):
    there, back = VehiclePlate(root).evaluation("test")
    assert (there.name, back.name) == ("cam1_to_cam2", "cam2_to_cam1")
    assert [(s.pid, s.camid) for s in there.query] == [(1, 0)] * 2
    assert [(s.pid, s.camid) for s in there.gallery] == [(1, 1)] * 2
    assert (back.query, back.gallery) == (there.gallery, there.query)
    there, back = VehiclePlate(root).evaluation("all")
    assert [s.pid for s in there.query] == [1, 1]
    assert [s.pid for s in there.gallery] == [1, 1, 2, 2]
    assert [s.pid for s in back.gallery] == [0, 0, 1, 1]


def test_a_frame_without_a_plate_crop_is_kept(root):
    (root / "Cruzamento1" / RECORDING / "classes" / "aaa-1111" / "99.jpg").unlink()
    first, second = VehiclePlate(root).train()[:2]
    assert first.plate_path is None
    assert first.plate_text == "AAA1111"
    assert second.plate_path is not None


def test_faults_are_named(root):
    for split in ("train", "val"):
        with pytest.raises(ValueError, match="it has test, all"):
            VehiclePlate(root).evaluation(split)
    folder = root / "Cruzamento2" / RECORDING
    (folder / "classes_carros" / "ccc-3333" / "last.jpg").touch()
    with pytest.raises(ValueError, match=r"not a frame number: .*last\.jpg"):
        VehiclePlate(root).train()
    shutil.rmtree(folder / "classes")
    with pytest.raises(FileNotFoundError, match=r"Cruzamento2.*classes"):
        VehiclePlate(root).train()
    shutil.rmtree(root / "Cruzamento2")
    with pytest.raises(FileNotFoundError, match="Cruzamento2"):
        VehiclePlate(root).evaluation("test")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pictures are not beside the repository")
def test_the_real_set_has_its_published_counts():
    train = VehiclePlate(REAL).train()
    assert (len(train), len({s.pid for s in train})) == (80, 8)
    assert [(len(d.query), len(d.gallery)) for d in VehiclePlate(REAL).evaluation("test")] == [(30, 30)] * 2
    assert [(len(d.query), len(d.gallery)) for d in VehiclePlate(REAL).evaluation("all")] == [(30, 70)] * 2
    assert all(s.has_plate for s in train)
