"""Mesh of a vehicle: skin, windows and details in painting order, and its decals."""

from itertools import pairwise

import numpy as np

from app.synthetic.details import (
    CHROME,
    SHADE,
    add_front,
    add_mirrors,
    add_rear,
    add_roof_item,
    add_sticker,
    add_stripes,
    solid,
)
from app.synthetic.mesh import Floats, Group, Material, Mesh, MeshBuilder, Surface
from app.synthetic.shell import Shell, build_shell
from app.synthetic.vehicle import Vehicle
from app.synthetic.wheels import add_running_gear, add_wheels


def _glass(tint: float) -> Material:
    level = 96 * (1 - tint) + 16
    return Material((int(level * 1.08), int(level), int(level * 0.92)), 0.12 * (1 - tint) + 0.03, 0.9)


def build_mesh(vehicle: Vehicle) -> Mesh:
    """The mesh of `vehicle`; `decals` holds the front plate, the rear plate and, if it has one, the logos."""
    body, shell, mesh = vehicle.body, build_shell(vehicle.body), MeshBuilder()
    paint = Material(vehicle.colour, vehicle.infrared, 0.5)
    roof_paint = paint if vehicle.roof == vehicle.colour else solid(vehicle.roof, 0.5)
    add_running_gear(mesh, body)
    for surface in (shell.front, shell.bonnet, shell.boot, shell.rear, shell.left, shell.right):
        mesh.add_surface(surface, paint, Group.BODY)
    if body.kind == "pickup":
        _add_bed(mesh, shell)
    _add_sides(mesh, vehicle, shell)
    add_wheels(mesh, vehicle)
    add_front(mesh, vehicle, shell)
    add_rear(mesh, vehicle, shell)
    _add_cabin(mesh, vehicle, shell, paint, roof_paint)
    add_mirrors(mesh, vehicle, shell)
    add_stripes(mesh, vehicle, shell)
    for sticker in vehicle.stickers:
        add_sticker(mesh, sticker, shell)
    add_roof_item(mesh, vehicle, shell)
    if vehicle.logo:
        _add_logos(mesh, vehicle, shell)
    _add_plates(mesh, vehicle, shell)
    return mesh.build(body.height)


def _add_bed(mesh: MeshBuilder, shell: Shell) -> None:
    corners = [
        shell.boot.at(r, c) - (0, 0, 0.02) for r, c in ((0.04, -0.88), (0.04, 0.88), (0.97, 0.88), (0.97, -0.88))
    ]
    mesh.add(corners, Material((38, 38, 38), 0.1), Group.BODY)


def _add_sides(mesh: MeshBuilder, vehicle: Vehicle, shell: Shell) -> None:
    """Sill, door joints, handles, moulding."""
    line = Material(tuple(int(c * 0.35) for c in vehicle.colour), vehicle.infrared * 0.4)  # type: ignore[arg-type]
    body = vehicle.body
    start, end = body.cowl_at, body.rear_base_at
    last = body.windows[-1]
    doors = sorted({start + 0.02, *(start + (end - start) * (w[1] + 0.02) for w in body.windows[:2])})
    thin = 0.008 / body.length
    for surface in (shell.left, shell.right):
        if vehicle.lower != vehicle.colour:
            for c0, c1 in pairwise(surface.cols):
                quad = [surface.at(0, c0), surface.at(0, c1), surface.at(0.42, c1), surface.at(0.42, c0)]
                mesh.add(quad, solid(vehicle.lower, 0.1), Group.BODY)
        for col in doors:
            for r0, r1 in ((0.25, 1.0), (1.0, 2.0)):
                quad = [
                    surface.at(r, c)
                    for r, c in ((r0, col - thin), (r0, col + thin), (r1, col + thin), (r1, col - thin))
                ]
                mesh.add(quad, line, Group.BODY)
        for col in doors[1:]:
            grip = solid((160, 160, 160), 0.6) if vehicle.chrome else line
            corners = ((1.68, col - 0.045), (1.68, col - 0.012), (1.78, col - 0.012), (1.78, col - 0.045))
            mesh.add([surface.at(r, c) for r, c in corners], grip, Group.BODY)
        if vehicle.moulding is not None:
            for c0, c1 in ((start, (start + end) / 2), ((start + end) / 2, start + (end - start) * last[1])):
                corners = ((1.02, c0), (1.02, c1), (1.16, c1), (1.16, c0))
                mesh.add([surface.at(r, c) for r, c in corners], solid(vehicle.moulding), Group.BODY)


