"""Number of synthetic car parks: that of the clients, unless it is given."""

import pytest

from app.settings.load import load_settings


@pytest.mark.parametrize(
    ("words", "sites"),
    [
        ("experiment=quickstart", 4),
        ("federation.num_clients=16", 16),
        ("experiment=quickstart federation.num_clients=2", 4),  # figures of earlier versions stay
        ("experiment=quickstart federation.num_clients=5", 5),
        ("federation.num_clients=16 data.synthetic.sites=3", 3),
        ("federation.num_clients=16 data.partition.by=identity", 4),
        ("federation.num_clients=16 data.partition.by=none", 4),  # a real site, whose car parks are its own
        ("federation.num_clients=16 data=two_cam", 4),
        ("federation.num_clients=8 data.synthetic.cameras_per_site=2", 8),
    ],
)
def test_there_are_as_many_car_parks_as_clients(words, sites):
    assert load_settings(words).data.synthetic.sites == sites
