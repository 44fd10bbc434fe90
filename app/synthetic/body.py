"""Body types with real proportions, and the catalogue of vehicle models."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np


@dataclass(frozen=True)
class Body:
    """The shape of one model. Lengths in metres; places along the vehicle as shares of its length, 0 = front end.

    `roof_width` is the roof's share of the width; `windows` are the side windows between the pillars, as shares of
    the cabin's length; `lamps`, `tail_lamps` and `grille` number the forms that `details.py` draws.
    """

    kind: str
    length: float
    width: float
    height: float
    clearance: float
    wheel_radius: float
    front_axle: float
    rear_axle: float
    bumper: float  # height of the bumper's upper edge
    nose: float  # height of the bonnet's front edge
    cowl_at: float
    cowl: float  # height of the windscreen's foot
    roof_front: float
    roof_rear: float
    rear_base_at: float
    rear_base: float  # height of the rear window's foot
    tail: float  # height of the rear end
    roof_width: float = 0.76
    windows: tuple[tuple[float, float], ...] = ((0.13, 0.47), (0.51, 0.84))
    lamps: int = 0
    tail_lamps: int = 0
    grille: int = 0
    setback: float = 0.22  # how far the front corners lie behind the middle
    name: str = ""


_TWO = ((0.12, 0.46), (0.50, 0.80))
_THREE = ((0.11, 0.38), (0.41, 0.66), (0.69, 0.92))
BODIES = (
    Body("hatchback", 4.10, 1.78, 1.47, 0.19, 0.31, 0.19, 0.82, 0.50, 0.74, 0.25, 0.98, 0.43, 0.88, 0.97, 0.98, 0.86),
    Body("micro", 3.55, 1.64, 1.52, 0.19, 0.28, 0.17, 0.83, 0.50, 0.77, 0.20, 1.0, 0.36, 0.90, 0.98, 1.0, 0.88),
    Body(
        "sedan", 4.70, 1.83, 1.45, 0.18, 0.32, 0.19, 0.79, 0.50, 0.73, 0.27, 0.97, 0.43, 0.69, 0.85, 1.0, 0.97,
        windows=_TWO,
    ),
    Body(
        "coupe", 4.40, 1.84, 1.33, 0.15, 0.33, 0.19, 0.80, 0.46, 0.68, 0.30, 0.91, 0.48, 0.64, 0.90, 0.95, 0.90,
        windows=((0.2, 0.66),),
    ),
    Body(
        "estate", 4.72, 1.83, 1.49, 0.18, 0.32, 0.19, 0.78, 0.50, 0.74, 0.26, 0.97, 0.41, 0.91, 0.97, 0.99, 0.88,
        windows=_THREE,
    ),
    Body(
        "suv", 4.55, 1.88, 1.70, 0.27, 0.37, 0.19, 0.80, 0.62, 0.93, 0.25, 1.14, 0.39, 0.89, 0.97, 1.13, 1.0,
        roof_width=0.8, windows=_THREE,
    ),
    Body(
        "van", 5.10, 1.98, 2.02, 0.24, 0.34, 0.18, 0.78, 0.58, 0.95, 0.13, 1.20, 0.26, 0.975, 0.992, 1.16, 1.0,
        roof_width=0.88, windows=((0.12, 0.30),), setback=0.14,
    ),
    Body(
        "minibus", 5.60, 2.02, 2.45, 0.25, 0.35, 0.16, 0.77, 0.58, 0.95, 0.09, 1.22, 0.18, 0.98, 0.993, 1.2, 1.0,
        roof_width=0.9, windows=((0.09, 0.25), (0.27, 0.48), (0.50, 0.72), (0.74, 0.95)), setback=0.12,
    ),
    Body(
        "pickup", 5.25, 1.88, 1.79, 0.30, 0.39, 0.18, 0.78, 0.66, 1.00, 0.26, 1.17, 0.37, 0.57, 0.63, 1.17, 1.12,
        roof_width=0.79, windows=((0.15, 0.50), (0.54, 0.85)),
    ),
)  # fmt: skip
_SHARE = {
    "hatchback": 0.21,
    "micro": 0.06,
    "sedan": 0.22,
    "coupe": 0.04,
    "estate": 0.08,
    "suv": 0.22,
    "van": 0.07,
    "minibus": 0.04,
    "pickup": 0.06,
}
_MODELS_PER_BODY = 3


@cache
def catalogue() -> tuple[tuple[Body, ...], tuple[float, ...]]:
    """All models and how common each is (sums to 1). The same on every call, whatever the settings."""
    models, shares = [], []
    for number, body in enumerate(BODIES):
        for variant in range(_MODELS_PER_BODY):
            rng = np.random.default_rng([7, number, variant])
            scale = rng.uniform(0.965, 1.035, 3)
            lift = rng.uniform(-0.035, 0.035)
            models.append(
                replace(
                    body,
                    length=body.length * scale[0],
                    width=body.width * (0.5 + 0.5 * scale[1]),
                    height=body.height * scale[2],
                    nose=body.nose + lift,
                    roof_rear=body.roof_rear + rng.uniform(-0.02, 0.012),
                    roof_front=body.roof_front + rng.uniform(-0.015, 0.02),
                    lamps=int(rng.integers(4)),
                    tail_lamps=(number + variant) % 4,
                    grille=int(rng.integers(5)),
                    name=f"{body.kind}-{variant}",
                )
            )
            shares.append(_SHARE[body.kind] * (0.5, 0.3, 0.2)[variant])
    total = sum(shares)
    return tuple(models), tuple(share / total for share in shares)
