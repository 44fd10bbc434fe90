"""The chain of cameras: videos, real streams and a folder to sightings and events, and what fails on the way."""

import json
import pkgutil
import threading
import time

import cv2
import numpy as np
import pytest
from camera_videos import FPS, MjpegServer, drive, rtsp_camera, write_video
from event_receivers import broker, desk, name_receivers, wait_until
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from registers import photo

from app.cameras.settings import Cameras
from app.cameras.watch import Watch
from app.cameras.watching import Watching
from app.register.delivery import Delivery
from app.register.errors import NoModelError, RegisterError
from app.register.identification import Identification
from app.register.schema import Sighting
from models.errors import MissingFileError
from scripts import watch as watch_command

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("url", ["sqlite"], indirect=True)]


def cameras(**given):
    return Cameras.model_validate(given)


def stream(url, name="gate", **more):
    return {"name": name, "url": str(url), "place": f"{name} north", **more}


def sightings(identification):
    with identification.database.reading() as session:
        return list(session.query(Sighting).order_by(Sighting.id))


def until_over(watch, seconds=60):
    wait_until(watch.is_over, seconds)
    watch.stop()
    return watch.counts()


def test_a_video_file_gives_a_sighting_for_each_vehicle_and_ends(identification, drive_frames, tmp_path):
    video = write_video(tmp_path / "drive.avi", drive_frames)
    counts = until_over(Watch(identification, cameras(stream=[stream(video)])))["gate"]
    rows = sightings(identification)
    assert [(row.camera, row.place, row.account) for row in rows] == [("gate", "gate north", "gate (camera)")] * 3
    assert all(1 <= len(row.pictures) <= 3 for row in rows)
    assert all(each["vehicle_box"] for row in rows for each in row.answer["views"])
    assert (counts["frames"], counts["dropped"], counts["tracks"], counts["queries"]) == (len(drive_frames), 0, 3, 3)


def test_a_stream_is_answered_while_it_comes_and_reaches_a_receiver(identification, drive_frames, webhook):
    name_receivers(identification.folder, desk(webhook.url))
    delivery = Delivery(identification.outbox, identification.folder)
    camera = MjpegServer(drive_frames)
    watch = Watch(identification, cameras(stream=[stream(camera.url)]))
    wait_until(lambda: len(webhook.bodies) == 3, 30)
    watch.stop()
    delivery.stop()
    camera.close()
    assert [body["camera"] for body in webhook.bodies] == ["gate"] * 3
    assert [body["sighting"] for body in webhook.bodies] == [row.id for row in sightings(identification)]
    assert watch.counts()["gate"]["lost"] == 0


def test_a_real_rtsp_camera_is_watched(identification, tmp_path):
    video = write_video(tmp_path / "drive.avi", [frame for frame, _ in drive((1,))])
    with rtsp_camera(video) as url:
        watch = Watch(identification, cameras(stream=[stream(url)]))
        wait_until(lambda: sightings(identification), 30)
        watch.stop()
    assert len(sightings(identification)) == 1


def test_a_video_reaches_a_real_broker(identification, tmp_path):
    video = write_video(tmp_path / "drive.avi", [frame for frame, _ in drive((1, 2))])
    got, ready = [], []
    with broker(tmp_path) as (port, _):
        client = Client(CallbackAPIVersion.VERSION2)
        client.on_message = lambda _, __, message: got.append((message.topic, json.loads(message.payload)))
        client.on_subscribe = lambda *_: ready.append(True)
        client.connect("127.0.0.1", port)
        client.subscribe("vehicles/#", qos=1)
        client.loop_start()
        wait_until(lambda: ready)
        name_receivers(identification.folder, f'[[mqtt]]\nname = "hub"\nurl = "mqtt://127.0.0.1:{port}"\n')
        delivery = Delivery(identification.outbox, identification.folder)
        until_over(Watch(identification, cameras(stream=[stream(video)])))
        wait_until(lambda: len(got) == 2)
        delivery.stop()
        client.disconnect()
        client.loop_stop()
    assert [(topic, body["sighting"], body["camera"]) for topic, body in got] == [
        ("vehicles/unknown", 1, "gate"),
        ("vehicles/unknown", 2, "gate"),
    ]


