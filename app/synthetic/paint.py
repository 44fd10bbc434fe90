"""Painting of a mesh into an image: culling, shading, polygons in painting order, images on the body."""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.synthetic.light import Light
from app.synthetic.mesh import Group, Mesh
from app.synthetic.projection import Projection

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
_SHIFT = 3  # sub-pixel bits


def shade(mesh: Mesh, light: Light, eye: Floats, *, infrared: bool) -> Floats:
    """The colour (P, 3) of each polygon, 0 to 255."""
    if infrared:
        base = np.array([[255.0 * m.infrared] * 3 for m in mesh.materials])
    else:
        base = np.array([m.colour for m in mesh.materials], np.float64)
    gloss = np.array([m.gloss for m in mesh.materials])[mesh.material]
    glow = np.array([m.glow for m in mesh.materials])[mesh.material]
    normals = mesh.normals
    towards = eye - mesh.anchors
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    lit = light.ambient * (0.72 + 0.28 * normals[:, 2]) + light.strength * np.maximum(normals @ light.direction, 0)
    facing = (normals * towards).sum(axis=1, keepdims=True)
    mirrored = 2 * facing * normals - towards  # direction of view after reflection at the surface
    sky = np.clip(mirrored[:, 2] * 1.4 + 0.15, 0, 1) * (0.15 + 0.5 * (1 - np.clip(facing[:, 0], 0, 1)) ** 3)
    shine = np.maximum(mirrored @ light.direction, 0) ** 12 * light.strength * 0.45
    colours = base[mesh.material] * lit[:, None]
    colours += (gloss * sky)[:, None] * np.array(light.sky) + (gloss * shine * 255)[:, None]
    colours += (glow * light.lamps * 1.5)[:, None] * base[mesh.material]
    return np.clip(colours, 0, 255)


def _order(mesh: Mesh, eye: Floats) -> list[tuple[Group, NDArray[np.int64]]]:
    """The visible polygons of each part, in painting order."""
    facing = mesh.hull | (((eye - mesh.anchors) * mesh.normals).sum(axis=1) > 0)
    far, near = Group.LEFT_MIRROR, Group.RIGHT_MIRROR
    if eye[1] > 0:
        far, near = near, far
    roof_last = eye[2] > mesh.roof_height
    house = [Group.HOUSE, Group.ROOF] if roof_last else [Group.ROOF, Group.HOUSE]
    return [
        (group, np.flatnonzero(facing & (mesh.groups == group)))
        for group in (Group.UNDER, far, Group.BODY, *house, near)
    ]


def paint_mesh(
    canvas: Image, mesh: Mesh, projection: Projection, colours: Floats, images: dict[str, list[Image]]
) -> None:
    """Paint over `canvas` in place.

    Args:
        colours: of each polygon (P, 3), as `shade` returns them.
        images: for each kind of decal the same image in falling sizes; an absent kind is not painted.
    """
    eye = projection.eye
    # cv2 takes the centre of a pixel for a whole number, `Projection` for a half.
    fixed = np.round((projection.pixels(mesh.points) - 0.5) * (1 << _SHIFT)).astype(np.int32)
    palette = colours.tolist()
    bounds = mesh.starts.tolist()
    for group, numbers in _order(mesh, eye):
        for i in numbers.tolist():
            outline = fixed[bounds[i] : bounds[i + 1]]
            if mesh.hull[i]:
                outline = cv2.convexHull(outline)  # type: ignore[assignment]
            cv2.fillConvexPoly(canvas, outline, palette[i], cv2.LINE_8, _SHIFT)
        for decal in mesh.decals:
            if decal.group == group and decal.name in images and (eye - decal.corners[0]) @ decal.normal > 0:
                _paste(canvas, images[decal.name], projection.pixels(decal.corners))


def _paste(canvas: Image, sizes: list[Image], corners: Floats) -> None:
    """Warp the image whose size fits best onto four places (4, 2) of the canvas."""
    wide = float(np.linalg.norm(corners[1] - corners[0]))
    image = next((p for p in reversed(sizes) if p.shape[1] >= 0.9 * wide), sizes[0])
    height, width = canvas.shape[:2]
    left, top = (max(0, int(v)) for v in np.floor(corners.min(axis=0)))
    right, bottom = (min(n, int(v) + 1) for n, v in zip((width, height), np.ceil(corners.max(axis=0)), strict=True))
    if right - left < 2 or bottom - top < 2:
        return
    h, w = image.shape[:2]
    source = np.array([(0, 0), (w, 0), (w, h), (0, h)], np.float32) - 0.5
    target = (corners - 0.5 - (left, top)).astype(np.float32)
    transform = cv2.getPerspectiveTransform(source, target)
    region = np.ascontiguousarray(canvas[top:bottom, left:right])
    cv2.warpPerspective(
        image, transform, (right - left, bottom - top), region, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT
    )
    canvas[top:bottom, left:right] = region
