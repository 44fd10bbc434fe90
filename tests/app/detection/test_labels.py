from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.core.sample import Box, Sample
from app.detection.labels import labelled

ONE, TWO = Box(0, 0, 5, 5), Box(5, 5, 5, 5)


def test_samples_of_one_photograph_come_together():
    """A class that is marked somewhere in the set is known for every photograph; one that never is, for none."""
    a, b = Path("a.jpg"), Path("b.jpg")
    found = labelled([Sample(a, 0, 0, plate_boxes=(ONE,)), Sample(b, 1, 0), Sample(a, 2, 0, plate_boxes=(TWO,))])
    assert [(row.path, row.vehicles, row.plates) for row in found] == [(a, None, (ONE, TWO)), (b, None, ())]
    found = labelled(
        [Sample(a, 0, 0, vehicle_box=ONE), Sample(a, 1, 0, vehicle_box=TWO), Sample(a, 1, 1, vehicle_box=ONE)]
    )
    assert [(row.vehicles, row.plates) for row in found] == [((ONE, TWO), None)]


def test_a_photograph_that_a_vehicle_fills_is_not_one_without_vehicles():
    a, b = Path("a.jpg"), Path("b.jpg")
    found = labelled([Sample(a, 0, 0, vehicle_box=ONE), Sample(b, 1, 0)])
    assert [row.vehicles for row in found] == [(ONE,), None]


def test_a_set_in_which_nothing_is_marked_is_refused():
    with pytest.raises(ValueError, match="neither vehicles nor plates"):
        labelled([Sample(Path("a.jpg"), 0, 0)])


def test_a_plate_that_was_cut_out_of_its_photograph_is_marked_there(tmp_path):
    """At its pixels in a small photograph, within a pixel in a large one, which is searched at a smaller size; a crop
    of another photograph tells nothing about this one."""
    for number, (size, tolerance) in enumerate((((200, 150), 0), ((1600, 900), 3))):
        noise = np.random.default_rng(number).integers(0, 256, (size[1] // 10, size[0] // 10, 3), np.uint8)
        whole = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        box = Box(*(round(share * size[0]) for share in (0.3, 0.2, 0.25, 0.1)))
        photograph, plate = tmp_path / f"{number}.jpg", tmp_path / f"plate{number}.jpg"
        whole.save(photograph, quality=88)
        corners = (box.left, box.top, box.left + box.width, box.top + box.height)
        whole.crop(corners).save(plate, quality=93)
        other = tmp_path / f"other{number}.jpg"
        whole.rotate(180).crop(corners).save(other)
        again = tmp_path / f"again{number}.jpg"
        again.write_bytes(photograph.read_bytes())
        found = labelled(
            [
                Sample(photograph, 0, 0, plate_path=plate),
                Sample(plate, 1, 0, plate_path=plate),  # a crop of a plate, and nothing around it
                Sample(again, 2, 1, plate_path=other),
            ]
        )
        assert np.allclose(found[0].plates[0], box, atol=tolerance)
        assert [row.plates for row in found[1:]] == [None, None]
