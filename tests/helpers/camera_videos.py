"""Videos of rendered vehicles that drive through the frame, and cameras that send them: files, MJPEG by HTTP, RTSP."""

import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.synthetic.background import draw_scene
from app.synthetic.camera import draw_camera
from app.synthetic.projection import draw_pose
from app.synthetic.render import Renderer
from app.synthetic.vehicle import draw_vehicle

FPS = 10
SECONDS = 2.0  # that a vehicle takes
EMPTY = 1.5  # seconds before each, and after the last


def rendered(number, side=256):
    """A vehicle with its silhouette, cut to its box."""
    rng = np.random.default_rng([1, number])
    camera = draw_camera((1, number, 0), post=number % 6, modality="visible")
    found = Renderer(side).render(draw_vehicle((1, 1, 0, number)), camera, draw_pose(camera, rng), rng, silhouette=True)
    box = found.vehicle_box
    rows = slice(max(0, int(box.top)), int(box.top + box.height))
    columns = slice(max(0, int(box.left)), int(box.left + box.width))
    return found.image[rows, columns], found.silhouette[rows, columns]


def drive(numbers, size=(640, 360), fps=FPS, seconds=SECONDS):
    """Frames (H, W, 3), blue-green-red, in which the vehicles come one after the other, from far to near, and the
    boxes of each, None in empty frames."""
    width, height = size
    ground = cv2.resize(draw_scene(draw_camera((1, 0, 0), post=0, modality="visible"), parked=False), size)
    rng = np.random.default_rng(0)

    def frame(vehicle=None, place=0.0):
        image, box = ground.copy(), None
        if vehicle is not None:
            crop, mask = vehicle
            scale = (0.25 + 0.35 * place) * height / crop.shape[0]
            crop, mask = (cv2.resize(each, None, fx=scale, fy=scale) for each in (crop, mask))
            left = round((width + crop.shape[1]) * place) - crop.shape[1]
            top = round(height * (0.25 + 0.1 * place))
            inside = slice(max(0, -left), min(crop.shape[1], width - left))
            if inside.stop - inside.start > 0:
                part = image[top : top + crop.shape[0], left + inside.start : left + inside.stop]
                solid = mask[:, inside] > 127
                part[solid] = crop[:, inside][solid]
                box = (left + inside.start, top, inside.stop - inside.start, crop.shape[0])
        noise = rng.integers(-3, 4, image.shape, np.int16)
        return np.clip(image + noise, 0, 255).astype(np.uint8), box

    for number in numbers:
        vehicle = rendered(number)
        yield from (frame() for _ in range(round(EMPTY * fps)))
        count = round(seconds * fps)
        yield from (frame(vehicle, (index + 1) / (count + 1)) for index in range(count))
    yield from (frame() for _ in range(round(EMPTY * fps)))


def write_video(path, frames, fps=FPS):
    """A video file of frames."""
    writer = None
    for frame in frames:
        if writer is None:
            size = frame.shape[1], frame.shape[0]
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, size)
            assert writer.isOpened()
        writer.write(frame)
    writer.release()
    return path


class MjpegServer:
    """A camera that sends its frames by HTTP, as many a second as it should, to each client from the first one on; it
    ends a connection after the last frame. `sent` holds when each was sent last, by time.monotonic().

    Args:
        rubbish: sends a page in place of a video.
    """

    def __init__(self, frames, fps=FPS):
        self.jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
        self.rubbish, self.sent, self.clients = False, {}, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.clients += 1
                self.send_response(200)
                if outer.rubbish:
                    self.send_header("Content-Type", "text/html")
                    self.end_headers()
                    self.wfile.write(b"<html>log in</html>" * 100)
                    return
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                started = time.monotonic()
                for number, jpeg in enumerate(outer.jpegs):
                    time.sleep(max(0.0, started + number / fps - time.monotonic()))
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                    except OSError:
                        return
                    outer.sent[number] = time.monotonic()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/video.mjpg"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="session")
def drive_frames():
    """A video of three vehicles, as frames."""
    return [frame for frame, _ in drive((1, 2, 3))]


RTSP = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(f"( filesrc location={sys.argv[1]} ! avidemux ! rtpjpegpay name=pay0 )")
server.get_mount_points().add_factory("/gate", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""


@contextmanager
def rtsp_camera(video):
    """A real RTSP server that sends a video file of `write_video` to each client; its URL."""
    command = ["/usr/bin/python3", "-c", RTSP, str(video)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    if not Path(command[0]).exists():
        pytest.skip("there is no Python of the system")
    with subprocess.Popen(command, **pipes) as process:
        try:
            port = process.stdout.readline().strip()
            if not port:
                pytest.skip(
                    "an RTSP server is missing: apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi "
                    "gstreamer1.0-plugins-good"
                )
            yield f"rtsp://127.0.0.1:{port}/gate"
        finally:
            process.terminate()
