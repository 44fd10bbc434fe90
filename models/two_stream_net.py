"""Visible-infrared network: a stem for each modality, one trunk (Ye et al., 2021, arXiv:2001.04193)."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import NetworkError
from models.head import BNNeck, Classifier
from models.input_statistics import InputStatistics
from models.structure import StructureLayout

_PROBE_SIZE = (64, 96)  # pixels
_CUTS = (  # names of the parts of stem and trunk, in timm's families
    (("conv1", "bn1", "act1", "maxpool"), ("layer1", "layer2", "layer3", "layer4")),
    (("conv_stem", "bn1"), ("blocks", "conv_head", "bn2")),
    (("conv_stem", "bn1"), ("blocks", "conv_head", "norm_head", "act2")),
    (("conv_stem", "bn1"), ("blocks",)),
    (("conv1", "maxpool"), ("conv2", "pool2", "conv3", "pool3", "conv4", "conv5")),  # OSNet
)
LossFeature = Literal["before_norm", "after_norm", "compared"]
"""The feature that a metric loss reads: before the BatchNorm of the neck, after it, or after it and L2-normalised, as
images are compared."""


class TwoStreamOutput(NamedTuple):
    """What N images give, in their order; no field is L2-normalised."""

    visible_stem: Tensor | None  # (V, C, h, w), the stem's output for the V visible images; None without any
    infrared_stem: Tensor | None  # (R, C, h, w), the same for the R infrared ones
    metric_feature: Tensor  # (N, D), before the BatchNorm of the neck, for metric losses
    embedding: Tensor  # (N, D), after it, for the classifier and, once L2-normalised, for comparison
    logits: Tensor | None  # (N, num_labels); None outside training

    def feature(self, name: LossFeature) -> Tensor:
        """(N, D) for a metric loss."""
        if name == "before_norm":
            return self.metric_feature
        return F.normalize(self.embedding) if name == "compared" else self.embedding


class TwoStreamNet(nn.Module):
    """Two stems that share nothing, and a trunk, pooling, neck and classifier that both share.

    Args:
        visible_stem, infrared_stem: images (N, 3, H, W) to feature maps of one shape.
        trunk: feature map to feature map (N, C, h, w).
        pooling: feature map to a feature (N, C).
        neck: feature to the features (N, D) before and after its BatchNorm.
        statistics: that images are normalised with before they are given to `forward`.
        classifier: embedding to scores; None for a network that only embeds.
        layout_weight: of the cosine of `StructureLayout` beside that of the learnt embeddings, where images are
            compared.
    """

    def __init__(
        self,
        visible_stem: nn.Module,
        infrared_stem: nn.Module,
        trunk: nn.Module,
        pooling: nn.Module,
        neck: BNNeck,
        statistics: InputStatistics,
        classifier: Classifier | None = None,
        layout_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.statistics = statistics
        self.visible_stem = visible_stem
        self.infrared_stem = infrared_stem
        self.trunk = trunk
        self.pooling = pooling
        self.neck = neck
        self.classifier = classifier
        self.layout_weight = layout_weight
        self.layout = StructureLayout()

    @property
    def dim(self) -> int:
        """Length of an embedding that the classifier reads."""
        return self.neck.dim

    def forward(self, images: Tensor, infrared: Tensor) -> TwoStreamOutput:
        """Map images (N, 3, H, W), infrared ones with their channel repeated, and infrared (N,) bool.

        A batch of one modality leaves the other stem alone. Raises ValueError for a mask of another shape or type."""
        if infrared.dtype != torch.bool or infrared.shape != (len(images),):
            got = f"{infrared.dtype} {tuple(infrared.shape)}"
            raise ValueError(f"infrared must be a boolean mask ({len(images)},), got {got}")
        seen = self.visible_stem(images[~infrared]) if not infrared.all() else None
        felt = self.infrared_stem(images[infrared]) if infrared.any() else None
        maps = torch.cat([stem for stem in (seen, felt) if stem is not None])
        places = torch.cat([torch.nonzero(~infrared)[:, 0], torch.nonzero(infrared)[:, 0]])
        maps = maps[torch.argsort(places)]  # back in the order given
        metric_feature, embedding = self.neck(self.pooling(self.trunk(maps)))
        logits = self.classifier(embedding) if self.training and self.classifier is not None else None
        return TwoStreamOutput(seen, felt, metric_feature, embedding, logits)

    @torch.no_grad()
    def embed(self, images: Tensor, infrared: Tensor) -> Tensor:
        """L2-normalised embeddings (N, D), with `layout_weight` (N, D + 192). Raises RuntimeError in training mode, as
        `DualNet.embed` does."""
        if self.training:
            raise RuntimeError("embed needs a network in evaluation mode: call eval() first")
        return self.compared(self(images, infrared).embedding, images)

    def compared(self, embedding: Tensor, images: Tensor) -> Tensor:
        """What `embed` gives, from embeddings (N, D) and their images. The cosine of two images is then
        (learnt + w layout) / (1 + w), with the cosines of both parts and w = `layout_weight`."""
        learnt, weight = F.normalize(embedding), self.layout_weight
        if not weight:
            return learnt
        return torch.cat([learnt, weight**0.5 * self.layout(images)], dim=1) / (1 + weight) ** 0.5


def cut_backbone(backbone: nn.Module, name: str) -> tuple[nn.Module, nn.Module]:
    """Stem and trunk of a timm network that `build_backbone` made; one after the other they are the network.

    ResNets are cut before their first stage of blocks, EfficientNets and MobileNets before their first block. Raises
    ValueError for a network of another form."""
    parts = dict(backbone.named_children())
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            size = 3 * _PROBE_SIZE[0] * _PROBE_SIZE[1]  # not a blank image: of that many networks give the same
            probe = torch.linspace(-2, 2, size, device=next(backbone.parameters()).device).view(1, 3, *_PROBE_SIZE)
            whole = backbone(probe)
            for names in _CUTS:
                stem, trunk = (_joined(parts, part) for part in names)
                if len(stem) and len(trunk) and torch.equal(_result(stem, trunk, probe), whole):
                    return stem, trunk
    finally:
        backbone.train(was_training)
    raise NetworkError(f"backbone {name!r} cannot be cut into a stem and a trunk: its parts are {', '.join(parts)}")


def _result(stem: nn.Module, trunk: nn.Module, images: Tensor) -> Tensor:
    """What both give together; nothing (0,) if they do not fit."""
    try:
        result: Tensor = trunk(stem(images))
    except (RuntimeError, TypeError, ValueError):
        return torch.zeros(0)
    return result


def _joined(parts: dict[str, nn.Module], names: tuple[str, ...]) -> nn.Sequential:
    joined = nn.Sequential()
    for name in names:
        if name in parts:  # some have no pooling, or no convolution at the end
            joined.add_module(name, parts[name])
    return joined
