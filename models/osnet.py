"""OSNet with instance normalisation, a small network for re-identification, as a model of timm's registry.

Zhou et al., "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019 (arXiv:1905.00953), and "Learning
Generalisable Omni-Scale Representations for Person Re-Identification", TPAMI 2021 (arXiv:1910.06827, OSNet-AIN).
Modules are named as in the authors' files, so that those load by name.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

CHANNELS = (64, 256, 384, 512)
BLOCKS = ((True, True), (False, True), (True, False))
"""Whether a block of a stage ends its residual in an instance normalisation, as the search of OSNet-AIN found it."""
SCALES = 4
"""Streams of a block; stream t has a receptive field of 2 t + 1 pixels."""
REDUCTION = 4
"""Channels of a block over those of its streams."""
GATE_REDUCTION = 16
"""Channels of a stream over those inside its gate."""
DIM = 512
"""Length of the published embedding."""
_OF_TIMM = ("num_classes", "global_pool", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
SMALLEST = 32
"""Side of the smallest images, pixels: an instance normalisation needs more than one place."""


class FixedNorm(nn.BatchNorm2d):
    """A BatchNorm that computes with its running statistics in training too, and keeps them."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.training = False

    def train(self, mode: bool = True) -> "FixedNorm":  # noqa: ARG002
        """Stay as it is."""
        super().train(False)
        return self


class ConvNorm(nn.Module):
    """Convolution without bias, normalisation, and a ReLU unless it is left out."""

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int = 1,
        *,
        stride: int = 1,
        norm: type[nn.Module] | None = nn.BatchNorm2d,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(*channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn = None if norm is None else _norm(norm, channels[1])
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, D, h / stride, w / stride)."""
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return F.relu(x) if self.active else x


class LightConv(nn.Module):
    """Lite 3 x 3 convolution: pointwise, then depthwise, BatchNorm and ReLU (ICCV, Sec. 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, groups=channels)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to the same shape."""
        return F.relu(self.bn(self.conv2(self.conv1(x))))


class Stream(nn.Module):
    """Lite convolutions in a row."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(LightConv(channels) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to the same shape."""
        out: Tensor = self.layers(x)
        return out


class AggregationGate(nn.Module):
    """Weights of the channels from their means, by a network of one hidden layer (ICCV, Sec. 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // GATE_REDUCTION, 1)
        self.fc2 = nn.Conv2d(channels // GATE_REDUCTION, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to the same shape."""
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(means))))


