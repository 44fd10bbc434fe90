"""Settings of plate reading: its network and its loss."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from app.settings.section import NotNegative, section
from app.settings.weights import HashedShare, LabelSmoothing, Options, Pretrained, weights_of

MEASURES = ("accuracy", "character_error_rate", "accuracy_90", "kept_99", "confidence_99")
EMBEDS = False
_Pixels = Annotated[int, Field(ge=16, le=1024)]


@section("model")
class ModelSettings:
    """The plate reader.

    Args:
        backbone: a convolutional timm model; see `keep_columns`.
        height, width: of its images, pixels.
        pretrained: of the backbone: true lets timm download weights, false starts from random values, else a weights
            file.
        start: a checkpoint of this task from which the whole network starts, for example one trained on synthetic
            plates; "packaged" for the reader that comes with the package, "" for none. As with ImageNet weights, every
            site needs the same file. A checkpoint of a network without hashing also starts a hashed one.
        options: further arguments of the timm model.
        stride: pixels of a column of the sequence, a power of two.
        dim: width of the sequence, a multiple of 4.
        layers: of self-attention.
        decoder: "ctc" or "attention".
        max_length: characters of the longest text of "attention".
        views: of a plate that is read: 1 as it is, 3 for two moved by a little besides; see `models.plate_views`.
        hashed: share of the values of large layers that are learnt and sent; see `hash_layers`. 1 for all.
    """

    backbone: str = "mobilenetv3_small_050"
    height: _Pixels = 48
    width: _Pixels = 160
    pretrained: Pretrained = False
    start: str = ""
    options: Options = field(default_factory=dict)
    stride: Literal[2, 4, 8, 16, 32] = 8
    dim: Annotated[int, Field(ge=4, multiple_of=4)] = 128
    layers: Annotated[int, Field(ge=0, le=12)] = 2
    decoder: Literal["ctc", "attention"] = "ctc"
    max_length: Annotated[int, Field(ge=1, le=64)] = 12
    views: Literal[1, 3] = 1
    hashed: HashedShare = 1.0

    @property
    def weights(self) -> bool | Path:
        """Arguments of `build_backbone`."""
        return weights_of(self.pretrained)


@section("loss")
class LossSettings:
    """The loss of the decoder: CTC (Graves et al., ICML 2006), or cross-entropy of each position for "attention".

    Args:
        label_smoothing: of "attention"; CTC has none.
        alignment_weight: of `AlignmentLoss`, for CTC and synthetic plates.
    """

    label_smoothing: LabelSmoothing = 0.0
    alignment_weight: NotNegative = 1.0
