"""Light of one image."""

from dataclasses import dataclass

import numpy as np

from app.synthetic.camera import Camera
from app.synthetic.projection import Floats, Projection


@dataclass(frozen=True)
class Light:
    """Light on a vehicle, in the vehicle's axes. Strengths: 1 shows a colour as it is."""

    direction: Floats  # (3,), unit, towards the light
    ambient: float
    strength: float
    sky: tuple[float, float, float]  # colour mirrored by glossy surfaces, blue-green-red
    lamps: float = 0.0  # head lamps and tail lamps, 0 off


def draw_light(camera: Camera, projection: Projection, rng: np.random.Generator) -> tuple[Light, float]:
    """Light in the vehicle's axes, and the exposure of this image."""
    exposure = float(rng.uniform(0.9, 1.1))
    lamps = float(rng.uniform(0.5, 1.0)) if rng.random() < (0.5 if camera.infrared else 0.2) else 0.0
    if camera.infrared:
        eye = projection.eye
        return Light(eye / np.linalg.norm(eye), 0.12, 0.85, (25.0, 25.0, 25.0), lamps), exposure
    turn, climb = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.2)
    sun = np.array([np.cos(turn) * np.cos(climb), np.sin(turn) * np.cos(climb), np.sin(climb)])
    if camera.indoor or camera.weather != "clear":
        return Light(np.array([0.0, 0.0, 1.0]), 0.72, 0.2, (165.0, 160.0, 155.0), lamps), exposure
    strength = float(rng.uniform(0.1, 0.6))
    ambient = 0.85 - 0.5 * strength
    return Light(sun, ambient, strength, (225.0, 205.0, 185.0), lamps), exposure
