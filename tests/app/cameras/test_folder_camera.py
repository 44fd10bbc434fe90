"""Watched folder: each photograph once, when it is whole, also over restarts; others are named and left."""

import shutil
import threading
import time

import pytest
from registers import photo

from app.cameras.asking import Asking
from app.cameras.folder import FolderCamera
from app.cameras.settings import WatchedFolder
from app.images.decode import file_content
from app.register.errors import BusyError
from app.register.event_tables import TakenPhoto
from app.register.schema import Sighting, now

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
RUNNING = threading.Event()


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def drop(folder, name, seed):
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    photo(seed).image.save(path)
    return path


def camera(identification, inbox, after="keep", settled=0.0, stalled=0.0):
    settings = WatchedFolder(name="yard", place="yard north", path=str(inbox), after=after)
    asking = Asking(identification, threading.Event(), first_pause=0.01)
    return FolderCamera(settings, asking, settled=settled, stalled=stalled)


def sightings(identification):
    with identification.database.reading() as session:
        return [(row.id, row.camera, row.place) for row in session.query(Sighting).order_by(Sighting.id)]


def test_photographs_are_identified_once_also_by_another_process(identification, inbox):
    drop(inbox, "a.jpg", 1)
    drop(inbox, "2026/11/b.PNG", 2)
    drop(inbox, ".hidden.jpg", 3)
    (inbox / "notes.txt").write_text("no image")
    watched = camera(identification, inbox)
    for _ in range(3):
        watched.look(RUNNING)
    assert sightings(identification) == [(1, "yard", "yard north"), (2, "yard", "yard north")]
    again = camera(identification, inbox)
    again.look(RUNNING)
    shutil.copy(inbox / "a.jpg", inbox / "a-copy.jpg")
    again.look(RUNNING)
    assert len(sightings(identification)) == 2
    assert (watched.counts.photographs, again.counts.photographs, again.counts.again) == (2, 0, 3)
    drop(inbox, "a.jpg", 4)  # another photograph under the same name
    again.look(RUNNING)
    assert len(sightings(identification)) == 3


def test_a_forgotten_sighting_does_not_come_again(identification, inbox):
    drop(inbox, "a.jpg", 1)
    camera(identification, inbox).look(RUNNING)
    identification.journal.forget_sightings(now(), "tester")
    camera(identification, inbox).look(RUNNING)
    assert sightings(identification) == []


def test_a_file_is_awaited_until_it_is_whole(identification, inbox, caplog):
    whole = drop(inbox, "whole.png", 1).read_bytes()
    (inbox / "whole.png").unlink()
    watched, path = camera(identification, inbox, settled=0.2, stalled=60.0), inbox / "a.png"
    path.touch()
    for end in (len(whole) // 2, len(whole)):
        path.write_bytes(whole[:end])
        watched.look(RUNNING)
        time.sleep(0.25)
        watched.look(RUNNING)  # half of it stands still, and is no image yet
        assert len(sightings(identification)) == (end == len(whole))
    assert watched.counts.refused == 0
    assert not caplog.text


def test_rubbish_is_named_once_and_left_and_the_others_are_identified(identification, inbox, caplog):
    (inbox / "a.jpg").write_bytes(b"no image at all")
    drop(inbox, "b.jpg", 1)
    watched = camera(identification, inbox)
    for _ in range(3):
        watched.look(RUNNING)
    assert caplog.text.count("a.jpg is left as it is") == 1
    assert (watched.counts.refused, watched.counts.queries) == (1, 1)
    assert (inbox / "a.jpg").exists()


def test_a_file_that_may_not_be_read_does_not_hold_up_the_others(identification, inbox, monkeypatch, caplog):
    closed = drop(inbox, "a.jpg", 1)
    closed.chmod(0)
    drop(inbox, "b.jpg", 2)

    def content(path):  # as for a user who is not root
        if not path.stat().st_mode & 0o400:
            raise PermissionError(13, "Permission denied", str(path))
        return file_content(path)

    monkeypatch.setattr("app.cameras.folder.file_content", content)
    watched = camera(identification, inbox)
    for _ in range(3):
        watched.look(RUNNING)
    assert caplog.text.count("a.jpg is left as it is: [Errno 13] Permission denied") == 1
    assert (watched.counts.refused, watched.counts.queries) == (1, 1)
    closed.chmod(0o600)
    watched.look(RUNNING)
    assert watched.counts.queries == 2


def test_photographs_are_deleted_if_that_is_asked_for(identification, inbox):
    drop(inbox, "a.jpg", 1)
    camera(identification, inbox).look(RUNNING)  # killed before it could delete
    again = camera(identification, inbox, "delete")
    again.look(RUNNING)
    assert list(inbox.iterdir()) == []
    assert len(sightings(identification)) == 1
    with identification.database.reading() as session:
        assert session.query(TakenPhoto).count() == 0


def test_a_folder_that_vanishes_is_tried_again(identification, inbox, caplog):
    inbox.rmdir()
    watched, stopped = camera(identification, inbox), threading.Event()
    thread = threading.Thread(target=watched.run, args=(stopped,))
    thread.start()
    deadline = time.monotonic() + 30
    while not watched.counts.outages:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    inbox.mkdir()
    drop(inbox, "a.jpg", 1)
    while not sightings(identification):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stopped.set()
    thread.join()
    assert caplog.text.count("camera yard: [Errno 2] No such file or directory") == 1
    assert "camera yard: answers again" in caplog.text


def test_a_register_that_is_busy_is_asked_again(identification, inbox, monkeypatch):
    drop(inbox, "a.jpg", 1)
    tries, identify = [], identification.identify

    def busy(*args, **kwargs):
        tries.append(1)
        if len(tries) < 4:
            raise BusyError("another process is writing")
        return identify(*args, **kwargs)

    monkeypatch.setattr(identification, "identify", busy)
    camera(identification, inbox).look(RUNNING)
    assert (len(tries), len(sightings(identification))) == (4, 1)
    tries.clear()
    monkeypatch.setattr("app.cameras.asking._TRIES", 2)
    drop(inbox, "b.jpg", 2)
    watched = camera(identification, inbox)
    with pytest.raises(BusyError):
        watched.look(RUNNING)
    watched.look(RUNNING)
    assert len(sightings(identification)) == 2
    assert watched.counts.lost == 0
