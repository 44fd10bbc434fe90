from pathlib import Path

import pytest

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
