"""Videos of rendered vehicles that drive through the frame, and cameras that send them: files, MJPEG by HTTP, RTSP."""

import subprocess
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest

from scripts.bench import camera_video
from scripts.bench.camera_video import rendered

FPS = 10


def drive(numbers, size=(640, 360), fps=FPS):
    """Frames with their boxes of rendered vehicles, by number."""
    return camera_video.drive(map(rendered, numbers), size, fps)


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


class MjpegServer(camera_video.MjpegServer):
    """A camera of frames at the usual rate."""

    def __init__(self, frames, fps=FPS):
        super().__init__(frames, fps)


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
