"""Vehicles that drive through the frame of a camera: rendered ones, or crops of real ones, and a camera that sends them
as MJPEG by HTTP."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from app.synthetic.background import draw_scene
from app.synthetic.camera import draw_camera
from app.synthetic.projection import draw_pose
from app.synthetic.render import Renderer
from app.synthetic.vehicle import draw_vehicle

Image = NDArray[np.uint8]
EMPTY = 1.5
"""Seconds before each vehicle, and after the last."""


class Driver(NamedTuple):
    """A vehicle as it drives by: its images, blue-green-red, one after the other, each with its silhouette."""

    images: Sequence[Image]
    silhouettes: Sequence[Image]


class Shown(NamedTuple):
    """A frame (H, W, 3), blue-green-red, and left, top, width and height of the vehicle in it; None if it is empty."""

    image: Image
    box: tuple[int, int, int, int] | None


def rendered(number: int, side: int = 256) -> Driver:
    """A rendered vehicle."""
    rng = np.random.default_rng([1, number])
    camera = draw_camera((1, number, 0), post=number % 6, modality="visible")
    vehicle = draw_vehicle((1, 1, 0, number))
    found = Renderer(side).render(vehicle, camera, draw_pose(camera, rng), rng, silhouette=True)
    box = found.vehicle_box
    rows = slice(max(0, int(box.top)), int(box.top + box.height))
    columns = slice(max(0, int(box.left)), int(box.left + box.width))
    assert found.silhouette is not None
    return Driver([found.image[rows, columns]], [found.silhouette[rows, columns]])


def of_crops(images: Sequence[Image]) -> Driver:
    """A vehicle of crops, without the two hundredths at their edges."""
    cut = [image[len(image) // 50 : -len(image) // 50 or None] for image in images]
    return Driver(cut, [np.full(image.shape[:2], 255, np.uint8) for image in cut])


def drive(drivers: Iterable[Driver], size: tuple[int, int], fps: float, seconds: float = 2.0) -> Iterator[Shown]:
    """Frames in which vehicles come one after the other, from far to near.

    Args:
        seconds: that each takes.
    """
    scene = draw_scene(draw_camera((1, 0, 0), post=0, modality="visible"), parked=False)
    ground = np.asarray(cv2.resize(scene, size), np.uint8)
    rng, empty = np.random.default_rng(0), round(EMPTY * fps)
    for driver in drivers:
        yield from (Shown(_noisy(ground, rng), None) for _ in range(empty))
        count = round(seconds * fps)
        for index in range(count):
            image, box = _pasted(ground, driver, (index + 1) / (count + 1))
            yield Shown(_noisy(image, rng), box)
    yield from (Shown(_noisy(ground, rng), None) for _ in range(empty))


def _pasted(ground: Image, driver: Driver, place: float) -> tuple[Image, tuple[int, int, int, int] | None]:
    """The vehicle at a place of its way, from 0 to 1."""
    height, width = ground.shape[:2]
    step = min(len(driver.images) - 1, int(place * len(driver.images)))
    scale = (0.25 + 0.35 * place) * height / driver.images[step].shape[0]
    crop, mask = (
        cv2.resize(each[step], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for each in (driver.images, driver.silhouettes)
    )
    image = ground.copy()
    left, top = round((width + crop.shape[1]) * place) - crop.shape[1], round(height * (0.25 + 0.1 * place))
    inside = slice(max(0, -left), min(crop.shape[1], width - left))
    if inside.stop <= inside.start:
        return image, None
    part = image[top : top + crop.shape[0], left + inside.start : left + inside.stop]
    solid = mask[:, inside] > 127
    part[solid] = crop[:, inside][solid]
    return image, (left + inside.start, top, inside.stop - inside.start, crop.shape[0])


def _noisy(image: Image, rng: np.random.Generator) -> Image:
    noise = rng.integers(-3, 4, image.shape, np.int16)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


class MjpegServer:
    """A camera that sends its frames by HTTP to each client, from the first one on, and ends the connection after the
    last one. `sent` holds when each was sent last, by time.monotonic(), `rubbish` sends a page in place of a video.

    Args:
        once: only the first client gets the video.
    """

    def __init__(self, frames: Iterable[Image], fps: float, *, once: bool = False) -> None:
        self.jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
        self.fps, self.rubbish, self.clients = fps, False, 0
        self.sent: dict[int, float] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.clients += 1
                if once and outer.clients > 1:
                    self.send_error(503)
                else:
                    outer.send(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/video.mjpg"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def send(self, to: BaseHTTPRequestHandler) -> None:
        """Send the video to a client."""
        to.send_response(200)
        to.send_header("Content-Type", "text/html" if self.rubbish else "multipart/x-mixed-replace; boundary=frame")
        to.end_headers()
        if self.rubbish:
            to.wfile.write(b"<html>log in</html>" * 100)
            return
        started = time.monotonic()
        for number, jpeg in enumerate(self.jpegs):
            time.sleep(max(0.0, started + number / self.fps - time.monotonic()))
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            try:
                to.wfile.write(head.encode() + jpeg + b"\r\n")
            except OSError:
                return
            self.sent[number] = time.monotonic()

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()
