"""Detectors of vehicles and licence plates: torchvision's FCOS (Tian et al., 2019, arXiv:1904.01355) over timm."""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, fcos_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from models.backbone import build_backbone
from models.errors import NetworkError
from models.input_statistics import input_statistics
from models.torchvision_weights import load_weights

CLASSES = ("vehicle", "plate")  # labels 0 and 1; FCOS has a sigmoid for each class and no background class
VEHICLE, PLATE = range(len(CLASSES))
FINEST = 8  # stride of the first feature map
DEEPEST = (16, 32)  # strides at which a backbone's part in a pyramid may end; two coarser maps follow
_CANDIDATES = 0.05  # score below which a box is not kept; what counts as found is the caller's threshold
_COCO_VEHICLES = {3: "car", 4: "motorcycle", 6: "bus", 8: "truck"}
_UNKNOWN = -30.0  # a logit whose focal loss is zero in float32


class Pyramid(nn.Module):
    """Feature maps of strides 8 to four times its deepest, all of `channels`, from a timm network's at 8, 16 and 32, or
    8 and 16.

    Args:
        frozen: whether the network was trained already: then its statistics stay as they are, as batches of whole
            images are small, and so does all of it up to stride 4, as in torchvision's detectors.
    """

    def __init__(self, backbone: Any, channels: int, frozen: bool) -> None:
        super().__init__()
        self.body = backbone
        widths = list(backbone.feature_info.channels())
        self.fpn = FeaturePyramidNetwork(widths, channels, extra_blocks=LastLevelP6P7(channels, channels))
        self.out_channels = channels
        self.frozen = frozen
        if frozen:
            _freeze_up_to(backbone, FINEST)

    def train(self, mode: bool = True) -> "Pyramid":
        """Training mode, except for the statistics of a frozen network."""
        super().train(mode)
        if self.frozen:
            for module in self.body.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images (N, 3, H, W) to maps (N, C, H / stride, W / stride), two more than the network's own."""
        maps: dict[str, Tensor] = self.fpn(
            OrderedDict((str(i), feature) for i, feature in enumerate(self.body(images)))
        )
        return maps


class MaskedHead(FCOSHead):
    """FCOS's head, for images in which only some classes were labelled.

    Targets carry `labelled` (C,) bool beside boxes and labels: a class that nobody looked for in an image is neither
    there nor not there, so it takes no part in that image's loss."""

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """As FCOSHead's; the outputs may have been computed in half precision."""
        outputs = {name: value.float() for name, value in head_outputs.items()}
        unknown = ~torch.stack([target["labelled"] for target in targets])  # (N, C)
        outputs["cls_logits"] = outputs["cls_logits"].masked_fill(unknown[:, None, :], _UNKNOWN)
        losses: dict[str, Tensor] = super().compute_loss(targets, outputs, anchors, matched_idxs)
        return losses


