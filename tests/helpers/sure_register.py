"""A register of six vehicles whose thresholds fit an untrained network, as a fixture."""

import pytest
from registers import photo

from app.register.matcher import Threshold
from app.register.photos import VehiclePhoto

SURE = Threshold(match=0.999999, unsure=0.99, margin=0.0)
"""For a network that has learnt nothing: the same picture has similarity 1, all others are close to it."""


@pytest.fixture
def sure_register(identification):
    """Five vehicles, photographs 0 to 4 with plates 100 to 104, and one with a vehicle alone, photograph 5."""
    model, _ = identification.active_model.current()
    identification.models.set_thresholds(model.id, dict.fromkeys(model.libraries, SURE), "tester")
    for number in range(5):
        identification.enrol(
            [VehiclePhoto(photo(number), plate=photo(100 + number))], account="tester", plate=f"AB {number}"
        )
    identification.enrol([VehiclePhoto(photo(5))], account="tester")
    return identification
