"""Projection from the vehicle's metres to an image's pixels: a pinhole camera above a ground plane."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.synthetic.camera import FRAME, Camera

Floats = NDArray[np.float64]
_AIM = 0.75  # metres above the ground at which a camera points


@dataclass(frozen=True)
class Pose:
    """Place of a vehicle: metres ahead of the camera and to its left; degrees as in `Camera.azimuth`."""

    distance: float
    lateral: float
    azimuth: float


def draw_pose(camera: Camera, rng: np.random.Generator) -> Pose:
    """A random place and direction of a vehicle before this camera."""
    azimuth = camera.azimuth + rng.normal(0, camera.spread)
    if rng.random() < camera.turned:
        azimuth = 180.0 - azimuth if rng.random() < 0.5 else azimuth + 180.0
    azimuth = (azimuth + 180.0) % 360.0 - 180.0
    distance = camera.distance * rng.uniform(0.85, 1.3)
    return Pose(float(distance), float(rng.normal(0, 0.06) * camera.distance), float(azimuth))


def view_of(pose: Pose) -> str:
    """ "front", "side" or "rear"."""
    turn = abs(pose.azimuth)
    return "front" if turn < 50 else "rear" if turn > 130 else "side"


@dataclass(frozen=True)
class Projection:
    """p -> K (rotation p + shift), then scaled and moved into a crop. Positions in p's own axes."""

    rotation: Floats  # (3, 3), to camera axes: right, down, forward
    shift: Floats  # (3,)
    focal: float
    left: float = 0.0  # the crop's corner in the frame
    top: float = 0.0
    scale: float = 1.0

    def pixels(self, points: Floats) -> Floats:
        """Points (N, 3) as pixel places (N, 2); the centre of the first pixel is (0.5, 0.5)."""
        seen = points @ self.rotation.T + self.shift
        plane = seen[:, :2] * (self.focal / np.maximum(seen[:, 2:], 0.05))
        moved: Floats = (plane + self._middle) * self.scale
        return moved

    @property
    def _middle(self) -> Floats:
        return np.array([FRAME[0] / 2 - self.left, FRAME[1] / 2 - self.top])

    @property
    def eye(self) -> Floats:
        """Position of the camera (3,), in p's axes."""
        position: Floats = -self.rotation.T @ self.shift
        return position


def world_projection(camera: Camera) -> Projection:
    """Projection of world points: x ahead of the camera, y to its left, z up from the ground under it."""
    pitch = math.atan2(camera.height - _AIM, camera.distance)
    cos, sin = math.cos(pitch), math.sin(pitch)
    rotation = np.array([[0.0, -1.0, 0.0], [-sin, 0.0, -cos], [cos, 0.0, -sin]])
    return Projection(rotation, rotation @ np.array([0.0, 0.0, -camera.height]), camera.focal)


def heading(pose: Pose) -> float:
    """The vehicle's direction in the world, radians from x towards y."""
    return math.atan2(-pose.lateral, -pose.distance) - math.radians(pose.azimuth)


def vehicle_projection(camera: Camera, pose: Pose) -> Projection:
    """Projection of points in a vehicle's axes."""
    world, angle = world_projection(camera), heading(pose)
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1.0]])
    place = np.array([pose.distance, pose.lateral, 0.0])
    return Projection(world.rotation @ turn, world.rotation @ place + world.shift, world.focal)
