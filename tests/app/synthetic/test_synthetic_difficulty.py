"""The set must be hard for features that were not learnt on it, and the measure of that must be right."""

import json

import numpy as np
import pytest

from app.synthetic import difficulty

pytestmark = pytest.mark.slow


def test_mean_ap_leaves_out_the_same_vehicle_in_the_same_camera() -> None:
    """Similarities 0.9 (same vehicle and camera: out), 0.8 wrong, 0.6 right, 0.4 wrong, 0.2 right.

    Right at ranks 2 and 4: (1/2 + 2/4) / 2 = 1/2."""
    result = difficulty.mean_ap(
        np.array([[1.0]], np.float32),
        np.array([[0.2], [0.8], [0.9], [0.4], [0.6]], np.float32),
        np.array([7]),
        np.array([0]),
        np.array([7, 1, 7, 2, 7]),
        np.array([1, 0, 0, 0, 2]),
    )
    assert result == pytest.approx(0.5)


@pytest.mark.slow
def test_an_untrained_network_hardly_finds_a_vehicle(capsys: pytest.CaptureFixture[str]) -> None:
    difficulty.main([])
    assert 0.02 < json.loads(capsys.readouterr().out.splitlines()[-1])["mAP"] < 0.2
