"""Settings of the dual network: its networks and its losses."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.settings.checks import in_range, one_of
from app.settings.weights import require_weights, weights_of


@dataclass(frozen=True)
class BranchSettings:
    """One network of the two.

    Args:
        backbone: a convolutional timm model.
        image_size: side of its square pictures, pixels.
        pretrained: true lets timm fetch weights, false starts from random values, else a weights file.
        options: further arguments of the timm model.
    """

    backbone: str = "resnet50"
    image_size: int = 256
    pretrained: bool | str = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        in_range("model image_size", self.image_size, 16, 4096)
        require_weights("model.*", self.pretrained, self.options)

    @property
    def weights(self) -> bool | Path:
        """What `build_backbone` takes."""
        return weights_of(self.pretrained)


@dataclass(frozen=True)
class ModelSettings:
    """The dual network. `plate: null` leaves the plate network out; `embedding_dim` 0 keeps the backbones' widths;
    `hashed` is the share of the values of large layers that are learnt and sent (see `hash_layers`), 1 for all."""

    vehicle: BranchSettings = field(default_factory=BranchSettings)
    plate: BranchSettings | None = None
    pooling: str = "gem"
    embedding_dim: int = 0
    fusion: str = "concat"
    hashed: float = 1.0

    def __post_init__(self) -> None:
        one_of("model.pooling", self.pooling, ("gem", "average"))
        one_of("model.fusion", self.fusion, ("concat", "add"))
        in_range("model.embedding_dim", self.embedding_dim, 0)
        in_range("model.hashed", self.hashed, 1e-4, 1.0)


@dataclass(frozen=True)
class LossSettings:
    """Losses of both networks and what joins them; a weight of 0 leaves a part out.

    Args:
        classification: "cross_entropy", "focal", "arcface" or "cosface".
        metric: "triplet", "quadruplet", "contrastive" or "none".
        soft_margin: for "triplet": softplus in place of a hinge.
        scale: factor on the cosines of "arcface" and "cosface"; also for the distillation of their scores.
        temperature: T of the bidirectional distillation.
    """

    classification: str = "cross_entropy"
    label_smoothing: float = 0.1
    focal_gamma: float = 2.0
    scale: float = 30.0
    angular_margin: float = 0.35
    metric: str = "triplet"
    soft_margin: bool = True
    metric_margin: float = 0.3
    temperature: float = 4.0
    classification_weight: float = 1.0
    metric_weight: float = 1.0
    distillation_weight: float = 1.0
    feature_distillation_weight: float = 0.0
    distance_distillation_weight: float = 0.0
    attention_distillation_weight: float = 0.0

    def __post_init__(self) -> None:
        one_of("loss.classification", self.classification, ("cross_entropy", "focal", "arcface", "cosface"))
        one_of("loss.metric", self.metric, ("triplet", "quadruplet", "contrastive", "none"))
        in_range("loss.label_smoothing", self.label_smoothing, 0.0, 0.99)
        in_range("loss.temperature", self.temperature, 1e-3)
        for name in ("focal_gamma", "scale", "angular_margin", "metric_margin"):
            in_range(f"loss.{name}", getattr(self, name), 0.0)
        for name in self.__dataclass_fields__:
            if name.endswith("_weight"):
                in_range(f"loss.{name}", getattr(self, name), 0.0)