def test_cameras_that_fail_are_named_and_do_not_stop_the_others(identification, drive_frames, tmp_path, caplog):
    rubbish, vanishes = MjpegServer([]), MjpegServer(drive_frames[:35])
    rubbish.rubbish = True
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    photo(1).image.save(inbox / "a.png")
    named = cameras(
        stream=[
            stream(rubbish.url, "rubbish"),
            stream("http://127.0.0.1:9/", "away"),
            stream(vanishes.url, "vanishes"),
        ],
        folder=[{"name": "yard", "path": str(inbox)}],
    )
    watch = Watch(identification, named, first_pause=0.3)
    wait_until(lambda: vanishes.clients >= 2, 30)  # it is tried again
    wait_until(lambda: {row.camera for row in sightings(identification)} >= {"yard", "vanishes"}, 30)
    watch.stop()
    rubbish.close()
    vanishes.close()
    for name, words in (("rubbish", "sends no video"), ("away", "sends no video"), ("vanishes", "no further frame")):
        assert caplog.text.count(f"camera {name}: ") >= 1
        line = next(row.getMessage() for row in caplog.records if f"camera {name}: " in row.getMessage())
        assert words in line
        assert "127.0.0.1" not in line  # an address may hold a password
    assert rubbish.clients >= 2
    assert watch.counts()["rubbish"]["outages"] == 1


def test_more_frames_than_can_be_looked_at_are_dropped_and_counted(identification, drive_frames, monkeypatch):
    camera = MjpegServer(drive_frames * 2, fps=50)
    look, held = Watching.look, []

    def slowly(self, frame, at):
        held.append(time.monotonic() - at)
        time.sleep(0.1)
        return look(self, frame, at)

    monkeypatch.setattr(Watching, "look", slowly)
    watch = Watch(identification, cameras(stream=[stream(camera.url, most_fps=60)]))
    wait_until(lambda: camera.sent.get(len(drive_frames) * 2 - 1), 30)
    watch.stop()
    camera.close()
    counts = watch.counts()["gate"]
    assert counts["looked_at"] <= 0.4 * counts["frames"]
    assert counts["dropped"] == counts["frames"] - counts["looked_at"]
    assert max(held) < 2  # the frames that are looked at are new


def test_a_clock_that_jumps_moves_no_track(identification, drive_frames, monkeypatch):
    real, jumps = time.time, iter(range(0, 10**9, 3600))
    monkeypatch.setattr(time, "time", lambda: real() - next(jumps))
    camera = MjpegServer(drive_frames[:40])
    watch = Watch(identification, cameras(stream=[stream(camera.url)]))
    wait_until(lambda: sightings(identification), 30)
    watch.stop()
    camera.close()
    assert len(sightings(identification)) == 1


def test_vehicles_that_come_faster_than_answers_are_dropped_with_a_line(identification, monkeypatch, caplog):
    frames = [frame for frame, _ in drive((1, 2, 3))]
    monkeypatch.setattr("app.cameras.watch._MOST_WAITING", 1)
    identify = identification.identify

    def slowly(*args, **kwargs):
        time.sleep(6)
        return identify(*args, **kwargs)

    monkeypatch.setattr(identification, "identify", slowly)
    camera = MjpegServer(frames, fps=2 * FPS)
    watch = Watch(identification, cameras(stream=[stream(camera.url)]))
    wait_until(lambda: watch.counts()["gate"]["tracks"] == 3, 30)
    watch.stop()
    camera.close()
    counts = watch.counts()["gate"]
    assert (counts["queries"], counts["lost"]) == (2, 1)
    assert "camera gate: too many vehicles wait for their query; one was dropped" in caplog.text


