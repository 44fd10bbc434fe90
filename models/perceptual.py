"""VGG16 (Simonyan and Zisserman, 2015, arXiv:1409.1556) in four stages, as a frozen perceptual network."""

from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from models.torchvision_weights import load_weights

_ENDS = (4, 9, 16, 23)  # of torchvision's `features`, after relu1_2, relu2_2, relu3_3, relu4_3 (Johnson et al., 2016)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Normalise(nn.Module):
    """Values in [0, 1] as the network's weights were trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return (images - mean) / std


def vgg16_stages(weights: bool | Path = False, *, seed: int = 0) -> list[nn.Module]:
    """phi_1 to phi_4: the first takes (N, 3, h, w) in [0, 1]; the sides shrink to an eighth.

    Args:
        weights: True lets torchvision fetch those of ImageNet; a path is their file; False gives random features.
        seed: of the random features, so that all clients measure with the same network.

    Raises FileNotFoundError, and ValueError for a file that does not fit."""
    with torch.device("meta"):  # its classifier, nine tenths of it, is neither needed nor made
        network = torchvision.models.vgg16(init_weights=False)
    if weights is True:
        fetched = torchvision.models.VGG16_Weights.DEFAULT.get_state_dict(progress=False, check_hash=True)
        network.load_state_dict(fetched, assign=True)
    elif isinstance(weights, Path):
        load_weights(network, weights, "vgg16", assign=True)
    else:
        network.features.to_empty(device="cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network.features.apply(_initialise)
    layers = list(network.features)
    for layer in layers:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # a stage's output is compared before the next one runs
    starts = (0, *_ENDS[:-1])
    parts = [nn.Sequential(*layers[start:end]) for start, end in zip(starts, _ENDS, strict=True)]
    return [nn.Sequential(_Normalise(), parts[0]), *parts[1:]]


def _initialise(layer: nn.Module) -> None:
    """As torchvision does."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
