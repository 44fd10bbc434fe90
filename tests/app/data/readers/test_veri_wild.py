import pytest

from app.data.readers.veri_wild import VeriWild

TRAIN = ["00001/000001.jpg", "00002/000002.jpg"]
QUERY = ["00010/000010.jpg"]
GALLERY = ["00010/000011.jpg", "00011/000012.jpg"]
HEADER = "id/image;Camera ID;Time;Model;Type;Color"


@pytest.fixture
def root(tmp_path):
    split = tmp_path / "train_test_split"
    split.mkdir()
    for name in (*TRAIN, *QUERY, *GALLERY):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    (split / "train_list.txt").write_text("\n".join(TRAIN) + "\n")
    for size in ("3000", "10000"):
        (split / f"test_{size}.txt").write_text("\n".join(GALLERY) + "\n")
        (split / f"test_{size}_query.txt").write_text("\n".join(QUERY) + "\n")
    rows = [
        f"{name[:-4]};{camera};2018-03-1{camera} 08:00:00;大众;SUV;白"
        for camera, name in enumerate((*TRAIN, *QUERY, *GALLERY), start=1)
    ]
    (split / "vehicle_info.txt").write_bytes("\r\n".join([HEADER, *rows, ""]).encode("gb18030"))
    return tmp_path


def test_cameras_and_times_come_from_the_information_file(root):
    first, second = VeriWild(root).train()
    assert (first.path, first.pid, first.camid, first.time) == (root / "images" / TRAIN[0], 1, 0, "2018-03-11 08:00:00")
    assert (second.pid, second.camid) == (2, 1)


def test_directions(root):
    (test,) = VeriWild(root).evaluation("test")
    assert [s.pid for s in test.query] == [10]
    assert [(s.pid, s.camid) for s in test.gallery] == [(10, 3), (11, 4)]
    assert VeriWild(root).evaluation("test_10000") == [test]
    (train,) = VeriWild(root).evaluation("train")
    assert len(train.query) == len(train.gallery) == 2


def test_all_holds_a_picture_once_where_the_gallery_list_holds_the_queries(root):
    (root / "train_test_split" / "test_10000.txt").write_text("\n".join([*QUERY, *GALLERY]))
    (everything,) = VeriWild(root).evaluation("all")
    assert [s.pid for s in everything.query] == [1, 2, 10, 10, 11]


def test_the_names_of_the_authors_and_further_words_are_read(root):
    split = root / "train_test_split"
    expected = VeriWild(root).train(), VeriWild(root).evaluation("test")
    (split / "train_list.txt").unlink()
    (split / "train_list_start0.txt").write_text("\n".join(f"{name} 0 23" for name in TRAIN))
    (split / "test_3000.txt").rename(split / "test_3000_id.txt")
    (split / "test_3000_query.txt").rename(split / "test_3000_id_query.txt")
    (split / "vehicle_info.txt").rename(root / "vehicle_info.txt")
    assert (VeriWild(root).train(), VeriWild(root).evaluation("test")) == expected


def test_faults_are_named(root):
    split = root / "train_test_split"
    with pytest.raises(ValueError, match="it has train, test, test_5000, test_10000, all"):
        VeriWild(root).evaluation("val")
    with pytest.raises(FileNotFoundError, match=r"test_5000_query\.txt"):
        VeriWild(root).evaluation("test_5000")
    (root / "images" / TRAIN[1]).unlink()
    with pytest.raises(FileNotFoundError, match=TRAIN[1]):
        VeriWild(root).train()
    (split / "train_list.txt").write_text("00001/000099.jpg\n")
    with pytest.raises(ValueError, match=r"00001/000099\.jpg is not in vehicle_info\.txt"):
        VeriWild(root).train()
    (split / "train_list.txt").write_text("000001.jpg\n")
    with pytest.raises(ValueError, match=r"train_list\.txt: not .*'000001\.jpg'"):
        VeriWild(root).train()
    (split / "vehicle_info.txt").write_text(f"{HEADER}\n00001/000001;c5;2018\n")
    with pytest.raises(ValueError, match=r"vehicle_info\.txt, line 2"):
        VeriWild(root).train()
    (split / "vehicle_info.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"vehicle_info\.txt"):
        VeriWild(root).train()
