"""Parts of a vehicle that stand on its skin: lamps, grille, mirrors, roof items, stripes, stickers."""

import math
from itertools import pairwise

import numpy as np

from app.synthetic.mesh import Colour, Floats, Group, Material, MeshBuilder, Surface
from app.synthetic.shell import Shell
from app.synthetic.vehicle import Sticker, Vehicle

SHADE = Material((22, 21, 20), 0.05)
CHROME = Material((205, 203, 200), 0.6, 0.6)
LENS = Material((215, 212, 205), 0.7, 0.7, 0.5)
RED_LENS = Material((35, 25, 150), 0.35, 0.4, 0.2)
AMBER = Material((20, 120, 225), 0.5, 0.3)
LAMP_HOUSING = Material((60, 58, 56), 0.15, 0.5)


def solid(colour: Colour, gloss: float = 0.2) -> Material:
    """A plain material whose infrared reflectance is near the eye's: stickers, plastic."""
    return Material(colour, (0.2 * colour[0] + 0.3 * colour[1] + 0.5 * colour[2]) / 255 * 0.8 + 0.1, gloss)


def _area(surface: Surface, rows: tuple[float, float], cols: tuple[float, float], slant: float = 0.0) -> list[Floats]:
    """Four points of a surface; `slant` raises the upper edge's second end and lowers its first."""
    (r0, r1), (c0, c1) = rows, cols
    return [surface.at(r0, c0), surface.at(r0, c1), surface.at(r1 + slant, c1), surface.at(r1 - slant, c0)]


def add_front(mesh: MeshBuilder, vehicle: Vehicle, shell: Shell) -> None:
    """Bumper, grille and head lamps."""
    front, body = shell.front, vehicle.body
    trim = CHROME if vehicle.chrome else solid((40, 38, 36))
    if vehicle.lower != vehicle.colour:
        for cols in ((-1.0, -0.62), (-0.62, 0.62), (0.62, 1.0)):
            mesh.add(_area(front, (0.0, 0.75), cols), solid(vehicle.lower, 0.1), Group.BODY)
    mesh.add(_area(front, (0.12, 0.42), (-0.6, 0.6)), SHADE, Group.BODY)
    if vehicle.fog_lamps:
        for sign in (-1, 1):
            mesh.add(_area(front, (0.2, 0.5), (sign * 0.66, sign * 0.86)), SHADE, Group.BODY)
            mesh.add(_area(front, (0.26, 0.44), (sign * 0.71, sign * 0.81)), LENS, Group.BODY)
    if body.grille == 1:
        mesh.add(_area(front, (1.15, 1.85), (-0.5, 0.5)), SHADE, Group.BODY)
        for row in (1.25, 1.5, 1.75):
            mesh.add(_area(front, (row, row + 0.1), (-0.5, 0.5)), trim, Group.BODY)
    elif body.grille == 2:
        mesh.add(_area(front, (1.02, 1.94), (-0.54, 0.54)), trim, Group.BODY)
        mesh.add(_area(front, (1.1, 1.86), (-0.51, 0.51)), SHADE, Group.BODY)
    elif body.grille == 3:
        outline = [(1.05, -0.3), (1.5, -0.44), (1.95, -0.38), (1.95, 0.38), (1.5, 0.44), (1.05, 0.3)]
        mesh.add([front.at(r, c) for r, c in outline], SHADE, Group.BODY)
        mesh.add(_area(front, (1.42, 1.6), (-0.4, 0.4)), trim, Group.BODY)
    elif body.grille == 4:
        for sign in (-1, 1):
            mesh.add(_area(front, (1.1, 1.9), (sign * 0.04, sign * 0.4)), trim, Group.BODY)
            mesh.add(_area(front, (1.18, 1.82), (sign * 0.07, sign * 0.37)), SHADE, Group.BODY)
    else:
        mesh.add(_area(front, (1.62, 1.85), (-0.48, 0.48)), SHADE, Group.BODY)
    mesh.add(_area(front, (1.45, 1.75), (-0.06, 0.06)), CHROME, Group.BODY)
    rows, inner, slant = [
        ((1.2, 1.9), 0.6, 0.0),
        ((1.35, 1.85), 0.52, 0.12),
        ((1.5, 1.9), 0.56, 0.0),
        ((1.1, 1.8), 0.66, 0.0),
    ][body.lamps]
    for sign in (-1, 1):
        mesh.add(_area(front, rows, (sign * inner, sign * 0.985), slant), LAMP_HOUSING, Group.BODY)
        inset = (rows[0] + 0.1, rows[1] - 0.08 - slant)
        mesh.add(_area(front, inset, (sign * (inner + 0.05), sign * 0.84)), LENS, Group.BODY)
        mesh.add(_area(front, inset, (sign * 0.87, sign * 0.96)), AMBER if body.lamps % 2 else LENS, Group.BODY)
        mesh.lamps.append(front.at(sum(inset) / 2, sign * (inner + 0.17)))


