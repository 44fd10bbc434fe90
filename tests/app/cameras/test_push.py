"""Photographs that cameras push by HTTP, as forms or as images alone, to a real server."""

import base64
import contextlib
import socket
import threading
import time

import httpx
import pytest
from event_receivers import expired_certificate
from web_service import jpeg

from app.cameras.asking import Asking
from app.cameras.push import PushCameras, PushServer
from app.cameras.settings import CamerasFileError, Pushed, Server
from app.register.errors import BusyError, DatabaseAwayError
from app.register.schema import Sighting

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
TOKEN = "a token of the entry"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HERE = Server(port=0)
FORM = "multipart/form-data; boundary=aa"


@pytest.fixture
def cameras(identification):
    cameras = [Pushed(name="entry", place="east", token=TOKEN), Pushed(name="exit", token=TOKEN[::-1])]
    return PushCameras(cameras, Asking(identification, threading.Event(), first_pause=0.01))


@pytest.fixture
def half_sent():
    """Sends half a photograph to a server, on a connection that stays open."""
    head = f"POST /cameras/entry HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    with contextlib.ExitStack() as open_ones:

        def send(server):
            sent = open_ones.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            sent.sendall(f"{head}Content-Type: image/jpeg\r\nContent-Length: 9\r\n\r\nabc".encode())
            sent.settimeout(10)
            return sent

        yield send


@pytest.fixture
def post(cameras):
    server = PushServer(cameras, HERE)
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield lambda path="/cameras/entry", **given: client.post(path, **given)
    server.stop()


def rows(identification):
    with identification.database.reading() as session:
        found = session.query(Sighting).order_by(Sighting.id)
        return [(row.id, row.camera, row.place, row.answer.get("camera_plate"), len(row.pictures)) for row in found]


@pytest.mark.parametrize("field", ["plate", "licensePlate", "plate_text"])
def test_a_form_with_a_photograph_and_a_plate_is_identified(post, identification, field):
    answer = post(headers=BEARER, files={"upload": jpeg(1)}, data={field: "AB 12", "confidence": "0.9"})
    assert answer.json() == {"sighting": 1, "decision": "unknown", "again": False}
    assert rows(identification) == [(1, "entry", "east", "AB 12", 1)]


def test_an_image_alone_and_several_images_are_identified(post, identification):
    content = jpeg(1)[1]
    assert post(headers=BEARER | {"Content-Type": "image/png"}, content=content).json()["sighting"] == 1
    files = [("image", jpeg(2)), ("image", jpeg(3))]
    assert post(headers=BEARER, files=files).json()["sighting"] == 2
    assert [row[-1] for row in rows(identification)] == [1, 2]


def test_what_a_camera_sends_again_is_answered_and_not_identified_again(post, cameras, identification):
    for again in (False, True, True):
        answer = post(headers=BEARER, files={"upload": jpeg(1)}).json()
        assert (answer["sighting"], answer["again"]) == (1, again)
    assert len(rows(identification)) == 1
    counts = cameras.counts["entry"]
    assert (counts.photographs, counts.queries, counts.again) == (1, 1, 2)


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/cameras/entry", {}),
        ("/cameras/entry", {"headers": {"Authorization": "Bearer wrong"}}),
        ("/cameras/entry", {"headers": {"Authorization": f"Bearer {TOKEN[::-1]}"}}),  # of the other camera
        ("/cameras/entry", {"headers": {"Authorization": "Basic ####"}}),
        ("/cameras/entry", {"headers": {"Authorization": "Bearer é".encode()}}),
        ("/cameras/nowhere", {"headers": BEARER}),
        ("/cameras/nowhere", {"headers": {"Authorization": "Bearer no such camera"}}),
    ],
)
def test_nobody_without_the_token_of_the_camera_is_let_in(post, identification, path, given):
    answer = post(path, files={"upload": jpeg(1)}, **given)
    assert (answer.status_code, answer.json()) == (401, {"detail": "wrong camera or token"})
    assert rows(identification) == []


