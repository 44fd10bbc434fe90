import numpy as np
import pytest

from app.synthetic import SceneRenderer

pytestmark = pytest.mark.slow


def test_a_scene_depends_on_its_number_alone():
    one, two = SceneRenderer(160, 3), SceneRenderer(160, 3)
    first = [one.scene(number) for number in range(4)]
    again = [two.scene(number) for number in reversed(range(4))][::-1]
    for a, b in zip(first, again, strict=True):
        assert (a.image == b.image).all()
        assert (a.vehicles, a.plates, a.plates_known) == (b.vehicles, b.plates, b.plates_known)


def test_boxes_lie_in_the_image_and_plates_in_vehicles():
    renderer, plates, counts = SceneRenderer(160, 0), 0, set()
    for number in range(24):
        scene = renderer.scene(number)
        assert scene.image.shape == (160, 160, 3)
        assert scene.plates_known
        counts.add(len(scene.vehicles))
        for box in (*scene.vehicles, *scene.plates):
            assert box.width > 0
            assert box.height > 0
            assert min(box.left, box.top) >= 0
            assert max(box.left + box.width, box.top + box.height) <= 160
        for plate in scene.plates:
            plates += 1
            centre = plate.left + plate.width / 2, plate.top + plate.height / 2
            assert any(
                v.left <= centre[0] <= v.left + v.width and v.top <= centre[1] <= v.top + v.height
                for v in scene.vehicles
            )
    assert plates >= 5
    assert max(counts) >= 4


def test_a_box_is_where_the_vehicle_was_painted():
    """A pasted photograph of one colour: its box is where that colour is."""
    red = np.zeros((60, 90, 3), np.uint8)
    red[..., 2] = 255
    renderer, seen = SceneRenderer(160, 1, [red]), 0
    for number in range(40):
        scene = renderer.scene(number)
        pure = (scene.image[..., 2] > 250) & (scene.image[..., :2] < 8).all(axis=2)
        if len(scene.vehicles) != 1 or scene.plates_known or pure.sum() < 50:
            continue
        seen += 1
        rows, cols = np.nonzero(pure)
        (box,) = scene.vehicles
        margin = 0.1 * max(box.width, box.height) + 2  # the soft edge
        for found, truth in (
            (cols.min(), box.left),
            (rows.min(), box.top),
            (cols.max() + 1, box.left + box.width),
            (rows.max() + 1, box.top + box.height),
        ):
            assert abs(found - truth) <= margin
    assert seen
