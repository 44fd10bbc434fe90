import pytest
import torch
from torch import nn
from torchvision.models.detection import fcos_resnet50_fpn

from models.detector import CLASSES, PLATE, VEHICLE, Detector, build_coco_detector, build_detector

BACKBONE = "test_efficientnet"


def target(boxes, labels, labelled=(True, True)):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "labelled": torch.tensor(labelled),
    }


def made(size=96):
    torch.manual_seed(0)
    return build_detector(BACKBONE, size=size, channels=64, convs=1)


def test_a_class_that_nobody_marked_takes_no_part():
    """The gradient of the plate's last layer is zero where plates were not marked, and only there."""
    network = made()
    images = [torch.rand(3, 96, 96)]
    last = network.network.head.classification_head.cls_logits
    for labelled, learns in (((True, False), False), ((True, True), True)):
        network.zero_grad()
        sum(network.losses(images, [target([[8, 8, 60, 50]], [VEHICLE], labelled)]).values()).backward()
        assert last.weight.grad[VEHICLE].abs().sum() > 0
        assert bool(last.weight.grad[PLATE].abs().sum() > 0) is learns


def test_losses_equal_torchvisions_where_everything_is_marked():
    network = made()
    images, targets = [torch.rand(3, 96, 96) for _ in range(2)], [target([[8, 8, 60, 50]], [0]), target([], [])]
    inner = network.network
    ours = network.losses(images, targets)
    plain = type(inner.head.inner).__mro__[1]  # FCOSHead
    head = inner.head.inner
    head.__class__ = plain
    theirs = network.losses(images, targets)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name])


def test_boxes_come_in_pixels_of_the_picture_best_first():
    network = made().eval()
    found = network.find([torch.rand(3, 50, 120)])[0]
    assert (found["scores"].diff() <= 0).all()
    assert set(found["labels"].tolist()) <= set(range(len(CLASSES)))
    if len(found["boxes"]):
        assert found["boxes"][:, [0, 2]].max() <= 120
        assert found["boxes"][:, [1, 3]].max() <= 50
    with pytest.raises(RuntimeError, match="call eval"):
        network.train().find([torch.rand(3, 32, 32)])


def test_coco_labels_become_vehicles_and_others_go():
    class Coco(nn.Module):
        def forward(self, images):
            assert len(images) == 1
            boxes = torch.arange(16.0).reshape(4, 4)
            return [
                {"boxes": boxes, "labels": torch.tensor([1, 3, 8, 18]), "scores": torch.tensor([0.9, 0.2, 0.7, 0.6])}
            ]

    found = Detector(Coco(), dict.fromkeys((3, 4, 6, 8), VEHICLE)).eval().find([torch.rand(3, 8, 8)])[0]
    assert found["labels"].tolist() == [VEHICLE, VEHICLE]
    assert found["boxes"][:, 0].tolist() == [8.0, 4.0]  # the truck, then the car; a person and a dog are dropped


@pytest.mark.slow
def test_coco_weights_come_from_a_file(tmp_path):
    """A file of torchvision's own network fits; another one is named."""
    torch.manual_seed(1)
    network = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    torch.save(network.state_dict(), tmp_path / "fcos.pth")
    loaded = build_coco_detector(tmp_path / "fcos.pth")
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value)
    torch.save({"layer": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth does not hold torchvision's fcos_resnet50_fpn"):
        build_coco_detector(tmp_path / "other.pth")
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        build_coco_detector(tmp_path / "none.pth")


def test_a_network_that_ends_at_stride_16_has_no_stage_behind_it():
    """Feature maps of half the sides each, the two of the network and two more; every value takes part in them."""
    whole, short = made(128), build_detector(BACKBONE, size=128, convs=1, deepest=16)
    assert (whole.strides, short.strides) == ((8, 16, 32, 64, 128), (8, 16, 32, 64))
    images = torch.rand(1, 3, 128, 128)
    maps = short.network.backbone(images)
    assert [tuple(each.shape[-2:]) for each in maps.values()] == [(128 // stride,) * 2 for stride in short.strides]
    sum(each.sum() for each in maps.values()).backward()
    assert [name for name, value in short.network.backbone.named_parameters() if value.grad is None] == []
    count = [sum(value.numel() for value in each.network.backbone.body.parameters()) for each in (whole, short)]
    assert count[1] < 0.7 * count[0]
    assert short.eval().find([torch.rand(3, 100, 128)])[0]["boxes"].shape[1] == 4
    with pytest.raises(ValueError, match="deepest must be 16 or 32, got 8"):
        build_detector(BACKBONE, size=96, deepest=8)


def test_backbones_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="unknown backbone"):
        build_detector("resnet51", size=96)
    with pytest.raises(ValueError, match="multiple of 32"):
        build_detector(BACKBONE, size=96, channels=48)