class OmniScaleBlock(nn.Module):
    """Residual block of streams of growing receptive fields, weighted by one gate that all share (ICCV, Sec. 3.2).

    Args:
        instance: whether the residual ends in an instance normalisation in place of a BatchNorm.
    """

    def __init__(self, channels: tuple[int, int], instance: bool) -> None:
        super().__init__()
        inside = channels[1] // REDUCTION
        self.conv1 = ConvNorm((channels[0], inside))
        self.conv2 = nn.ModuleList(Stream(inside, depth) for depth in range(1, SCALES + 1))
        self.gate = AggregationGate(inside)
        self.conv3 = ConvNorm((inside, channels[1]), norm=None if instance else nn.BatchNorm2d, active=False)
        self.downsample = ConvNorm(channels, active=False) if channels[0] != channels[1] else None
        self.IN = _norm(nn.InstanceNorm2d, channels[1]) if instance else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, D, h, w)."""
        narrow = self.conv1(x)
        residual = self.conv3(sum(self.gate(stream(narrow)) for stream in self.conv2))
        if self.IN is not None:
            residual = self.IN(residual)
        return F.relu(residual + (x if self.downsample is None else self.downsample(x)))


class OSNet(nn.Module):
    """OSNet-AIN x1.0: images (N, 3, H, W) to a feature map (N, 512, H / 16, W / 16).

    Args:
        head: the published embedding as well: the mean of the map, a linear layer, BatchNorm and an activation; the
            output is a map of one place, (N, 512, 1, 1).
        activation: "relu" as published, or "prelu", which networks trained with a margin softmax have.
        fixed_norms: the BatchNorms of the convolutions keep their statistics in training, see `FixedNorm`: for a start
            from a file in which they are folded into the convolutions, so that their statistics are lost.

    Raises ValueError for another activation."""

    pretrained_cfg: dict[str, Any]
    feature_info = ({"module": "conv4", "num_chs": CHANNELS[-1], "reduction": 16},)

    def __init__(self, head: bool = False, activation: str = "relu", fixed_norms: bool = False) -> None:
        super().__init__()
        if activation not in ("relu", "prelu"):
            raise ValueError(f"activation must be relu or prelu; got {activation!r}")
        self.num_features = DIM if head else CHANNELS[-1]
        self.conv1 = ConvNorm((3, CHANNELS[0]), 7, stride=2, norm=nn.InstanceNorm2d)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = _stage(CHANNELS[0], CHANNELS[1], BLOCKS[0])
        self.pool2 = _transition(CHANNELS[1])
        self.conv3 = _stage(CHANNELS[1], CHANNELS[2], BLOCKS[1])
        self.pool3 = _transition(CHANNELS[2])
        self.conv4 = _stage(CHANNELS[2], CHANNELS[3], BLOCKS[2])
        self.conv5 = ConvNorm((CHANNELS[-1], CHANNELS[-1]))
        last = nn.ReLU() if activation == "relu" else nn.PReLU()
        self.fc = nn.Sequential(nn.Linear(CHANNELS[-1], DIM), nn.BatchNorm1d(DIM), last) if head else None
        self.fixed_norms = fixed_norms
        for module in list(self.modules()) if fixed_norms else ():
            for key, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, key, FixedNorm(child.num_features))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to (N, 512, H / 16, W / 16), or with a head to (N, 512, 1, 1).

        Raises ValueError for images below 32 pixels."""
        if min(images.shape[2:]) < SMALLEST:
            raise ValueError(f"images must be of {SMALLEST} x {SMALLEST} px or more, got {tuple(images.shape[2:])}")
        x = self.maxpool(self.conv1(images))
        x = self.pool3(self.conv3(self.pool2(self.conv2(x))))
        x = self.conv5(self.conv4(x))
        if self.fc is None:
            return x
        embedding: Tensor = self.fc(x.mean(dim=(2, 3)))
        return embedding[:, :, None, None]


default_cfgs = generate_default_cfgs(
    {
        "osnet_ain_x1_0": {
            "input_size": (3, 208, 208),
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "classifier": "classifier",
            "license": "mit",
        }
    }
)


@register_model
def osnet_ain_x1_0(pretrained: bool = False, **options: Any) -> OSNet:
    """OSNet-AIN of full width; nothing is fetched.

    Raises ValueError for `pretrained`: its weights come as a file."""
    if pretrained:
        raise ValueError("no weights of osnet_ain_x1_0 can be fetched; name their file")
    network = OSNet(**{name: value for name, value in options.items() if name not in _OF_TIMM})
    # The layer that makes the embedding is left out of a file as a classifier is, unless the network has it.
    heads = ("classifier",) if network.fc is not None else ("classifier", "fc")
    network.pretrained_cfg = {**default_cfgs["osnet_ain_x1_0"].default.to_dict(), "classifier": heads}
    return network


def _stage(inside: int, out: int, instance: Sequence[bool]) -> nn.Sequential:
    widths = (inside, *[out] * len(instance))
    return nn.Sequential(*(OmniScaleBlock((widths[i], out), each) for i, each in enumerate(instance)))


def _transition(channels: int) -> nn.Sequential:
    return nn.Sequential(ConvNorm((channels, channels)), nn.AvgPool2d(2))


def _norm(kind: type[nn.Module], channels: int) -> nn.Module:
    """An instance normalisation learns its scale and shift, as BatchNorm does by itself."""
    return kind(channels, affine=True)
