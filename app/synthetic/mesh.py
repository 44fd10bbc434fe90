"""Mesh of a vehicle: an ordered list of flat polygons, and the surfaces for details.

Vehicle axes: x forward, y to the vehicle's left, z up, metres; the origin is on the ground under the middle.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Colour = tuple[int, int, int]


class Group(IntEnum):
    """Parts that are painted one after another; inside a part, polygons stand in painting order."""

    UNDER = 0
    BODY = 1
    HOUSE = 2  # the cabin above the belt line
    ROOF = 3
    LEFT_MIRROR = 4
    RIGHT_MIRROR = 5


@dataclass(frozen=True)
class Material:
    """Reaction of a polygon to light. `infrared` is the reflectance in near infrared; `glow` is for lamps."""

    colour: Colour
    infrared: float
    gloss: float = 0.0
    glow: float = 0.0


@dataclass(frozen=True)
class Decal:
    """An image on the body; `corners` (4, 3) run from the image's own top left clockwise."""

    name: str  # "plate" or "logo"
    corners: Floats
    normal: Floats
    group: Group


@dataclass(frozen=True)
class Mesh:
    """P polygons with N points in all; polygon i holds points[starts[i]:starts[i + 1]]."""

    points: Floats  # (N, 3)
    starts: NDArray[np.int64]  # (P + 1,)
    normals: Floats  # (P, 3), outward, unit length
    anchors: Floats  # (P, 3), a point of each polygon
    hull: NDArray[np.bool_]  # (P,), painted as the outline of its points, from every side
    groups: NDArray[np.int64]  # (P,)
    materials: tuple[Material, ...]
    material: NDArray[np.int64]  # (P,)
    decals: tuple[Decal, ...]
    lamps: Floats  # (K, 3), middle of each head lamp
    roof_height: float

    @property
    def plates(self) -> tuple[Decal, ...]:
        """The front plate and the rear plate."""
        return tuple(decal for decal in self.decals if decal.name == "plate")


class Surface:
    """A grid of points with a coordinate for each row and column; `at` interpolates between them."""

    def __init__(self, grid: Sequence[Sequence[Sequence[float]]], rows: Sequence[float], cols: Sequence[float]) -> None:
        self.grid = np.array(grid, np.float64)  # (R, C, 3)
        self.rows, self.cols = [float(r) for r in rows], [float(c) for c in cols]
        if self.grid.shape != (len(rows), len(cols), 3):
            raise ValueError(f"grid {self.grid.shape} does not fit {len(rows)} rows and {len(cols)} columns")

    def at(self, row: float, col: float) -> Floats:
        """The point (3,) at a row and a column coordinate; coordinates outside are taken to the rim."""
        i, v = _cell(self.rows, row)
        j, u = _cell(self.cols, col)
        cell = self.grid[i : i + 2, j : j + 2]
        point: Floats = (cell[0, 0] * (1 - u) + cell[0, 1] * u) * (1 - v) + (cell[1, 0] * (1 - u) + cell[1, 1] * u) * v
        return point

    def share(self, row: float, col: float) -> Floats:
        """`at`, with both coordinates given as shares of the surface, 0 to 1."""
        return self.at(
            self.rows[0] + row * (self.rows[-1] - self.rows[0]), self.cols[0] + col * (self.cols[-1] - self.cols[0])
        )


def _cell(knots: list[float], place: float) -> tuple[int, float]:
    """The interval of `knots` that `place` lies in, and where in it, 0 to 1."""
    number = min(max(bisect_left(knots, place) - 1, 0), len(knots) - 2)
    share = (place - knots[number]) / (knots[number + 1] - knots[number])
    return number, min(max(share, 0.0), 1.0)


class MeshBuilder:
    """Collects polygons in painting order."""

    def __init__(self) -> None:
        self._points: list[Floats] = []
        self._normals: list[Floats] = []
        self._hull: list[bool] = []
        self._groups: list[Group] = []
        self._material: list[int] = []
        self._materials: dict[Material, int] = {}
        self._decals: list[Decal] = []
        self.lamps: list[Floats] = []

    def add(self, points: Sequence[Floats] | Floats, material: Material, group: Group, *, hull: bool = False) -> None:
        """One polygon; its outward side is the one away from the vehicle's middle."""
        array = np.asarray(points, np.float64)
        self._points.append(array)
        self._normals.append(np.array([0.0, 0.0, 1.0]) if hull else outward_normal(array))
        self._hull.append(hull)
        self._groups.append(group)
        self._material.append(self._materials.setdefault(material, len(self._materials)))

    def add_surface(self, surface: Surface, material: Material, group: Group) -> None:
        """Every cell of the grid as one polygon."""
        grid = surface.grid
        for i in range(grid.shape[0] - 1):
            for j in range(grid.shape[1] - 1):
                self.add([grid[i, j], grid[i, j + 1], grid[i + 1, j + 1], grid[i + 1, j]], material, group)

    def add_box(self, low: Sequence[float], high: Sequence[float], material: Material, group: Group) -> None:
        """Top and sides of an upright box."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2])
        faces = (
            [(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)],
            [(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)],
            [(x0, y0, z0), (x0, y1, z0), (x0, y1, z1), (x0, y0, z1)],
            [(x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1)],
            [(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)],
        )
        for face in faces:
            self.add(np.array(face), material, group)
            self._normals[-1] = outward_normal(np.array(face), middle)

    def add_decal(self, name: str, corners: Floats, group: Group) -> None:
        """An image on four points."""
        self._decals.append(Decal(name, corners, outward_normal(corners), group))

    def build(self, roof_height: float) -> Mesh:
        """The finished mesh."""
        return Mesh(
            points=np.concatenate(self._points),
            starts=np.cumsum([0, *(len(p) for p in self._points)]),
            normals=np.array(self._normals),
            anchors=np.array([p.mean(axis=0) for p in self._points]),
            hull=np.array(self._hull),
            groups=np.array(self._groups, np.int64),
            materials=tuple(self._materials),
            material=np.array(self._material),
            decals=tuple(self._decals),
            lamps=np.array(self.lamps).reshape(-1, 3),
            roof_height=roof_height,
        )


def outward_normal(points: Floats, middle: Floats | None = None) -> Floats:
    """The unit normal (3,) of a polygon (n, 3) by Newell's sums, pointing away from `middle` (the cabin's floor)."""
    places = points.tolist()
    x = y = z = 0.0
    for (ax, ay, az), (bx, by, bz) in zip(places, [*places[1:], places[0]], strict=True):
        x, y, z = x + ay * bz - az * by, y + az * bx - ax * bz, z + ax * by - ay * bx
    length = math.sqrt(x * x + y * y + z * z)
    if length == 0:
        return np.array([0.0, 0.0, 1.0])
    count = len(places)
    cx, cy, cz = (sum(column) / count for column in zip(*places, strict=True))
    mx, my, mz = (0.0, 0.0, 0.45) if middle is None else middle.tolist()
    outward = x * (cx - mx) + y * (cy - my) + z * (cz - mz) >= 0
    return np.array([x, y, z]) / (length if outward else -length)
