"""Background of a rendered vehicle: ground, markings, backdrop, clutter and parked vehicles."""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.synthetic.assemble import build_mesh
from app.synthetic.camera import FRAME, Camera
from app.synthetic.light import Light
from app.synthetic.paint import paint_mesh, shade
from app.synthetic.projection import Floats, Pose, Projection, vehicle_projection, world_projection
from app.synthetic.vehicle import ACCENTS, draw_vehicle

Image = NDArray[np.uint8]
_GROUND = {"asphalt": (84, 82, 80), "concrete": (150, 152, 152), "paving": (118, 124, 132)}
_PIXELS_PER_METRE = 20
_NEAR, _FAR, _SIDE = 0.3, 40.0, 18.0  # the ground's extent in metres


def draw_scene(camera: Camera, *, parked: bool = True) -> Image:
    """The camera's frame, (720, 960, 3) blue-green-red; grey if it is infrared. With or without parked vehicles."""
    rng = np.random.default_rng([3, *camera.key])
    look = np.random.default_rng([11, *camera.key[:-1]])  # the same for all cameras of a car park
    projection = world_projection(camera)
    width, height = FRAME
    sky = np.array([215, 205, 190]) if not camera.indoor else np.array([70, 72, 74])
    scene = np.empty((height, width, 3), np.uint8)
    scene[:] = np.clip(sky * np.linspace(1.1, 0.9, height)[:, None, None], 0, 255)
    wall_at = float(camera.distance + rng.uniform(4.5, 14))
    _draw_ground(scene, camera, projection, rng, look)
    _draw_backdrop(scene, camera, projection, rng, look, wall_at)
    if parked:
        _draw_parked(scene, camera, rng, wall_at)
    _draw_clutter(scene, projection, rng, wall_at)
    if camera.infrared:
        grey = cv2.cvtColor(scene, cv2.COLOR_BGR2GRAY).astype(np.float32)
        y, x = np.mgrid[0:height, 0:width]
        falloff = 0.22 + 0.5 * np.exp(-(((x - width / 2) / 420) ** 2 + ((y - height * 0.55) / 300) ** 2))
        scene = cv2.cvtColor(np.clip(grey * falloff, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    return scene


def _fill(scene: Image, projection: Projection, points: list[tuple[float, float, float]], colour: Floats) -> None:
    pixels = np.round(projection.pixels(np.array(points, np.float64))).astype(np.int32)
    cv2.fillPoly(scene, [pixels], np.clip(colour, 0, 255).tolist(), cv2.LINE_AA)


def _draw_ground(
    scene: Image, camera: Camera, projection: Projection, rng: np.random.Generator, look: np.random.Generator
) -> None:
    long, wide = int((_FAR - _NEAR) * _PIXELS_PER_METRE), int(2 * _SIDE * _PIXELS_PER_METRE)
    base = np.array(_GROUND[camera.ground]) * look.uniform(0.8, 1.15) + look.normal(0, 4, 3)
    grain = rng.standard_normal((long, wide), np.float32) * 7
    grain += cv2.resize(rng.normal(0, 12, (long // 60, wide // 60)).astype(np.float32), (wide, long))
    tile = cv2.merge([np.clip(grain + np.float32(b), 0, 255).astype(np.uint8) for b in base])
    if camera.ground == "paving":
        step = int(rng.integers(9, 20))
        tile[::step] = (tile[::step] * 0.75).astype(np.uint8)
        tile[:, ::step] = (tile[:, ::step] * 0.75).astype(np.uint8)
    paint = [(225, 225, 225), (60, 190, 230), (215, 215, 205)][look.integers(3)]
    pitch = int(rng.uniform(2.4, 3.2) * _PIXELS_PER_METRE)
    offset, thick = int(rng.integers(0, pitch)), int(rng.integers(2, 5))
    form = rng.integers(4)
    if form in (0, 1):
        start = int((camera.distance - 3) * _PIXELS_PER_METRE)
        for column in range(offset, wide, pitch):
            cv2.line(tile, (column, start), (column, start + 5 * _PIXELS_PER_METRE), paint, thick)
    if form in (1, 2):
        for row in (int((camera.distance - 3.4) * _PIXELS_PER_METRE), int((camera.distance + 2.9) * _PIXELS_PER_METRE)):
            cv2.line(tile, (0, row), (wide, row), paint, thick)
    if form == 3:
        for k in range(-40, 40):
            cv2.line(tile, (k * 30, 0), (k * 30 + 300, long), paint, 2)
    for _ in range(rng.integers(2, 9)):
        place = (int(rng.integers(wide)), int(rng.integers(long)))
        axes = (int(rng.integers(4, 30)), int(rng.integers(4, 22)))
        cv2.ellipse(tile, place, axes, float(rng.uniform(0, 180)), 0, 360, (base * rng.uniform(0.6, 0.85)).tolist(), -1)
    world = np.array([(_NEAR, _SIDE, 0), (_NEAR, -_SIDE, 0), (_FAR, -_SIDE, 0), (_FAR, _SIDE, 0)])
    source = np.array([(0, 0), (wide, 0), (wide, long), (0, long)], np.float32)
    transform = cv2.getPerspectiveTransform(source, projection.pixels(world).astype(np.float32))
    cv2.warpPerspective(tile, transform, FRAME, scene, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)


def _draw_backdrop(
    scene: Image,
    camera: Camera,
    projection: Projection,
    rng: np.random.Generator,
    look: np.random.Generator,
    wall_at: float,
) -> None:
    height = {"wall": 2.6, "hedge": 1.8, "building": 9.0, "hall": 4.0}[camera.backdrop]
    colours = {"wall": (150, 160, 170), "hedge": (45, 85, 60), "building": (140, 150, 165), "hall": (120, 122, 122)}
    colour = np.array(colours[camera.backdrop]) * look.uniform(0.6, 1.2) + look.normal(0, 12, 3)
    steps = 26
    for k in range(steps):
        y0, y1 = (-_SIDE + 2 * _SIDE * (k + d) / steps for d in (0, 1))
        varied = colour + (rng.normal(0, 10) if camera.backdrop == "hedge" else rng.normal(0, 3))
        top = height + (rng.normal(0, 0.15) if camera.backdrop == "hedge" else 0.0)
        _fill(scene, projection, [(wall_at, y0, 0), (wall_at, y1, 0), (wall_at, y1, top), (wall_at, y0, top)], varied)
        if camera.backdrop == "building":
            for floor in range(3):
                z = 0.8 + 2.8 * floor
                y2 = y0 + 0.7 * (y1 - y0)
                window = [(wall_at, y0, z), (wall_at, y2, z), (wall_at, y2, z + 1.5), (wall_at, y0, z + 1.5)]
                _fill(scene, projection, window, np.array([75, 70, 62]) * rng.uniform(0.6, 1.8))
    if camera.backdrop in ("hall", "wall"):
        band = np.array(ACCENTS[look.integers(len(ACCENTS))]) * 0.8
        z0, z1 = (0.0, 1.0) if rng.random() < 0.5 else (1.1, 1.5)
        _fill(scene, projection, [(wall_at, -18, z0), (wall_at, 18, z0), (wall_at, 18, z1), (wall_at, -18, z1)], band)
    if camera.backdrop == "hall":
        for y in np.arange(-12 + rng.uniform(0, 4), 14, 4.5):
            x = wall_at - 2.0
            _fill(scene, projection, [(x, y, 0), (x, y + 0.5, 0), (x, y + 0.5, 4), (x, y, 4)], colour * 0.8)
            _fill(
                scene,
                projection,
                [(x, y, 0.4), (x, y + 0.5, 0.4), (x, y + 0.5, 1), (x, y, 1)],
                np.array([40, 200, 230]),
            )


def _draw_parked(scene: Image, camera: Camera, rng: np.random.Generator, wall_at: float) -> None:
    """A few parked vehicles of no identity, behind the lane of the rendered one."""
    for number in range(int(rng.integers(0, 5))):
        vehicle = draw_vehicle((*camera.key, 99, number))
        lateral = float(rng.uniform(-9, 9))
        distance = max(camera.distance + 4.5, wall_at - 2.5 + float(rng.uniform(-0.4, 0.4)))
        pose = Pose(distance, lateral, float(rng.choice([0, 180]) + rng.normal(0, 4)))
        projection, mesh = vehicle_projection(camera, pose), build_mesh(vehicle)
        light = Light(np.array([0.0, 0.0, 1.0]), 0.7, 0.25, (150.0, 150.0, 150.0))
        colours = shade(mesh, light, projection.eye, infrared=False)
        shadow = np.array(
            [
                (s * vehicle.body.length / 2, t * vehicle.body.width / 2, 0)
                for s, t in ((1, 1), (1, -1), (-1, -1), (-1, 1))
            ]
        )
        cv2.fillPoly(scene, [np.round(projection.pixels(shadow)).astype(np.int32)], (40, 40, 40), cv2.LINE_AA)
        paint_mesh(scene, mesh, projection, colours, {})


def _draw_clutter(scene: Image, projection: Projection, rng: np.random.Generator, wall_at: float) -> None:
    for _ in range(int(rng.integers(1, 7))):
        x, y = wall_at - float(rng.uniform(0.3, 2.5)), float(rng.uniform(-9, 9))
        w, h = float(rng.uniform(0.15, 1.0)), float(rng.uniform(0.4, 2.4))
        colour = np.array(ACCENTS[rng.integers(len(ACCENTS))]) * 0.7 + 30
        _fill(scene, projection, [(x, y, 0), (x, y + w, 0), (x, y + w, h), (x, y, h)], colour)
        _fill(scene, projection, [(x, y, h * 0.8), (x, y + w, h * 0.8), (x, y + w, h), (x, y, h)], colour * 0.6)
