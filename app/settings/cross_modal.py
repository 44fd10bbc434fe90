"""Settings of visible-infrared re-identification: its network and its losses."""

import os
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from app.settings.checks import SettingsError
from app.settings.ranking import RANKING_MEASURES
from app.settings.section import Count, NotNegative, PathText, section
from app.settings.weights import HashedShare, LabelSmoothing, Options, Pretrained, weights_of

MEASURES = RANKING_MEASURES
EMBEDS = True
_Feature = Literal["before_norm", "after_norm", "compared"]
_Pixels = Annotated[int, Field(ge=16, le=4096)]


@section("model")
class ModelSettings:
    """The two-stream network.

    Args:
        backbone: a convolutional timm model that can be cut behind its stem; see `cut_backbone`.
        height, width: of its images, pixels.
        pretrained: true lets timm download weights, false starts from random values, else a weights file; both stems
            start from the same values.
        options: further arguments of the timm model.
        input: what the stems see: "colour", or "structure", the gradients of the image, which visible and infrared
            images of one object share; see `models.structure`.
        grid: cells along either side that are pooled by themselves; see `GridPooling`. An embedding is grid^2 as long.
        embedding_dim: length of an embedding, 0 for the backbone's width times grid^2.
        layout_weight: of the cosine of two images' structure on 8 x 8 cells (`StructureLayout`) beside that of the
            learnt embeddings; nothing of it is learnt or sent. For images of one pose, measured with one view; 0: none.
        hashed: share of the values of large layers that are learnt and sent; see `hash_layers`. 1 for all.
    """

    backbone: str = "resnet50"
    height: _Pixels = 256
    width: _Pixels = 256
    pretrained: Pretrained = False
    options: Options = field(default_factory=dict)
    input: Literal["colour", "structure"] = "colour"
    pooling: Literal["gem", "average"] = "gem"
    grid: Annotated[int, Field(ge=1, le=8)] = 1
    embedding_dim: Count = 0
    layout_weight: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    hashed: HashedShare = 1.0

    @property
    def weights(self) -> bool | Path:
        """Arguments of `build_backbone`."""
        return weights_of(self.pretrained)


@section("loss")
class LossSettings:
    """Weights of the four losses, 0 leaves one out, and what they read.

    Args:
        weighted_triplet_feature, centre_contrast_feature: of an image, "before_norm" (the BatchNorm of the neck),
            "after_norm", or "compared": after it and L2-normalised, as images are compared.
        centre_contrast_nearest: next centre of another vehicle: of each vehicle its own ("class"), or the smallest
            distance between any two of the batch for all of them ("batch").
        perceptual_weights: of the network that compares outlines: "random" features, "imagenet", downloaded by
            torchvision, or a file of torchvision's VGG16.
        perceptual_longest: longer side of the compared maps, pixels; 0 for the size of the stem's output.
    """

    identity_weight: NotNegative = 1.0
    label_smoothing: LabelSmoothing = 0.1
    weighted_triplet_weight: NotNegative = 1.0
    perceptual_edge_weight: NotNegative = 1.0
    centre_contrast_weight: NotNegative = 1.0
    weighted_triplet_feature: _Feature = "before_norm"
    centre_contrast_feature: _Feature = "after_norm"
    centre_contrast_nearest: Literal["class", "batch"] = "class"
    perceptual_weights: PathText = "random"
    perceptual_longest: Count = 0

    def __post_init__(self) -> None:
        if not (self.identity_weight or self.weighted_triplet_weight or self.perceptual_edge_weight):
            raise SettingsError("loss.identity_weight, weighted_triplet_weight and perceptual_edge_weight are all 0")

    @property
    def perceptual(self) -> bool | Path:
        """Argument of `vgg16_stages`."""
        known: dict[str, bool] = {"random": False, "imagenet": True}
        return known.get(self.perceptual_weights, Path(os.path.expanduser(self.perceptual_weights)))  # noqa: PTH111 - raises for no user
