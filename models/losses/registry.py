"""Losses by the names that settings use."""

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from models.errors import NetworkError
from models.losses.adasp import AdaptiveSparsePairwiseLoss
from models.losses.arcface import ArcFaceLoss
from models.losses.circle import CircleLoss
from models.losses.contrastive import ContrastiveLoss
from models.losses.cosface import CosFaceLoss
from models.losses.cross_entropy import CrossEntropyLoss
from models.losses.focal import FocalLoss
from models.losses.quadruplet import QuadrupletLoss
from models.losses.triplet import BatchHardTripletLoss
from models.plugins import PlugInError, declared, is_plug_in, load
from models.precision import at_least_float32


class NoMetricLoss(nn.Module):
    """Stand-in for a metric loss that has weight 0."""

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002 - the signature of a metric loss
        """Return zero, differentiable."""
        return at_least_float32(embeddings).sum() * 0.0


_CLASSIFICATION: dict[str, type[nn.Module]] = {
    "arcface": ArcFaceLoss,
    "cosface": CosFaceLoss,
    "cross_entropy": CrossEntropyLoss,
    "focal": FocalLoss,
}
_METRIC: dict[str, type[nn.Module]] = {
    "adasp": AdaptiveSparsePairwiseLoss,
    "circle": CircleLoss,
    "contrastive": ContrastiveLoss,
    "none": NoMetricLoss,
    "quadruplet": QuadrupletLoss,
    "triplet": BatchHardTripletLoss,
}


def build_classification_loss(name: str, **options: Any) -> nn.Module:
    """Build "cross_entropy", "focal", "arcface", "cosface" or a plug-in: (scores (N, C), labels (N,)) to a scalar.

    `.classifier_kind` tells which scores it reads: "linear" logits or "cosine". Scores times `.scale` are the logits
    of a softmax, as distillation needs them. Raises ValueError for another name, TypeError for an option the loss
    lacks."""
    return _build(_CLASSIFICATION, "classification loss", name, options, needs=("classifier_kind", "scale"))


def build_metric_loss(name: str, **options: Any) -> nn.Module:
    """Build "triplet", "quadruplet", "contrastive", "circle", "adasp", "none" or a plug-in: (embeddings (N, D),
    labels (N,)) to a scalar.

    Raises ValueError for another name, TypeError for an option the loss lacks."""
    return _build(_METRIC, "metric loss", name, options)


def _build(
    known: dict[str, type[nn.Module]], what: str, name: str, options: dict[str, Any], needs: Collection[str] = ()
) -> nn.Module:
    """Build the loss of a name. Raises NetworkError naming it for a value that it does not take, and PlugInError."""
    if name in known:
        try:
            return known[name](**options)
        except ValueError as error:
            raise NetworkError(f"{what} {name}: {error}") from error
    if not is_plug_in("losses", name):
        raise NetworkError(f"unknown {what} {name!r}; known: {', '.join((*known, *declared('losses')))}")
    made = load("losses", name)
    if not (isinstance(made, type) and issubclass(made, nn.Module)):
        raise PlugInError(f"{what} {name} is no class of torch.nn.Module: see models/losses")
    try:
        found = made(**options)
    except (TypeError, ValueError) as error:
        raise PlugInError(f"{what} {name} cannot be made with {options}: {error}") from error
    if lacking := [need for need in needs if not hasattr(found, need)]:
        raise PlugInError(f"{what} {name} has no {', '.join(lacking)}: see build_classification_loss")
    return found
