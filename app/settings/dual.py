"""Settings of the dual network: its networks and its losses."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from app.settings.checks import SettingsError
from app.settings.ranking import RANKING_MEASURES
from app.settings.section import Count, NotNegative, Share, part, section
from app.settings.weights import HashedShare, LabelSmoothing, Options, Pretrained, weights_of

MEASURES = RANKING_MEASURES
CLASSIFICATION = ("cross_entropy", "focal", "arcface", "cosface")
METRIC = ("triplet", "quadruplet", "contrastive", "circle", "adasp", "none")
REMEMBER = ("triplet", "contrastive", "circle")
"""Metric losses that compare a batch with remembered embeddings."""
EMBEDS = True


@section("model")
class BranchSettings:
    """One network of the two.

    Args:
        backbone: a timm model; one of tokens (ViT, DINOv2, EVA, Swin) is built for `image_size`.
        image_size: side of its square images, pixels.
        pretrained: true lets timm download weights, false starts from random values, else a weights file.
        options: further arguments of the timm model; of one of tokens also `token`, "mean" or "class".
    """

    backbone: str = "resnet50"
    image_size: Annotated[int, Field(ge=16, le=4096)] = 256
    pretrained: Pretrained = False
    options: Options = field(default_factory=dict)

    @property
    def weights(self) -> bool | Path:
        """Arguments of `build_backbone`."""
        return weights_of(self.pretrained)


@section("model")
class ModelSettings:
    """The dual network. `plate: null` leaves the plate network out; `embedding_dim` 0 keeps the backbones' widths;
    `hashed` is the share of the values of large layers that are learnt and sent (see `hash_layers`), 1 for all."""

    vehicle: BranchSettings = field(default_factory=BranchSettings)
    plate: BranchSettings | None = None
    pooling: Literal["gem", "average"] = "gem"
    embedding_dim: Count = 0
    fusion: Literal["concat", "add"] = "concat"
    hashed: HashedShare = 1.0


@section("loss")
class LossSettings:
    """Losses of both networks, and of their distillation; a weight of 0 leaves a part out.

    Args:
        classification: "cross_entropy", "focal", "arcface", "cosface" or a plug-in.
        metric: "triplet", "quadruplet", "contrastive", "circle", "adasp", "none" or a plug-in.
        classification_options, metric_options: arguments of a plug-in.
        soft_margin: for "triplet": softplus in place of a hinge.
        scale: factor on the cosines of "arcface" and "cosface"; also for the distillation of their scores.
        circle_margin, circle_scale: of "circle"; adasp_temperature: of "adasp".
        memory: most embeddings of a client's own earlier batches, of each branch, that its metric loss compares with
            (XBM, Wang et al., 2020); 0 for none. They never leave the client, and stay there from round to round with
            the optimiser's moments.
        memory_warm_up: share of the run before they are used.
        temperature: T of the bidirectional distillation.
    """

    classification: Annotated[str, part("losses", *CLASSIFICATION)] = "cross_entropy"
    label_smoothing: LabelSmoothing = 0.1
    focal_gamma: NotNegative = 2.0
    scale: NotNegative = 30.0
    angular_margin: NotNegative = 0.35
    metric: Annotated[str, part("losses", *METRIC)] = "triplet"
    soft_margin: bool = True
    metric_margin: NotNegative = 0.3
    circle_margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.25
    circle_scale: Annotated[float, Field(ge=1.0)] = 128.0
    adasp_temperature: Annotated[float, Field(ge=1e-3)] = 0.04
    memory: Annotated[int, Field(ge=0, le=16384)] = 0
    memory_warm_up: Share = 0.1
    temperature: Annotated[float, Field(ge=1e-3)] = 4.0
    classification_weight: NotNegative = 1.0
    metric_weight: NotNegative = 1.0
    distillation_weight: NotNegative = 1.0
    feature_distillation_weight: NotNegative = 0.0
    distance_distillation_weight: NotNegative = 0.0
    attention_distillation_weight: NotNegative = 0.0
    classification_options: Options = field(default_factory=dict)
    metric_options: Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.memory and self.metric not in REMEMBER:
            raise SettingsError(
                f"loss.memory={self.memory} is for loss.metric={', '.join(REMEMBER[:-1])} or {REMEMBER[-1]}, not "
                f"{self.metric}: set loss.memory=0"
            )
        for key, built_in in (("classification", CLASSIFICATION), ("metric", METRIC)):
            if getattr(self, f"{key}_options") and getattr(self, key) in built_in:
                raise SettingsError(f"loss.{key}_options are for a plug-in; {getattr(self, key)} has keys of its own")
