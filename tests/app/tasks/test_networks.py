"""Image sizes that a backbone cannot take: one line with key and remedy, when the network is made."""

import re

import pytest
import torch
from torch import nn

from app.settings.checks import SettingsError
from app.settings.load import load_settings
from app.tasks import make_task, networks
from app.tasks.networks import require_size
from models.backbone import build_backbone, takes

DUAL = "experiment=quickstart device=cpu model.vehicle.backbone=test_resnet"
PLATES = "experiment=plates_countries data.root=. device=cpu"
NARROW = nn.Sequential(nn.Conv2d(3, 4, 8, stride=4), nn.Conv2d(4, 4, 4))  # 20 pixels and more
NARROW.num_features = 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            f"{DUAL} model.vehicle.image_size=16 model.vehicle.backbone=dla34",
            "model.vehicle.image_size=16: too small for the backbone 'dla34', which takes model.vehicle.image_size=31",
        ),
        (
            f"{DUAL} model.plate.image_size=16 model.plate.backbone=convnext_atto",
            "model.plate.image_size=16: too small for the backbone 'convnext_atto', which takes model.plate.image",
        ),
        (
            f"{PLATES} model.height=16 model.width=48 model.stride=32 model.backbone=dla34",
            "model.height=16, model.width=48: too small for the backbone 'dla34', which takes model.height=",
        ),
        (f"{DUAL} model.vehicle.image_size=8", "model.vehicle.image_size must be at least 16; got 8"),
        (f"{DUAL} model.vehicle.image_size=1", "model.vehicle.image_size must be at least 16; got 1"),
        (f"{PLATES} model.height=1", "model.height must be at least 16; got 1"),
    ],
)
def test_an_image_that_is_too_small_is_named_before_training(words, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        make_task(load_settings(words)).build(2, 0, pretrained=False)


def test_a_cross_modal_network_names_height_and_width(monkeypatch):
    """No published network that can be cut is too small for 16 pixels, so this one stands for it."""
    monkeypatch.setattr(networks, "build_backbone", lambda *_, **__: NARROW)
    words = "experiment=regdb data.root=. device=cpu model.height=16 model.width=40"
    with pytest.raises(SettingsError, match=re.escape("model.height=16, model.width=40: too small")) as error:
        make_task(load_settings(words)).build(2, 0, pretrained=False)
    assert "which takes model.height=20, model.width=44" in str(error.value)


def test_the_size_that_is_named_fits_and_the_one_below_does_not():
    assert not takes(NARROW, 19, 64)
    assert takes(NARROW, 20, 20)
    require_size("model", "narrow", NARROW, image_size=20)
    with pytest.raises(SettingsError, match="nor do larger ones"):
        require_size("model", "none", nn.Conv2d(3, 4, 1000), image_size=16)


def test_a_network_that_needs_values_is_tried_with_a_blank_image():
    class Values(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, images):
            return self.conv(images) * float(images.sum() + 1)

    assert takes(Values(), 16, 16)


def test_the_check_changes_no_value_and_no_mode():
    network = build_backbone("test_resnet").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    assert takes(network, 64, 64)
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
