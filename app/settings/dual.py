"""Settings of the dual network: its networks and its losses."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from app.settings.checks import SettingsError
from app.settings.ranking import RANKING_MEASURES
from app.settings.section import Count, NotNegative, Share, part, section
from app.settings.weights import HashedShare, LabelSmoothing, Options, Pretrained, Sha256, weights_of

MEASURES = RANKING_MEASURES
CLASSIFICATION = ("cross_entropy", "focal", "arcface", "cosface")
METRIC = ("triplet", "quadruplet", "contrastive", "circle", "adasp", "none")
SMOOTHING = 0.1
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
        sha256: of the weights file, 64 hexadecimal digits: a party whose file is another one is refused; "" takes any.
    """

    backbone: str = "resnet50"
    image_size: Annotated[int, Field(ge=16, le=4096)] = 256
    pretrained: Pretrained = False
    options: Options = field(default_factory=dict)
    sha256: Sha256 = ""

    def __post_init__(self) -> None:
        if self.sha256 and isinstance(self.weights, bool):
            raise SettingsError("model.vehicle.sha256 and model.plate.sha256 are of a weights file in pretrained")

    @property
    def weights(self) -> bool | Path:
        """Arguments of `build_backbone`."""
        return weights_of(self.pretrained)


@section("model")
class ModelSettings:
    """The dual network. `plate: null` leaves the plate network out; `embedding_dim` 0 keeps the backbones' widths;
    `hashed` is the share of the values of large layers that are learnt and sent (see `hash_layers`), 1 for all.

    Args:
        trainable: "all", or "adapters": the backbones keep the values of their files, except of a few (see
            `add_adapters`), and only those and the heads are learnt, sent and averaged. Every party needs the same
            files, so that their `sha256` must be given.
    """

    vehicle: BranchSettings = field(default_factory=BranchSettings)
    plate: BranchSettings | None = None
    pooling: Literal["gem", "average"] = "gem"
    embedding_dim: Count = 0
    fusion: Literal["concat", "add"] = "concat"
    hashed: HashedShare = 1.0
    trainable: Literal["all", "adapters"] = "all"

    def __post_init__(self) -> None:
        if self.trainable == "all":
            return
        if self.hashed < 1:
            raise SettingsError("model.trainable=adapters sends few values already: it cannot go with model.hashed")
        for key, branch in (("model.vehicle", self.vehicle), ("model.plate", self.plate)):
            if branch is not None and isinstance(branch.weights, bool):
                raise SettingsError(
                    f"{key}.pretrained must be a weights file with model.trainable=adapters: most of the network stays "
                    "as that file has it"
                )
            if branch is not None and not branch.sha256:
                raise SettingsError(
                    f"{key}.sha256 is missing: with model.trainable=adapters every party must start from the same "
                    "weights file; sha256sum FILE prints it"
                )


@section("loss")
class LossSettings:
    """Losses of both networks, and of their distillation; a weight of 0 leaves a part out.

    Args:
        classification: "cross_entropy", "focal", "arcface", "cosface" or a plug-in.
        metric: "triplet", "quadruplet", "contrastive", "circle", "adasp", "none" or a plug-in.
        classification_options, metric_options: arguments of a plug-in.
        label_smoothing: of "cross_entropy".
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
    label_smoothing: LabelSmoothing = SMOOTHING
    focal_gamma: NotNegative = 2.0
    scale: NotNegative = 30.0
    angular_margin: NotNegative = 0.35
    metric: Annotated[str, part("losses", *METRIC)] = "triplet"
    soft_margin: bool = True
    metric_margin: NotNegative = 0.3
    circle_margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.25
    circle_scale: Annotated[float, Field(gt=0.0)] = 128.0
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
        if self.classification != "cross_entropy" and self.label_smoothing not in (0, SMOOTHING):
            raise SettingsError(
                f"loss.label_smoothing={self.label_smoothing:g} is for loss.classification=cross_entropy; "
                f"{self.classification} has none: leave it out"
            )
        for key, built_in in (("classification", CLASSIFICATION), ("metric", METRIC)):
            if getattr(self, f"{key}_options") and getattr(self, key) in built_in:
                raise SettingsError(f"loss.{key}_options are for a plug-in; {getattr(self, key)} has keys of its own")
