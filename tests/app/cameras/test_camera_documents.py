"""Cameras in docs/cameras.md: its file is read, its program sends photographs to a real server."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from event_receivers import wait_until
from registers import photo

from app.cameras.asking import Asking
from app.cameras.push import PushCameras, PushServer
from app.cameras.settings import Pushed, Server, read_cameras
from app.register.schema import Sighting

PAGE = (Path(__file__).resolve().parents[3] / "docs/cameras.md").read_text(encoding="utf-8")


def block(language, holding):
    """The code of the page in a language that holds a word."""
    return next(code for code in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if holding in code)


def test_the_file_of_the_page_is_one(tmp_path):
    path = tmp_path / "cameras.toml"
    path.touch(mode=0o600)
    path.write_text(block("toml", "[[stream]]"), encoding="utf-8")
    assert read_cameras(path).names == ["yard", "gate", "entry"]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_camera_of_the_page_sends_each_photograph_once(identification, tmp_path):
    code = block("python", "PHOTOS")
    assert len([line for line in code.splitlines() if line]) <= 20
    for number in (1, 2):
        photo(number).image.save(tmp_path / f"AB{number}.jpg")
    token = "a token of the entry"
    cameras = PushCameras([Pushed(name="entry", token=token)], Asking(identification, threading.Event()))
    server = PushServer(cameras, Server(port=0))
    place = f"http://127.0.0.1:{server.port}/cameras/entry"
    environment = {**os.environ, "URL": place, "TOKEN": token, "PHOTOS": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: cameras.counts["entry"].queries == 2, 60)
        (tmp_path / "stop").touch()
        said, _ = process.communicate(timeout=60)
    server.stop()
    assert said.count("200 {'sighting': ") == 2
    with identification.database.reading() as session:
        plates = [row.answer["camera_plate"] for row in session.query(Sighting).order_by(Sighting.id)]
    assert plates == ["AB1", "AB2"]
