"""Places that cannot be written are refused before the work, whatever the command."""

import pytest

from app.core.outputs import require_file_place, require_folder_place
from app.core.run_folder import RunFolder
from app.settings.checks import SettingsError
from scripts import export, federation, federation_sites, train_detector
from scripts.command import command

NO_ROOM = "/proc/self"  # a folder in which not even root can make a file


@pytest.fixture
def places(tmp_path):
    """Places by what is wrong with them: the first four for folders and files, the last two for files alone."""
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere" / "at all")
    return {
        "below a file": tmp_path / "file" / "out.onnx",
        "below a file, deeper": tmp_path / "file" / "a" / "b" / "out.onnx",
        "no room": f"{NO_ROOM}/out.onnx",
        "a link to nothing": tmp_path / "gone" / "out.onnx",
        "a missing folder": tmp_path / "missing" / "out.onnx",
        "a folder": tmp_path / "folder.onnx",
    }


FOR_FOLDERS = {
    "below a file": "/file is a file",
    "below a file, deeper": "/file is a file",
    "no room": "cannot be written",
    "a link to nothing": "/gone is a link to nothing",
}
"""What is said of a place where no folder can be."""


def refused(main, argv, capsys):
    """The line on standard error; nothing was begun, which would have taken another error or a line of output."""
    with pytest.raises(SystemExit) as ended:
        command(main, argv)
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    return line


@pytest.mark.parametrize("kind", [*FOR_FOLDERS, "a missing folder", "a folder"])
def test_export_refuses_the_place_before_it_reads_the_run(kind, places, capsys):
    line = refused(export.main, ["run=no/such/run", f"out={places[kind]}"], capsys)
    assert line.startswith("error: out: ")
    assert "cannot be written" in line or "is a folder" in line


@pytest.mark.parametrize("kind", FOR_FOLDERS)
def test_commands_that_make_a_folder_refuse_the_place_first(kind, places, capsys, monkeypatch):
    def work(*_, **__):
        raise AssertionError("the work was begun")

    monkeypatch.setattr(federation_sites, "make_secrets", work)
    monkeypatch.setattr(train_detector, "make_compute", work)
    place = str(places[kind])
    for main, words, key in (
        (train_detector.main, [place], "FOLDER"),
        (federation.main, ["keys", "--out", place], "--out"),
        (federation.main, ["init", "--name", "a", "--host", "b", "--sites", "c,d", "--out", place], "--out"),
    ):
        line = refused(main, words, capsys)
        assert line.startswith(f"error: {key}: ")
        assert FOR_FOLDERS[kind] in line
    with pytest.raises(SettingsError, match=r"^run_dir: "):
        RunFolder(place)


def test_a_key_that_is_there_stays_where_a_new_one_cannot_be_written(tmp_path, capsys, monkeypatch):
    """Not even put aside."""
    federation.main(["keys", "--out", str(tmp_path)])
    capsys.readouterr()
    before = sorted(path.name for path in tmp_path.iterdir())

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    line = refused(federation.main, ["keys", "--rotate", "--out", str(tmp_path)], capsys)
    assert line == f"error: --out: {tmp_path} cannot be written: No space left on device"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_places_that_can_be_written_stay_as_they_are(tmp_path):
    (tmp_path / "old.onnx").write_text("kept")
    require_file_place("out", tmp_path / "old.onnx")
    require_file_place("out", tmp_path / "new.onnx")
    require_folder_place("out", tmp_path / "a" / "b" / "c")
    require_folder_place("out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["old.onnx"]
    assert (tmp_path / "old.onnx").read_text() == "kept"
