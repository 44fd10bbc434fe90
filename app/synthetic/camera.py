"""Fixed cameras of a car park: position, view and image quality."""

from dataclasses import dataclass

import numpy as np

from app.core.sample import Modality

FRAME = (960, 720)  # width and height of a camera's whole image, pixels

# name, azimuth range, spread, chance of the other direction; 0 degrees faces the vehicle, 90 sees its left side
_POSTS: tuple[tuple[str, tuple[float, float], float, float], ...] = (
    ("entry", (4.0, 15.0), 6.0, 0.22),
    ("exit", (165.0, 176.0), 6.0, 0.22),
    ("lane", (18.0, 30.0), 7.0, 0.35),
    ("yard", (125.0, 155.0), 12.0, 0.45),
    ("ramp", (10.0, 24.0), 8.0, 0.4),
    ("aisle", (60.0, 110.0), 25.0, 0.3),
)


@dataclass(frozen=True)
class Camera:
    """One camera. Angles in degrees, lengths in metres, blur and focal length in pixels of its frame."""

    key: tuple[int, ...]
    modality: Modality
    post: str
    azimuth: float  # of the camera as the vehicle sees it: 0 ahead, 90 to its left, 180 behind
    spread: float
    turned: float  # chance that a vehicle comes the other way round
    height: float
    distance: float
    focal: float
    indoor: bool
    ground: str  # "asphalt", "concrete", "paving"
    backdrop: str  # "wall", "hedge", "building", "hall"
    gains: tuple[float, float, float]  # blue, green, red
    gamma: float
    contrast: float
    level: float  # exposure
    weather: str  # "clear", "rain", "fog"
    defocus: float
    motion: float
    noise: float  # standard deviation, of 255
    jpeg_quality: int
    saturation: float

    @property
    def infrared(self) -> bool:
        """Whether it sees near infrared only."""
        return self.modality == "infrared"


def draw_camera(key: tuple[int, ...], *, post: int, modality: Modality) -> Camera:
    """The camera with this key (seed, site, number); `post` numbers its view and is taken modulo 6."""
    rng = np.random.default_rng([2, *key])
    name, azimuths, spread, turned = _POSTS[post % len(_POSTS)]
    infrared = modality == "infrared"
    site = np.random.default_rng([10, *key[:-1]])  # shared by the cameras of one car park
    indoor = bool(site.random() < 0.35)
    distance = float(rng.uniform(5.5, 11.0))
    span = float(rng.uniform(330, 560))  # pixels that four metres take
    sign = 1.0 if rng.random() < 0.5 else -1.0
    weather = "clear" if indoor else str(rng.choice(["clear", "rain", "fog"], p=[0.66, 0.2, 0.14]))
    tint = rng.normal(0, 0.035)
    return Camera(
        key=key,
        modality=modality,
        post=name,
        azimuth=sign * float(rng.uniform(*azimuths)),
        spread=spread,
        turned=turned,
        height=float(rng.uniform(1.5, 3.6)),
        distance=distance,
        focal=span * distance / 4.0,
        indoor=indoor,
        ground=str(site.choice(["asphalt", "concrete", "paving"])),
        backdrop="hall" if indoor else str(site.choice(["wall", "hedge", "building"])),
        gains=(1.0, 1.0, 1.0) if infrared else (float(1 - tint), float(1 + rng.normal(0, 0.015)), float(1 + tint)),
        gamma=float(rng.uniform(0.88, 1.15)),
        contrast=float(rng.uniform(0.85, 1.1)),
        level=float(rng.uniform(0.92, 1.1) * (0.92 if indoor else 1.0)),
        weather=weather,
        defocus=float(rng.choice([0.0, 0.4, 0.8], p=[0.45, 0.35, 0.2])),
        motion=float(rng.choice([0.0, 1.2, 2.4], p=[0.5, 0.3, 0.2])),
        noise=float(rng.uniform(5, 11) if infrared else rng.uniform(1.5, 5)),
        jpeg_quality=int(rng.integers(45, 92)),
        saturation=float(rng.uniform(0.8, 1.1)),
    )