def add_rear(mesh: MeshBuilder, vehicle: Vehicle, shell: Shell) -> None:
    """Bumper, boot line and tail lamps."""
    rear, body = shell.rear, vehicle.body
    line = solid((28, 27, 26))
    if vehicle.lower != vehicle.colour:
        for cols in ((-1.0, -0.62), (-0.62, 0.62), (0.62, 1.0)):
            mesh.add(_area(rear, (0.0, 0.85), cols), solid(vehicle.lower, 0.1), Group.BODY)
    mesh.add(_area(rear, (0.97, 1.02), (-0.7, 0.7)), line, Group.BODY)
    if body.tail_lamps == 0:
        places = [((1.12, 2.0), (0.8, 0.99))]
    elif body.tail_lamps == 1:
        places = [((1.4, 1.8), (0.5, 0.99))]
    elif body.tail_lamps == 2:
        places = [((1.3, 1.9), (0.66, 0.99))]
    else:
        places = [((1.55, 1.75), (0.0, 0.7)), ((1.3, 1.85), (0.7, 0.99))]
    for sign in (-1, 1):
        for rows, (c0, c1) in places:
            mesh.add(_area(rear, rows, (sign * c0, sign * c1)), RED_LENS, Group.BODY)
        rows, (c0, c1) = places[-1]
        third = (rows[0] + 0.1, rows[0] + 0.1 + (rows[1] - rows[0]) * 0.28)
        mesh.add(_area(rear, third, (sign * (c0 + 0.05), sign * 0.93)), AMBER if body.lamps < 2 else LENS, Group.BODY)
    if vehicle.chrome:
        mesh.add(_area(rear, (1.86, 1.95), (-0.35, 0.35)), CHROME, Group.BODY)


