"""Settings of visible-infrared re-identification: its network and its losses."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.settings.checks import SettingsError, in_range, one_of, require_path
from app.settings.weights import require_weights, weights_of


@dataclass(frozen=True)
class ModelSettings:
    """The two-stream network.

    Args:
        backbone: a convolutional timm model that can be cut behind its stem; see `cut_backbone`.
        height, width: of its pictures, pixels.
        pretrained: true lets timm fetch weights, false starts from random values, else a weights file; both stems
            start from the same values.
        options: further arguments of the timm model.
        embedding_dim: length of an embedding, 0 for the backbone's width.
        hashed: share of the values of large layers that are learnt and sent; see `hash_layers`. 1 for all.
    """

    backbone: str = "resnet50"
    height: int = 256
    width: int = 256
    pretrained: bool | str = False
    options: dict[str, Any] = field(default_factory=dict)
    pooling: str = "gem"
    embedding_dim: int = 0
    hashed: float = 1.0

    def __post_init__(self) -> None:
        one_of("model.pooling", self.pooling, ("gem", "average"))
        for name in ("height", "width"):
            in_range(f"model.{name}", getattr(self, name), 16, 4096)
        in_range("model.embedding_dim", self.embedding_dim, 0)
        require_weights("model", self.pretrained, self.options)
        in_range("model.hashed", self.hashed, 1e-4, 1.0)

    @property
    def weights(self) -> bool | Path:
        """What `build_backbone` takes."""
        return weights_of(self.pretrained)


@dataclass(frozen=True)
class LossSettings:
    """Weights of the four losses; 0 leaves one out.

    Args:
        perceptual_weights: of the network that compares outlines: "random" features, "imagenet", which torchvision
            fetches, or a file of torchvision's VGG16.
        perceptual_longest: pixels of the maps that it compares, their longer side; 0 for as large as the stem gives.
    """

    identity_weight: float = 1.0
    label_smoothing: float = 0.1
    weighted_triplet_weight: float = 1.0
    perceptual_edge_weight: float = 1.0
    centre_contrast_weight: float = 1.0
    perceptual_weights: str = "random"
    perceptual_longest: int = 0

    def __post_init__(self) -> None:
        in_range("loss.label_smoothing", self.label_smoothing, 0.0, 0.99)
        in_range("loss.perceptual_longest", self.perceptual_longest, 0)
        for name in self.__dataclass_fields__:
            if name.endswith("_weight"):
                in_range(f"loss.{name}", getattr(self, name), 0.0)
        require_path("loss.perceptual_weights", self.perceptual_weights)
        if not (self.identity_weight or self.weighted_triplet_weight or self.perceptual_edge_weight):
            raise SettingsError("loss.identity_weight, weighted_triplet_weight and perceptual_edge_weight are all 0")

    @property
    def perceptual(self) -> bool | Path:
        """What `vgg16_stages` takes."""
        known: dict[str, bool] = {"random": False, "imagenet": True}
        return known.get(self.perceptual_weights, Path(os.path.expanduser(self.perceptual_weights)))  # noqa: PTH111 - raises for no user
