"""Columns of a feature map: how wide they are, and that published weights still fit."""

import pytest
import timm
import torch
from torch import nn

from models.backbone import build_backbone
from models.columns import keep_columns


@pytest.mark.parametrize(
    "name", ["mobilenetv3_small_050", "lcnet_050", "test_resnet", "test_efficientnet", "resnet10t"]
)
@pytest.mark.parametrize("stride", [4, 8, 16])
def test_the_width_shrinks_as_asked_and_the_height_as_before(name, stride):
    network = build_backbone(name)
    before = network(torch.zeros(2, 3, 64, 128)).shape
    own = timm.create_model(name, num_classes=0, global_pool="").state_dict()
    keep_columns(network, stride)
    after = network(torch.zeros(2, 3, 64, 128)).shape
    assert (after[1], after[2], after[3]) == (before[1], before[2], 128 // stride)
    network.load_state_dict(own)  # raises where an array has another shape
    assert network.training


def test_what_is_no_stride_is_refused():
    with pytest.raises(ValueError, match="power of two, got 6"):
        keep_columns(build_backbone("test_resnet"), 6)
    with pytest.raises(ValueError, match="not one of 8"):
        keep_columns(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), 8)