def test_a_bug_in_one_query_does_not_end_the_watch(identification, drive_frames, tmp_path, monkeypatch, caplog):
    identify, calls = identification.identify, []

    def fails_once(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("a bug")
        return identify(*args, **kwargs)

    monkeypatch.setattr(identification, "identify", fails_once)
    video = write_video(tmp_path / "drive.avi", drive_frames)
    counts = until_over(Watch(identification, cameras(stream=[stream(video)])))["gate"]
    assert (counts["queries"], counts["lost"]) == (2, 1)
    assert "ZeroDivisionError: a bug" in caplog.text


def test_a_detector_that_cannot_be_used_does_not_end_a_stream(identification, drive_frames, caplog):
    detector = identification.folder / "models" / "detector.safetensors"
    detector.parent.mkdir(exist_ok=True)
    detector.write_bytes(b"no detector")
    camera = MjpegServer(drive_frames)
    watch = Watch(identification, cameras(stream=[stream(camera.url)]), first_pause=0.1)
    wait_until(lambda: "its frames are not looked at" in caplog.text, 30)
    detector.unlink()
    wait_until(lambda: sightings(identification), 30)
    watch.stop()
    camera.close()
    assert caplog.text.count("its frames are not looked at") == 1
    assert "camera gate: answers again" in caplog.text


@pytest.mark.parametrize("place", ["app.cameras.stream._read", "app.cameras.watching.Watching.look"])
def test_a_bug_in_a_stream_is_logged_and_its_frames_come_again(
    identification, drive_frames, monkeypatch, caplog, place
):
    monkeypatch.setattr("app.cameras.watch._AGAIN_SECONDS", 0.1)
    camera, calls, work = MjpegServer(drive_frames), [], pkgutil.resolve_name(place)

    def fails_once(*args):
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError("a bug")
        return work(*args)

    monkeypatch.setattr(place, fails_once)
    watch = Watch(identification, cameras(stream=[stream(camera.url)]), first_pause=0.1)
    wait_until(lambda: sightings(identification), 30)
    assert sum(each.name == "camera gate" for each in threading.enumerate()) == 1
    watch.stop()
    camera.close()
    assert "ZeroDivisionError: a bug" in caplog.text


def test_files_that_are_no_video_are_named(identification, tmp_path, caplog):
    (tmp_path / "a.avi").write_bytes(b"no video")
    named = [stream(tmp_path / "a.avi", "one"), stream(tmp_path / "b.avi", "two")]
    until_over(Watch(identification, cameras(stream=named)))
    assert f"camera one: {tmp_path}/a.avi is no video" in caplog.text
    assert f"camera two: no such file: {tmp_path}/b.avi" in caplog.text


def test_one_process_watches_for_a_register_and_not_without_a_network(identification, tmp_path):
    inbox = {"name": "yard", "path": str(tmp_path)}
    watch = Watch(identification, cameras(folder=[inbox]))
    with pytest.raises(RegisterError, match="another process watches cameras for"):
        Watch(identification, cameras(folder=[inbox]))
    watch.stop()
    empty = Identification(tmp_path / "empty", "", "cpu")
    for _ in range(2):  # and lets the folder go
        with pytest.raises(NoModelError):
            Watch(empty, cameras(folder=[inbox]))
    empty.close()


def test_the_command_watches_a_video_and_delivers(identification, drive_frames, tmp_path, webhook, capsys, run_folder):
    folder = tmp_path / "watched"
    made = Identification(folder, "", "cpu")
    made.active_model.change_to_run(run_folder, "global", "tester")
    made.close()
    identification.close()
    video = write_video(tmp_path / "drive.avi", drive_frames)
    name_receivers(folder, desk(webhook.url))
    path = folder / "cameras.toml"
    path.touch(mode=0o600)
    path.write_text(f'[[stream]]\nname = "gate"\nurl = "{video}"\n', encoding="utf-8")
    words = ["--register", str(folder), "--device", "cpu"]
    watch_command.main([*words, "--check"])
    assert json.loads(capsys.readouterr().out) == {"cameras": ["gate"], "receivers": ["desk"]}
    watch_command.main(words)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "watching gate"
    assert json.loads(lines[-1])["cameras"]["gate"]["queries"] == 3
    assert [body["sighting"] for body in webhook.bodies] == [1, 2, 3]
    with pytest.raises(MissingFileError, match=r"no such file: .*docs/cameras.md describes it"):
        watch_command.main(["--register", str(tmp_path)])


def test_a_frame_of_another_kind_is_an_outage_and_no_crash(identification, tmp_path, caplog):
    tiny = [np.zeros((32, 32, 3), np.uint8)] * 5
    video = write_video(tmp_path / "tiny.avi", tiny)
    assert cv2.VideoCapture(str(video)).isOpened()
    until_over(Watch(identification, cameras(stream=[stream(video)])))
    assert "camera gate: sent a frame of shape (32, 32, 3), which is none that can be used" in caplog.text
