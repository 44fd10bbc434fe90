"""Rendering of one image, with its labels, from a vehicle, a camera and a pose."""

import math
from collections import OrderedDict
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.sample import Box, Modality, Point
from app.synthetic import sensor
from app.synthetic.assemble import build_mesh
from app.synthetic.background import draw_scene
from app.synthetic.camera import Camera
from app.synthetic.decals import dim, grey, in_falling_sizes, logo_image, soil
from app.synthetic.light import Light, draw_light
from app.synthetic.mesh import Mesh
from app.synthetic.paint import paint_mesh, shade
from app.synthetic.plate import infrared_plate_image, plate_image
from app.synthetic.projection import Floats, Pose, Projection, vehicle_projection, view_of
from app.synthetic.vehicle import Vehicle

Image = NDArray[np.uint8]
_OVER = 2  # vehicles are painted at twice the size and shrunk, which smooths their edges
_LEGIBLE = (0.105, 0.026, 0.5)  # least width and height as shares of the image, least cosine towards the camera
_NATIVE = 1.15  # the camera's sharpness in frame pixels: its chip has a few more than its frame
_SMEAR = 0.48  # largest blur of a readable plate, as a share of a character's cell


@dataclass(frozen=True)
class Rendered:
    """An image (S, S, 3), blue-green-red, and its labels; places in pixels of the image.

    `plate_box`, `plate_corners` and `plate_text` are None unless the plate can be read; `plate_faces` is true if a
    plate is turned to the camera at all, `plate_hidden` is the reason why it cannot be read: "" (it can), "turned",
    "small", "dirt", "glare" or "blur". `silhouette` (S, S), if requested, is 255 on the vehicle.
    """

    image: Image
    vehicle_box: Box
    plate_box: Box | None
    plate_corners: tuple[Point, Point, Point, Point] | None
    plate_text: str | None
    view: str
    modality: Modality
    pose: Pose
    projection: Projection
    plate_faces: bool
    plate_hidden: str
    silhouette: Image | None = None


