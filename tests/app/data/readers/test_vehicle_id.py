import pytest

from app.data.readers.vehicle_id import VehicleID

TEST = [("0000010", 7), ("0000011", 7), ("0000012", 7), ("0000013", 8), ("0000014", 8), ("0000015", 9)]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "image").mkdir()
    (tmp_path / "train_test_split").mkdir()
    write_list(tmp_path, "train_list", [("0000001", 1), ("0000002", 2), ("0000003", 1)])
    write_list(tmp_path, "test_list_800", TEST)
    write_list(tmp_path, "test_list_1600", [*TEST, ("0000016", 12)])
    return tmp_path


def write_list(root, name, rows):
    (root / "train_test_split" / f"{name}.txt").write_text("".join(f"{image} {pid}\n" for image, pid in rows))
    for image, _ in rows:
        (root / "image" / f"{image}.jpg").touch()


def test_train_follows_the_list(root):
    samples = VehicleID(root).train()
    assert [(s.path.name, s.pid, s.camid) for s in samples] == [
        ("0000001.jpg", 1, 0),
        ("0000002.jpg", 2, 0),
        ("0000003.jpg", 1, 0),
    ]


def test_each_draw_has_one_gallery_picture_a_vehicle_and_the_others_as_queries(root):
    directions = VehicleID(root, seed=3).evaluation("test")
    assert [direction.name for direction in directions] == [f"draw-{draw}" for draw in range(10)]
    for direction in directions:
        assert sorted(s.pid for s in direction.gallery) == [7, 8, 9]
        assert {s.camid for s in direction.gallery} == {1}
        assert {s.camid for s in direction.query} == {0}
        both = [s.path.stem for s in (*direction.query, *direction.gallery)]
        assert sorted(both) == [image for image, _ in TEST]
    assert len({direction.gallery for direction in directions}) > 1


def test_draws_depend_on_the_seed_alone(root):
    assert VehicleID(root, seed=3).evaluation("test") == VehicleID(root, seed=3).evaluation("test")
    assert VehicleID(root, seed=3).evaluation("test") != VehicleID(root, seed=4).evaluation("test")


def test_train_and_all_are_one_draw(root):
    (train,) = VehicleID(root).evaluation("train")
    assert (len(train.query), len(train.gallery)) == (1, 2)
    (everything,) = VehicleID(root).evaluation("all")
    assert sorted(s.pid for s in everything.gallery) == [1, 2, 7, 8, 9, 12]
    assert len(everything.query) + len(everything.gallery) == 3 + 7
    assert len(VehicleID(root).evaluation("test_1600")) == 10


def test_faults_are_named(root):
    with pytest.raises(ValueError, match="it has train, test, test_1600"):
        VehicleID(root).evaluation("val")
    with pytest.raises(FileNotFoundError, match="test_list_2400"):
        VehicleID(root).evaluation("test_2400")
    write_list(root, "test_list_1600", [("0000010", 99)])
    with pytest.raises(ValueError, match=r"two vehicles for .*0000010\.jpg"):
        VehicleID(root).evaluation("all")
    (root / "image" / "0000002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"0000002\.jpg"):
        VehicleID(root).train()
    for line in ("0000001 x", "0000001", "0000001 1 2"):
        (root / "train_test_split" / "train_list.txt").write_text(f"{line}\n")
        with pytest.raises(ValueError, match=f"not '<image> <vehicle>': '{line}'"):
            VehicleID(root).train()
