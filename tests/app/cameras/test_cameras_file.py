"""File of cameras: what cannot be used is named with its key."""

import pytest

from app.cameras.settings import CamerasFileError, read_cameras

STREAM = '[[stream]]\nname = "gate"\nurl = "rtsp://me:hunter22@host/1"\n'
BAD = {
    "": "names no camera",
    STREAM + STREAM: "two cameras have the name 'gate'",
    STREAM.replace("rtsp:", "ftp:"): r"stream.1.url: is no URL such as rtsp://host/path",
    STREAM.replace("rtsp://me:hunter22@host/1", "video.avi"): "stream.1.url",
    STREAM + "fps = 5": "unknown key stream.1.fps",
    STREAM + "most_fps = 0": "stream.1.most_fps",
    STREAM + "most_fps = nan": "stream.1.most_fps",
    STREAM + 'place = "a\\u0007b"': "stream.1.place: holds a character",
    STREAM.replace("gate", "the gate"): "stream.1.name: 'the gate' is no name",
    '[[folder]]\nname = "yard"\npath = "inbox"': "folder.1.path: 'inbox' is no absolute path",
    '[[folder]]\nname = "yard"\npath = "/inbox"\nafter = "move"': "folder.1.after",
    '[[push]]\nname = "entry"\ntoken = "short"': "push.1.token",
    STREAM + "[server]\nport = 99999": "server.port",
}


def write(folder, text):
    path = folder / "cameras.toml"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("text", "words"), BAD.items())
def test_a_mistake_is_named_with_its_key(tmp_path, text, words):
    with pytest.raises(CamerasFileError, match=f"{tmp_path}/cameras.toml.*{words}"):
        read_cameras(write(tmp_path, text))


def test_a_password_is_not_shown(tmp_path):
    with pytest.raises(CamerasFileError) as found:
        read_cameras(write(tmp_path, STREAM.replace("rtsp:", "ftp:")))
    assert "hunter22" not in str(found.value)


def test_a_file_that_others_may_read_is_refused(tmp_path):
    path = write(tmp_path, STREAM)
    path.chmod(0o644)
    with pytest.raises(CamerasFileError, match="may be read by others: chmod 600"):
        read_cameras(path)
