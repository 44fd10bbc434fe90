import pytest

from app.data.readers.name_lists import read_list, require_images


def test_a_list_is_cut_at_blanks_without_mark_or_empty_lines(tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeffa.jpg 1\r\n\r\n b.jpg\t2 \r\n".encode())
    assert read_list(tmp_path / "list.txt") == [["a.jpg", "1"], ["b.jpg", "2"]]


def test_a_list_with_a_fault_is_named(tmp_path):
    path = tmp_path / "list.txt"
    with pytest.raises(FileNotFoundError, match=r"list\.txt"):
        read_list(path)
    path.write_text("a.jpg 1\nb.jpg 1\na.jpg 2\n")
    with pytest.raises(ValueError, match=r"list\.txt lists a\.jpg twice"):
        read_list(path)
    path.write_bytes("车.jpg".encode("gb2312"))
    with pytest.raises(ValueError, match=r"list\.txt is not UTF-8"):
        read_list(path)


def test_the_first_missing_picture_is_named(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jpg").touch()
    (tmp_path / "sub" / "b.jpg").touch()
    require_images(tmp_path, ["a.jpg", "sub/b.jpg"])
    with pytest.raises(FileNotFoundError, match=r"sub/c\.jpg"):
        require_images(tmp_path, ["a.jpg", "sub/c.jpg", "d.jpg"])
    with pytest.raises(FileNotFoundError, match=r"other/c\.jpg"):
        require_images(tmp_path, ["other/c.jpg"])
    with pytest.raises(FileNotFoundError, match="folder not found"):
        require_images(tmp_path / "none", [])
