"""Car parks and the plan of a data set: vehicle, time, camera and split of each image."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from app.settings.synthetic import SyntheticSettings
from app.synthetic.body import catalogue
from app.synthetic.camera import Camera, draw_camera
from app.synthetic.plate import LAYOUTS
from app.synthetic.vehicle import Vehicle, draw_vehicle

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
_FLEET_SHARE = 0.3  # of a site's vehicles that belong to one of its fleets: same model, same paint
_FLEET_PAINTS = 4  # the first paints of the list: white, black, grey, silver


@dataclass(frozen=True)
class Site:
    """One car park: its cameras and the distribution of its residents' vehicles."""

    key: tuple[int, int]  # seed, number
    cameras: tuple[Camera, ...]
    fleets: tuple[tuple[int, int], ...]
    layouts: tuple[float, ...]

    def vehicle(self, part: Part, number: int) -> Vehicle:
        """The vehicle with this number, from 0, in this part of the site's residents."""
        key = (*self.key, PARTS.index(part), number)
        rng = np.random.default_rng([6, *key])
        fleet = self.fleets[rng.integers(len(self.fleets))] if rng.random() < _FLEET_SHARE else None
        return draw_vehicle(key, fleet=fleet, layouts=self.layouts)


@dataclass(frozen=True)
class PlannedImage:
    """One image to render. `camera` and `number` count within the site and the vehicle."""

    pid: int
    camid: int
    split: str  # "train", "val_query", "val_gallery", "test_query" or "test_gallery"
    part: Part
    site: int
    vehicle: int
    camera: int
    number: int

    @property
    def key(self) -> tuple[int, ...]:
        """Seed of the image's random numbers, independent of the number of other images."""
        return (self.site, PARTS.index(self.part), self.vehicle, self.camera, self.number)


def draw_site(settings: SyntheticSettings, number: int) -> Site:
    """The site with this number, from 0."""
    rng = np.random.default_rng([7, settings.seed, number])
    visible = settings.cameras_per_site - settings.infrared_cameras_per_site
    cameras = tuple(
        draw_camera(
            (settings.seed, number, i),
            post=i if i < visible else i - visible,
            modality="visible" if i < visible else "infrared",
        )
        for i in range(settings.cameras_per_site)
    )
    models, shares = catalogue()
    fleets = tuple((int(rng.choice(len(models), p=shares)), int(rng.integers(_FLEET_PAINTS))) for _ in range(2))
    favourite = number % len(LAYOUTS)
    rest = 0.3 / (len(LAYOUTS) - 1)
    return Site(
        (settings.seed, number), cameras, fleets, tuple(0.7 if i == favourite else rest for i in range(len(LAYOUTS)))
    )


def train_images(settings: SyntheticSettings, rank: int) -> int:
    """Images of the training vehicle at `rank` (from 0): a power law from the setting's most to its least."""
    most, least = settings.train_pictures_max, settings.train_pictures_min
    if settings.train_vehicles_per_site < 2:
        return most
    power = math.log(most / least) / math.log(settings.train_vehicles_per_site)
    return max(least, round(most * (rank + 1) ** -power))


def plan(settings: SyntheticSettings) -> Iterator[PlannedImage]:
    """Every image of the set, site by site and vehicle by vehicle."""
    counts = (
        settings.train_vehicles_per_site,
        settings.val_vehicles_per_site,
        settings.test_vehicles_per_site,
    )
    pid = 0
    for site in range(settings.sites):
        for part, count in zip(PARTS, counts, strict=True):
            for vehicle in range(count):
                for number, (camera, split) in enumerate(_appearances(settings, site, part, vehicle)):
                    camid = site * settings.cameras_per_site + camera
                    yield PlannedImage(pid, camid, split, part, site, vehicle, camera, number)
                pid += 1


def _appearances(settings: SyntheticSettings, site: int, part: Part, vehicle: int) -> list[tuple[int, str]]:
    """Camera and split of each image of one vehicle."""
    cameras = settings.cameras_per_site
    if part == "train":
        rng = np.random.default_rng([8, settings.seed, site, vehicle])
        order = rng.permutation(cameras).tolist()  # every camera once, then random ones
        count = train_images(settings, vehicle)
        return [(order[k] if k < cameras else int(rng.integers(cameras)), "train") for k in range(count)]
    dealt = [(vehicle + k) % cameras for k in range(settings.eval_pictures_per_vehicle)]
    used = list(dict.fromkeys(dealt))
    first_infrared = cameras - settings.infrared_cameras_per_site
    asking = [used[0]]
    if len(used) > 2:  # one camera at least has no query, so that every query has a match elsewhere
        other = [c for c in used[1:] if (c < first_infrared) != (used[0] < first_infrared)]
        asking.append((other or used[1:])[0])
    result = []
    for k, camera in enumerate(dealt):
        query = camera in asking and camera not in dealt[:k]
        result.append((camera, f"{part}_{'query' if query else 'gallery'}"))
    return result


def time_of(settings: SyntheticSettings, planned: PlannedImage, *, infrared: bool) -> str:
    """Time of the image, ISO 8601: by day, or at night for an infrared camera."""
    rng = np.random.default_rng([9, settings.seed, *planned.key])
    hours = rng.uniform(20, 29) if infrared else rng.uniform(7, 19)
    moment = datetime(2024, 3, 1) + timedelta(days=int(rng.integers(90)), seconds=int(hours * 3600))
    return moment.isoformat()