class Detector(nn.Module):
    """Finds vehicles and plates in whole images.

    Args:
        network: any of torchvision's detectors: a list of images (3, H, W) in [0, 1], R, G, B, and in training targets,
            to losses by name, or in evaluation mode to boxes, labels and scores of each image.
        classes: label in `CLASSES` of each of the network's labels; those not named are dropped.
        kinds: of vehicles, by the network's labels, where it tells them apart.
        strides: of its feature maps; empty where they are not known.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: Mapping[int, int],
        kinds: Mapping[int, str] | None = None,
        strides: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.classes = dict(classes)
        self.kinds = dict(kinds or {})
        self.strides = strides

    def losses(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Losses by name. Targets: boxes (M, 4) as left, top, right, bottom in pixels, labels (M,), labelled (C,)."""
        found: dict[str, Tensor] = self.network(images, targets)
        return found

    @torch.no_grad()
    def find(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """Boxes (M, 4), labels (M,) in `CLASSES`, scores (M,) and the network's own labels, `given` (M,), of each
        image, best first. For evaluation mode."""
        if self.training:
            raise RuntimeError("find needs a network in evaluation mode: call eval() first")
        answer = []
        for found in self.network(images):
            given, scores = found["labels"].tolist(), found["scores"].tolist()
            rows = [row for row, label in enumerate(given) if label in self.classes]
            rows.sort(key=scores.__getitem__, reverse=True)
            kept = torch.tensor(rows, dtype=torch.int64, device=found["boxes"].device)
            labels = torch.tensor([self.classes[given[row]] for row in rows], dtype=torch.int64, device=kept.device)
            answer.append(
                {
                    "boxes": found["boxes"][kept].float(),
                    "labels": labels,
                    "scores": found["scores"][kept].float(),
                    "given": found["labels"][kept],
                }
            )
        return answer


def build_detector(
    backbone: str,
    *,
    size: int,
    pretrained: bool | Path = False,
    channels: int = 64,
    convs: int = 2,
    deepest: int = 32,
    precision: torch.dtype = torch.float32,
) -> Detector:
    """A detector of `CLASSES`.

    Args:
        backbone: a timm network that gives feature maps of strides 8, 16 and 32.
        size: pixels of the longer side that images are brought to.
        pretrained: as in `build_backbone`.
        channels: of the pyramid, a multiple of 32 from 64 on: the head's GroupNorm has 32 groups, and needs two values
            in each where a map is a single pixel.
        convs: convolutions of each branch of the head; the paper has 4 over 256 channels.
        deepest: stride at which the backbone ends, 16 or 32. Most of a network's values lie behind stride 16, and small
            things such as plates hardly need them.
        precision: of the convolutions; losses are float32.

    Raises ValueError for a network of another kind, or weights that do not fit."""
    if channels % 32 or channels < 64:
        raise ValueError(f"channels must be a multiple of 32, and at least 64; got {channels}")
    if deepest not in DEEPEST:
        raise NetworkError(f"deepest must be 16 or 32, got {deepest}")
    whole = build_backbone(backbone, pretrained=pretrained)
    own = (FINEST, 16) if deepest == 16 else (FINEST, 16, 32)
    places = (2, 3, 4)[: len(own)]
    try:
        body: Any = timm.create_model(backbone, pretrained=False, features_only=True, out_indices=places)
    except (RuntimeError, IndexError, AssertionError) as error:
        raise NetworkError(f"backbone {backbone!r} gives no feature maps of strides 8, 16 and 32: {error}") from error
    if tuple(body.feature_info.reduction()) != own:
        raise NetworkError(f"backbone {backbone!r} has strides {body.feature_info.reduction()}, not {own}")
    if deepest < DEEPEST[-1]:
        _end_at(body)
    if pretrained is not False:
        _copy(whole, body, backbone)
    mean, std = input_statistics(whole)
    strides = (*own, 2 * deepest, 4 * deepest)
    anchors = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * len(strides))
    network = FCOS(
        _In(precision, Pyramid(body, channels, pretrained is not False)),
        len(CLASSES),
        min_size=size,
        max_size=size,
        image_mean=list(mean),
        image_std=list(std),
        anchor_generator=anchors,
        head=_In(precision, MaskedHead(channels, 1, len(CLASSES), convs)),
        score_thresh=_CANDIDATES,
        detections_per_img=100,
    )
    return Detector(network, {VEHICLE: VEHICLE, PLATE: PLATE}, strides=strides)


def build_coco_detector(weights: bool | Path = False) -> Detector:
    """torchvision's FCOS with ResNet50, trained on COCO: finds cars, motorcycles, buses and trucks, no plates.

    Args:
        weights: True lets torchvision fetch its own; a path is their file; False leaves random values.

    Raises FileNotFoundError, and ValueError for a file that does not fit."""
    # 91 is COCO's number of classes; neither call fetches the weights of a backbone
    network = fcos_resnet50_fpn(weights="DEFAULT" if weights is True else None, weights_backbone=None, num_classes=91)
    if isinstance(weights, Path):
        load_weights(network, weights, "fcos_resnet50_fpn")
    return Detector(network, dict.fromkeys(_COCO_VEHICLES, VEHICLE), _COCO_VEHICLES)


class _In(nn.Module):
    """A module whose forward runs in a precision; everything else is the module's own."""

    def __init__(self, precision: torch.dtype, inner: nn.Module) -> None:
        super().__init__()
        self.precision = precision
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args: Any) -> Any:
        first = args[0][0] if isinstance(args[0], list) else args[0]
        with _autocast(first.device.type, self.precision):
            return _float32(self.inner(*args))


def _freeze_up_to(backbone: Any, stride: int) -> None:
    """Take what comes before the first feature map of a stride out of the training; parameters lie in forward order."""
    before = tuple(f"{row['module']}." for row in backbone.feature_info.info if row["reduction"] < stride)
    names = [name for name, _ in backbone.named_parameters()]
    last = max((index for index, name in enumerate(names) if name.startswith(before)), default=-1)
    for index, parameter in enumerate(backbone.parameters()):
        parameter.requires_grad_(index > last)


def _end_at(body: Any) -> None:
    """Drop the stages of a feature network behind its last feature map: timm's EfficientNets keep them unused."""
    last = body.feature_info.module_name()[-1].split(".")
    if last[0] == "blocks" and isinstance(getattr(body, "blocks", None), nn.Sequential):
        body.blocks = body.blocks[: int(last[1]) + 1]


def _autocast(device: str, precision: torch.dtype) -> AbstractContextManager[object]:
    return nullcontext() if precision is torch.float32 else torch.autocast(device, precision)


def _float32(maps: dict[str, Tensor]) -> dict[str, Tensor]:
    return OrderedDict((name, value.float()) for name, value in maps.items())


def _copy(whole: nn.Module, body: nn.Module, name: str) -> None:
    """Give the feature network the weights of the whole one, of which it is the first part."""
    arrays = whole.state_dict()
    own = body.state_dict()
    if missing := [key for key in own if key not in arrays]:
        raise NetworkError(f"backbone {name!r}: feature maps have other names than the network: {missing[:3]}")
    body.load_state_dict({key: arrays[key] for key in own})
