"""Settings of plate reading: its network and its loss."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.settings.checks import SettingsError, in_range, one_of
from app.settings.weights import require_weights, weights_of


@dataclass(frozen=True)
class ModelSettings:
    """The reader of plates.

    Args:
        backbone: a convolutional timm model; see `keep_columns`.
        height, width: of its pictures, pixels.
        pretrained: of the backbone: true lets timm fetch weights, false starts from random values, else a weights file.
        start: a checkpoint of this task, such as one that learnt made plates, from which the whole network starts; ""
            for none. As with weights of ImageNet, every site needs the same file. One of a network that was not hashed
            also starts a hashed one.
        options: further arguments of the timm model.
        stride: pixels of a column of the sequence, a power of two.
        dim: width of the sequence, a multiple of 4.
        layers: of self-attention.
        decoder: "ctc" or "attention".
        max_length: characters of the longest text of "attention".
        hashed: share of the values of large layers that are learnt and sent; see `hash_layers`. 1 for all.
    """

    backbone: str = "mobilenetv3_small_050"
    height: int = 48
    width: int = 160
    pretrained: bool | str = False
    start: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    stride: int = 8
    dim: int = 128
    layers: int = 2
    decoder: str = "ctc"
    max_length: int = 12
    hashed: float = 1.0

    def __post_init__(self) -> None:
        one_of("model.decoder", self.decoder, ("ctc", "attention"))
        for name in ("height", "width"):
            in_range(f"model.{name}", getattr(self, name), 16, 1024)
        if self.stride not in (2, 4, 8, 16, 32):
            raise SettingsError(f"model.stride must be 2, 4, 8, 16 or 32, got {self.stride}")
        in_range("model.dim", self.dim, 4)
        if self.dim % 4:
            raise SettingsError(f"model.dim must be a multiple of 4, got {self.dim}")
        in_range("model.layers", self.layers, 0, 12)
        in_range("model.max_length", self.max_length, 1, 64)
        require_weights("model", self.pretrained, self.options)
        in_range("model.hashed", self.hashed, 1e-4, 1.0)

    @property
    def weights(self) -> bool | Path:
        """What `build_backbone` takes."""
        return weights_of(self.pretrained)


@dataclass(frozen=True)
class LossSettings:
    """The loss of the decoder: CTC (Graves et al., ICML 2006), or cross-entropy of each position for "attention".

    Args:
        label_smoothing: of "attention"; CTC has none.
        alignment_weight: of `AlignmentLoss`, for CTC and made plates.
    """

    label_smoothing: float = 0.0
    alignment_weight: float = 1.0

    def __post_init__(self) -> None:
        in_range("loss.label_smoothing", self.label_smoothing, 0.0, 0.99)
        in_range("loss.alignment_weight", self.alignment_weight, 0.0)
