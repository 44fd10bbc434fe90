"""Wheels, and their visible parts from the front and the rear."""

import math

import numpy as np

from app.synthetic.body import Body
from app.synthetic.details import SHADE, solid
from app.synthetic.mesh import Floats, Group, Material, MeshBuilder
from app.synthetic.vehicle import Vehicle

RUBBER = Material((30, 29, 28), 0.12)


def _disc(x: float, y: float, z: float, radius: float, count: int, floor: float = 0.0) -> Floats:
    angle = np.linspace(0, 2 * math.pi, count, endpoint=False)
    points: Floats = np.stack(
        [x + radius * np.cos(angle), np.full(count, y), np.maximum(z + radius * np.sin(angle), floor)], axis=1
    )
    return points


def add_running_gear(mesh: MeshBuilder, body: Body) -> None:
    """Parts below the sills: tyres from the front and the rear, the floor's shade."""
    half = body.width / 2
    for share in (body.front_axle, body.rear_axle):
        x = body.length * (0.5 - share)
        for sign in (-1, 1):
            rims = [_disc(x, sign * half * at, body.wheel_radius, body.wheel_radius, 14) for at in (0.99, 0.76)]
            mesh.add(np.concatenate(rims), RUBBER, Group.UNDER, hull=True)
    floor = np.array(
        [(s * body.length * 0.46, t * half * 0.9, z) for s in (-1, 1) for t in (-1, 1) for z in (0.16, 0.3)]
    )
    mesh.add(floor, SHADE, Group.UNDER, hull=True)


def add_wheels(mesh: MeshBuilder, vehicle: Vehicle) -> None:
    """Arch, tyre, rim and spokes on both sides."""
    body = vehicle.body
    radius = body.wheel_radius
    cladding = vehicle.lower != vehicle.colour
    rim = solid(vehicle.rim_colour, 0.5)
    for share in (body.front_axle, body.rear_axle):
        x = body.length * (0.5 - share)
        for sign in (-1, 1):
            y = sign * body.width / 2
            if cladding:
                rim_arch = _disc(x, y * 1.001, radius, radius * 1.32, 22, body.clearance)
                mesh.add(rim_arch, solid(vehicle.lower, 0.1), Group.BODY)
            mesh.add(_disc(x, y * 1.002, radius, radius * 1.15, 22, body.clearance * 0.9), SHADE, Group.BODY)
            mesh.add(_disc(x, y * 1.004, radius, radius, 22), RUBBER, Group.BODY)
            _add_rim(mesh, x, y * 1.006, radius, vehicle.rims, rim)


def _add_rim(mesh: MeshBuilder, x: float, y: float, radius: float, form: int, rim: Material) -> None:
    """Forms 0-3: 5, 6, 7, 10 spokes; 4: steel wheel with holes; 5: closed cover; 6: twin spokes."""
    outer = radius * 0.70
    if form in (4, 5):
        mesh.add(_disc(x, y, radius, outer, 18), rim, Group.BODY)
        for k in range(8 if form == 4 else 0):
            angle = 2 * math.pi * k / 8
            hole = _disc(
                x + 0.47 * radius * math.cos(angle), y, radius + 0.47 * radius * math.sin(angle), radius * 0.09, 6
            )
            mesh.add(hole, SHADE, Group.BODY)
        mesh.add(_disc(x, y, radius, radius * 0.22, 10), SHADE if form == 5 else RUBBER, Group.BODY)
        return
    mesh.add(_disc(x, y, radius, outer, 18), rim, Group.BODY)
    mesh.add(_disc(x, y, radius, outer * 0.88, 18), SHADE, Group.BODY)
    spokes = (5, 6, 7, 10, 0, 0, 5)[form]
    for k in range(spokes):
        for shift in (-0.2, 0.2) if form == 6 else (0.0,):
            angle = 2 * math.pi * k / spokes + shift
            wide = (0.20, 0.16, 0.13, 0.08, 0, 0, 0.09)[form]
            corners = [(0.15, -wide), (0.9, -wide * 0.8), (0.9, wide * 0.8), (0.15, wide)]
            cos, sin = math.cos(angle), math.sin(angle)
            points = [(x + outer * (a * cos - b * sin), y, radius + outer * (a * sin + b * cos)) for a, b in corners]
            mesh.add(np.array(points), rim, Group.BODY)
    mesh.add(_disc(x, y, radius, outer * 0.22, 8), rim, Group.BODY)