def add_mirrors(mesh: MeshBuilder, vehicle: Vehicle, shell: Shell) -> None:
    """A housing at the foot of each windscreen pillar."""
    for sign, house, group in ((1, shell.left_house, Group.LEFT_MIRROR), (-1, shell.right_house, Group.RIGHT_MIRROR)):
        foot = house.at(0.08, 0.1)
        low, high = foot + np.array([-0.08, sign * 0.04, 0.0]), foot + np.array([0.06, sign * 0.25, 0.15])
        corners = np.array([(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        mesh.add(corners, solid(vehicle.mirror, 0.3), group, hull=True)


def add_roof_item(mesh: MeshBuilder, vehicle: Vehicle, shell: Shell) -> None:
    """Sunroof, rails, rack, box, ladder or sign, spoiler."""
    roof, item = shell.roof, vehicle.roof_item
    stuff = solid(vehicle.roof_item_colour, 0.4)
    front, back = roof.at(0.12, 0), roof.at(0.88, 0)
    top = vehicle.body.height
    half = vehicle.body.width / 2 * vehicle.body.roof_width
    if vehicle.sunroof:
        mesh.add([p + np.array([0, 0, 0.004]) for p in _area(roof, (0.12, 0.5), (-0.6, 0.6))], SHADE, Group.ROOF)
    if item in ("rails", "rack", "ladder"):
        for sign in (-1, 1):
            y = sign * half * (0.9 if item != "ladder" else 0.35)
            mesh.add_box((back[0], y - 0.025, top), (front[0], y + 0.025, top + 0.07), stuff, Group.ROOF)
    if item in ("rack", "ladder"):
        count = 2 if item == "rack" else 6
        wide = half if item == "rack" else half * 0.36
        for share in np.linspace(0.15, 0.85, count):
            x = float(front[0] + (back[0] - front[0]) * share)
            mesh.add_box((x - 0.035, -wide, top + 0.05), (x + 0.035, wide, top + 0.11), stuff, Group.ROOF)
    if item == "box":
        middle = 0.25 * half if vehicle.key[-1] % 2 else -0.25 * half
        mesh.add_box((back[0], middle - 0.36, top + 0.05), (front[0], middle + 0.36, top + 0.36), stuff, Group.ROOF)
    if item == "sign":
        x = float(front[0] * 0.6 + back[0] * 0.4)
        mesh.add_box((x - 0.1, -0.32, top), (x + 0.1, 0.32, top + 0.2), solid(vehicle.stripe_colour, 0.3), Group.ROOF)
    if vehicle.spoiler:
        low = vehicle.body.kind in ("sedan", "coupe", "pickup")
        end = shell.boot.at(0.1, 0) if low else roof.at(1.0, 0)
        lift = 0.12 if low else 0.03
        mesh.add_box(
            (end[0] - 0.1, -half, end[2] + lift - 0.03), (end[0] + 0.12, half, end[2] + lift), SHADE, Group.ROOF
        )


def add_stripes(mesh: MeshBuilder, vehicle: Vehicle, shell: Shell) -> None:
    """Stripes over bonnet, roof, boot and rear, or along the sides and across both ends."""
    paint = solid(vehicle.stripe_colour, 0.4)
    bands = {"centre": ((-0.2, 0.2),), "two": ((-0.34, -0.12), (0.12, 0.34))}.get(vehicle.stripe, ())
    for cols in bands:
        mesh.add(_area(shell.bonnet, (0.0, 1.0), cols), paint, Group.BODY)
        mesh.add(_area(shell.boot, (0.0, 1.0), cols), paint, Group.BODY)
        mesh.add(_area(shell.rear, (1.03, 2.0), cols), paint, Group.BODY)
        mesh.add(_area(shell.front, (1.8, 2.0), cols), paint, Group.BODY)
        mesh.add(_area(shell.roof, (0.0, 0.35), cols), paint, Group.ROOF)
        mesh.add(_area(shell.roof, (0.35, 1.0), cols), paint, Group.ROOF)
    rows = {"belt": (1.62, 1.86), "sill": (0.3, 0.85)}.get(vehicle.stripe)
    if rows is not None:
        for surface in (shell.left, shell.right):
            for start, end in pairwise(surface.cols):
                mesh.add(_area(surface, rows, (start, end)), paint, Group.BODY)
        end_rows = {"belt": (1.8, 1.98), "sill": (0.55, 0.9)}[vehicle.stripe]
        for cols in ((-1.0, -0.62), (-0.62, 0.62), (0.62, 1.0)):
            mesh.add(_area(shell.rear, end_rows, cols), paint, Group.BODY)
            mesh.add(_area(shell.front, end_rows, cols), paint, Group.BODY)


def add_sticker(mesh: MeshBuilder, sticker: Sticker, shell: Shell) -> None:
    """A sticker, badge or scratch, flat on its surface."""
    surface: Surface = getattr(shell, sticker.surface)
    row = sticker.row
    if sticker.surface in ("left", "right"):
        row = 0.5 + 0.35 * row  # above the sill, below the belt line
    if sticker.surface in ("front", "rear"):
        row = 0.2 + 0.6 * row
    group = {"windscreen": Group.HOUSE, "rear_window": Group.HOUSE, "roof": Group.ROOF}.get(sticker.surface, Group.BODY)
    middle = surface.share(row, sticker.column)
    across = surface.share(row, sticker.column + 0.04) - surface.share(row, sticker.column - 0.04)
    up = surface.share(row + 0.05, sticker.column) - surface.share(row - 0.05, sticker.column)
    u, v = across / np.linalg.norm(across), up / np.linalg.norm(up)
    w, h = sticker.width / 2, sticker.height / 2
    outlines: dict[str, list[list[tuple[float, float]]]] = {
        "square": [[(-1, -1), (1, -1), (1, 1), (-1, 1)]],
        "scratch": [[(-1, -1), (1, 0.2), (0.8, 1), (-0.9, 0)]],
        "triangle": [[(-1, -1), (1, -1), (0, 1)]],
        "round": [[(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 12, endpoint=False)]],
        "cross": [[(-1, -0.33), (1, -0.33), (1, 0.33), (-1, 0.33)], [(-0.33, -1), (0.33, -1), (0.33, 1), (-0.33, 1)]],
    }
    material = solid(sticker.colour, 0.1)
    for outline in outlines[sticker.shape]:
        mesh.add(np.array([middle + u * w * a + v * h * b for a, b in outline]), material, group)