class Renderer:
    """Renders images of one size; caches meshes, plates and backgrounds between calls. Results do not depend on the
    cache.

    Args:
        size: side of the images, pixels.
        keep: cached vehicles, and cached cameras.
    """

    def __init__(self, size: int = 256, keep: int = 32) -> None:
        self.size, self._keep = size, keep
        self._meshes: OrderedDict[Vehicle, tuple[Mesh, dict[str, list[Image]], dict[str, list[Image]]]] = OrderedDict()
        self._scenes: OrderedDict[Camera, tuple[Image, NDArray[np.int16]]] = OrderedDict()

    def render(
        self,
        vehicle: Vehicle,
        camera: Camera,
        pose: Pose,
        rng: np.random.Generator,
        *,
        plate_hidden: float = 0.0,
        silhouette: bool = False,
    ) -> Rendered:
        """One image; `rng` decides crop, light and sensor, `plate_hidden` is the probability of a spoilt plate."""
        mesh, day, night = self._vehicle(vehicle)
        scene, tile = self._camera(camera)
        projection = self._crop(mesh, vehicle_projection(camera, pose), rng)
        spoilt = str(rng.choice(["dirt", "glare", "blur"])) if rng.random() < plate_hidden else ""
        light, exposure = draw_light(camera, projection, rng)
        images = dict(night) if camera.infrared else dict(day)
        if spoilt == "dirt":
            images["plate"] = in_falling_sizes(soil(images["plate"][0], rng))
        if not camera.infrared:
            daylight = 0.45 + 0.55 * min(1.0, light.ambient + light.strength / 2)
            images = {name: dim(sizes, daylight) for name, sizes in images.items()}

        fine = replace(projection, scale=projection.scale * _OVER)
        canvas = self._backdrop(scene, vehicle, projection, light, camera)
        colours = shade(mesh, light, projection.eye, infrared=camera.infrared)
        paint_mesh(canvas, mesh, fine, colours, images)
        image: Image = cv2.resize(canvas, (self.size, self.size), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]

        share = self.size / 256
        defocus = camera.defocus * share
        motion = float(camera.motion * rng.uniform(0, 1) + (rng.uniform(9, 14) if spoilt == "blur" else 0)) * share
        smear = math.hypot(2 * defocus, motion, projection.scale / _NATIVE)
        faces, hidden, corners = self._judge_plate(mesh, projection, spoilt)
        if corners is not None and not hidden:
            place = float(np.linalg.norm(corners[1] - corners[0])) / len(vehicle.plate.text)
            hidden = "blur" if smear > _SMEAR * place else ""
        if spoilt == "glare" and corners is not None:
            sensor.add_glow(image, corners.mean(axis=0)[None], 0.16 * self.size, 255)
        if light.lamps > 0:
            visible = mesh.lamps if pose.azimuth > -80 and pose.azimuth < 80 else mesh.lamps[:0]
            sensor.add_glow(
                image, projection.pixels(visible), (0.07 if camera.infrared else 0.045) * self.size, 150 * light.lamps
            )
        image = sensor.coarsen(image, self.size / projection.scale * _NATIVE)
        image = sensor.tone(image, camera, exposure)
        if camera.weather == "rain":
            sensor.add_rain(image, rng)
        image = sensor.blur(image, defocus=defocus, motion=motion)
        image = sensor.compress(sensor.add_noise(image, tile, rng), camera.jpeg_quality)

        legible = corners if not hidden else None
        return Rendered(
            image=image,
            vehicle_box=_box(projection.pixels(mesh.points), self.size),
            plate_box=_box(legible, self.size) if legible is not None else None,
            plate_corners=_points(legible) if legible is not None else None,
            plate_text=vehicle.plate.text if legible is not None else None,
            view=view_of(pose),
            modality=camera.modality,
            pose=pose,
            projection=projection,
            plate_faces=faces,
            plate_hidden=hidden,
            silhouette=self._silhouette(mesh, projection) if silhouette else None,
        )

    def _vehicle(self, vehicle: Vehicle) -> tuple[Mesh, dict[str, list[Image]], dict[str, list[Image]]]:
        if vehicle not in self._meshes:
            logo = {"logo": in_falling_sizes(logo_image(vehicle))} if vehicle.logo else {}
            without_colour = {name: [grey(p) for p in sizes] for name, sizes in logo.items()}
            day = {"plate": in_falling_sizes(plate_image(vehicle.plate)), **logo}
            night = {"plate": in_falling_sizes(infrared_plate_image(vehicle.plate)), **without_colour}
            self._meshes[vehicle] = (build_mesh(vehicle), day, night)
            if len(self._meshes) > self._keep:
                self._meshes.popitem(last=False)
        return self._meshes[vehicle]

    def _camera(self, camera: Camera) -> tuple[Image, NDArray[np.int16]]:
        if camera not in self._scenes:
            self._scenes[camera] = (draw_scene(camera), sensor.noise_tile(camera, self.size))
            if len(self._scenes) > self._keep:
                self._scenes.popitem(last=False)
        return self._scenes[camera]

    def _crop(self, mesh: Mesh, projection: Projection, rng: np.random.Generator) -> Projection:
        """The projection into a square around the vehicle, with a margin and a shift such as a detector leaves."""
        pixels = projection.pixels(mesh.points)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        side = float((high - low).max()) * rng.uniform(1.03, 1.16)
        middle = (low + high) / 2 + rng.uniform(-0.5, 0.5, 2) * (side - (high - low).max()) * 0.9
        left, top = middle - side / 2
        return replace(projection, left=float(left), top=float(top), scale=self.size / side)

    def _backdrop(self, scene: Image, vehicle: Vehicle, projection: Projection, light: Light, camera: Camera) -> Image:
        """The crop's background with the vehicle's shadow, at the size of painting."""
        s = projection.scale
        move = np.array([[s, 0, (0.5 - projection.left) * s - 0.5], [0, s, (0.5 - projection.top) * s - 0.5]])
        size = (self.size, self.size)
        ground = cv2.warpAffine(scene, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        half_l, half_w = vehicle.body.length / 2, vehicle.body.width / 2
        cast = -light.direction[:2] / max(0.25, light.direction[2]) * vehicle.body.height * 0.6
        cast = cast if light.strength > 0.3 and not camera.infrared else np.zeros(2)
        feet = np.array([(a * half_l * 0.98, b * half_w * 0.98, 0.0) for a in (1, -1) for b in (1, -1)])
        outline = np.concatenate([feet, feet + np.array([*cast, 0.0])])
        mask = np.full((self.size // 2, self.size // 2), 255, np.uint8)
        points = np.round(projection.pixels(outline) / 2 * 8).astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 95, cv2.LINE_AA, 3)
        soft = cv2.blur(mask, (5, 5))
        wide = cv2.resize(cv2.cvtColor(soft, cv2.COLOR_GRAY2BGR), size, interpolation=cv2.INTER_LINEAR)
        shadowed = cv2.multiply(ground, wide, scale=1 / 255)
        doubled = (self.size * _OVER, self.size * _OVER)
        return cv2.resize(shadowed, doubled, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]

    def _judge_plate(self, mesh: Mesh, projection: Projection, spoilt: str) -> tuple[bool, str, Floats | None]:
        """Whether a plate faces the camera, the reason why it cannot be read, and its corners (4, 2) if it faces the
        camera."""
        for decal in mesh.plates:
            towards = projection.eye - decal.corners.mean(axis=0)
            cosine = float(towards @ decal.normal / np.linalg.norm(towards))
            if cosine < 0.3:
                continue
            corners = projection.pixels(decal.corners)
            width = float(np.linalg.norm(corners[1] - corners[0] + corners[2] - corners[3]) / 2)
            height = float(np.linalg.norm(corners[3] - corners[0] + corners[2] - corners[1]) / 2)
            least_width, least_height, least_cosine = _LEGIBLE
            small = (
                width < least_width * self.size or height < least_height * self.size or width / projection.scale < 24
            )
            inside = bool((corners >= 0).all() and (corners <= self.size).all())
            hidden = "turned" if cosine < least_cosine or not inside else "small" if small else spoilt
            return True, hidden, corners
        return False, "turned", None

    def _silhouette(self, mesh: Mesh, projection: Projection) -> Image:
        canvas = np.zeros((self.size, self.size, 3), np.uint8)
        paint_mesh(canvas, mesh, projection, np.full((len(mesh.material), 3), 255.0), {})
        return canvas[..., 0]


def _box(points: Floats, size: int) -> Box:
    low, high = np.clip(points.min(axis=0), 0, size), np.clip(points.max(axis=0), 0, size)
    return Box(float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))


def _points(corners: Floats) -> tuple[Point, Point, Point, Point]:
    a, b, c, d = (Point(float(x), float(y)) for x, y in corners)
    return a, b, c, d