def _add_cabin(mesh: MeshBuilder, vehicle: Vehicle, shell: Shell, paint: Material, roof_paint: Material) -> None:
    glass, rear_glass = _glass(vehicle.window_tint), _glass(max(vehicle.window_tint, vehicle.rear_tint))
    frame = CHROME if vehicle.chrome else Material((26, 25, 25), 0.08)
    for surface in (shell.windscreen, shell.rear_window, shell.left_house, shell.right_house):
        mesh.add_surface(surface, paint, Group.HOUSE)
    _add_pane(mesh, shell.windscreen, (0.03, 0.95), (-0.9, 0.9), glass)
    _add_pane(mesh, shell.windscreen, (0.0, 0.05), (-0.92, 0.92), SHADE)
    if not vehicle.windowless:
        _add_pane(mesh, shell.rear_window, (0.12, 0.9), (-0.86, 0.86), rear_glass)
    else:
        for col in (-0.02, 0.0):
            _add_pane(mesh, shell.rear_window, (0.0, 1.0), (col, col + 0.02), SHADE)
    for house in (shell.left_house, shell.right_house):
        windows = vehicle.body.windows[:1] if vehicle.windowless else vehicle.body.windows
        for number, (u0, u1) in enumerate(windows):
            grow = 0.012
            _add_pane(mesh, house, (0.05, 0.92), (u0 - grow, u1 + grow), frame)
            _add_pane(mesh, house, (0.10, 0.88), (u0, u1), glass if number == 0 else rear_glass)
    mesh.add_surface(shell.roof, roof_paint, Group.HOUSE)


def _add_pane(
    mesh: MeshBuilder, surface: Surface, rows: tuple[float, float], cols: tuple[float, float], material: Material
) -> None:
    """A pane bent where the surface is bent."""
    edges = [cols[0], *(c for c in surface.cols if cols[0] < c < cols[1]), cols[1]]
    for c0, c1 in pairwise(edges):
        corners = ((rows[0], c0), (rows[0], c1), (rows[1], c1), (rows[1], c0))
        mesh.add([surface.at(r, c) for r, c in corners], material, Group.HOUSE)


def _upright(middle: Floats, towards_right: float, width: float, height: float, lean: float) -> Floats:
    """Corners (4, 3) of an image across the vehicle; its right edge lies at the larger `towards_right` * y."""
    right = np.array([0.0, towards_right, 0.0]) * width / 2
    up = np.array([lean, 0.0, 1.0]) * height / 2
    return np.array([middle - right + up, middle + right + up, middle + right - up, middle - right - up])


def _add_plates(mesh: MeshBuilder, vehicle: Vehicle, shell: Shell) -> None:
    layout, body = vehicle.plate.layout, vehicle.body
    holder = Material((24, 24, 24), 0.06)
    front = shell.front.at(0.72, 0) + np.array([0.02, 0, 0])
    high = body.kind not in ("pickup", "minibus") and body.tail_lamps % 2 == 0
    rear = shell.rear.at(1.42 if high else 0.62, 0) - (0.02, 0, 0)
    for middle, side in ((front, 1.0), (rear, -1.0)):
        frame = _upright(middle - (0.004 * side, 0, 0), side, layout.width + 0.03, layout.height + 0.03, 0.0)
        mesh.add(frame, holder, Group.BODY)
        mesh.add_decal("plate", _upright(middle, side, layout.width, layout.height, 0.0), Group.BODY)


def _add_logos(mesh: MeshBuilder, vehicle: Vehicle, shell: Shell) -> None:
    body = vehicle.body
    tall = body.kind in ("van", "minibus")
    width, height = (1.25, 0.36) if tall else (0.85, 0.25)
    at = body.cowl_at + 0.42 * (body.rear_base_at - body.cowl_at)
    for surface, ahead in ((shell.left, -1.0), (shell.right, 1.0)):
        # Seen from the left, the vehicle points to the left: reading direction is backwards, -x.
        middle = surface.at(1.42, at)
        up = surface.at(1.6, at) - surface.at(1.3, at)
        up = up / np.linalg.norm(up) * height / 2
        right = np.array([ahead * width / 2, 0, 0])
        out = np.array([0, -ahead * 0.006, 0])
        corners = np.array([middle - right + up, middle + right + up, middle + right - up, middle - right - up]) + out
        mesh.add_decal("logo", corners, Group.BODY)
    behind = shell.rear.at(1.6, 0.6) - (0.006, 0, 0)
    mesh.add_decal("logo", _upright(behind, -1.0, 0.48, 0.14, 0.0), Group.BODY)
    hood, forward = shell.bonnet.at(0.45, 0.0), shell.bonnet.at(0.6, 0.0) - shell.bonnet.at(0.4, 0.0)
    up = forward / np.linalg.norm(forward) * 0.12
    right = np.array([0.0, 0.38, 0.0])
    mesh.add_decal(
        "logo", np.array([hood - right + up, hood + right + up, hood + right - up, hood - right - up]), Group.BODY
    )