def test_cameras_that_can_only_log_in_or_name_an_address_bring_the_token_so(post):
    basic = base64.b64encode(f"camera:{TOKEN}".encode()).decode()
    assert post(headers={"Authorization": f"Basic {basic}"}, files={"upload": jpeg(1)}).status_code == 200
    assert post(f"/cameras/entry?token={TOKEN}", files={"upload": jpeg(2)}).status_code == 200


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"files": {"upload": ("a.jpg", b"no image")}}, 415, "a.jpg: "),
        ({"data": {"plate": "AB 12"}, "files": {"note": (None, "x")}}, 422, "the form has no image"),
        ({"data": {"plate": "AB 12"}}, 415, "send an image, or a form"),
        ({"files": {"upload": jpeg(1)}, "data": {"plate": "A" * 201}}, 422, "plate has 201 characters"),
        ({"files": [("upload", jpeg(seed)) for seed in range(9)]}, 400, "Too many files"),
        ({"content": iter([b"x"])}, 411, "a request needs a Content-Length"),
        ({"content": b"x", "headers": {"Content-Type": FORM}}, 400, "the form cannot be read: Expected boundary"),
        (
            {"content": b"x", "headers": {"Content-Type": FORM + 300 * "a"}},
            400,
            "the form cannot be read: Boundary length",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(post, identification, given, status, words):
    headers = BEARER | given.pop("headers", {})
    answer = post(headers=headers, **given)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert rows(identification) == []


def test_a_request_that_is_too_large_is_not_read(post, monkeypatch):
    monkeypatch.setattr("app.cameras.push._MOST_BYTES", 1000)
    assert post(headers=BEARER, files={"upload": jpeg(1)}).status_code == 413


def test_a_camera_that_falls_silent_is_given_up_and_does_not_keep_the_watch_from_ending(
    cameras, half_sent, monkeypatch
):
    monkeypatch.setattr("app.cameras.push._SILENT_SECONDS", 0.2)
    server = PushServer(cameras, HERE)
    answer = half_sent(server).recv(1000)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
    half_sent(server)
    server.stop()


def test_a_camera_that_breaks_off_leaves_no_traceback(cameras, half_sent, caplog):
    server = PushServer(cameras, HERE)
    sent = half_sent(server)
    time.sleep(0.2)  # until its head was read
    sent.close()
    server.stop()
    assert "Traceback" not in caplog.text


def test_a_database_that_is_away_lets_the_camera_come_again(post, cameras, identification, monkeypatch):
    def away(*_, **__):
        raise DatabaseAwayError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(identification.database, "reading", away)
        answer = post(headers=BEARER, files={"upload": jpeg(1)})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert cameras.counts["entry"].lost == 1


def test_a_register_that_is_busy_lets_the_camera_come_again(post, cameras, identification, monkeypatch):
    def busy(*_, **__):
        raise BusyError("another process is writing")

    with monkeypatch.context() as patch:
        patch.setattr(identification, "identify", busy)
        patch.setattr("app.cameras.asking._TRIES", 2)
        answer = post(headers=BEARER, files={"upload": jpeg(1)})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert post(headers=BEARER, files={"upload": jpeg(1)}).json()["again"] is False
    assert cameras.counts["entry"].lost == 1


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ({"host": "0.0.0.0"}, "host 0.0.0.0 needs certificate and key"),
        ({"certificate": "a"}, "certificate and key belong together"),
        ({"certificate": "a", "key": "b"}, "certificate a and key b cannot be used: .*No such file"),
        ({"host": "192.0.2.1", "certificate": "here", "key": "here"}, "cannot listen on 192.0.2.1"),
    ],
)
def test_an_address_that_is_not_safe_or_not_there_is_refused(cameras, tmp_path, server, words):
    if server.get("key") == "here":
        paths = expired_certificate(tmp_path)
        server = {**server, "certificate": str(paths[0]), "key": str(paths[1])}
    with pytest.raises(CamerasFileError, match=words):
        PushServer(cameras, Server(**{"port": 0, **server}))
