"""Dual network of a vehicle branch and a plate branch (patent CN113326768B)."""

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import NetworkError
from models.head import BNNeck, Classifier
from models.input_statistics import InputStatistics

Fusion = Literal["concat", "add"]


class BranchOutput(NamedTuple):
    """What one branch gives for N images; no field is L2-normalised."""

    feature_map: Tensor  # (N, C, h, w), the backbone's output
    metric_feature: Tensor  # (N, D), before the BatchNorm of the neck, for metric losses
    embedding: Tensor  # (N, D), after it, for the classifier and, once L2-normalised, for comparison
    logits: Tensor | None  # (N, num_labels), or cosines, as the classifier's kind says; None outside training


class DualOutput(NamedTuple):
    """What both branches give for N vehicles, M of which have a plate."""

    vehicle: BranchOutput  # N rows
    plate: BranchOutput | None  # M rows, in the order of the vehicles they belong to; None without any
    has_plate: Tensor  # (N,) bool, M of them True: `vehicle.logits[has_plate]` stands beside `plate.logits`


class DualEmbedding(NamedTuple):
    """What N vehicles are compared by. Compare `vehicle` and `plate` by their dot product, which is the cosine."""

    vehicle: Tensor  # (N, D), L2-normalised
    plate: Tensor | None  # (N, D'), L2-normalised, a zero row where there is no plate; None without a plate branch
    fused: Tensor  # see `fuse_embeddings`; equal to `vehicle` without a plate branch


class Branch(nn.Module):
    """Backbone, pooling, neck and classifier in a row.

    Args:
        backbone: images (N, 3, H, W) to a feature map (N, C, h, w).
        pooling: feature map to a feature (N, C).
        neck: feature to the features (N, D) before and after its BatchNorm.
        classifier: embedding to scores (N, num_labels); None for a network that only embeds.
        statistics: that images are normalised with before they are given to `forward`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        pooling: nn.Module,
        neck: BNNeck,
        classifier: Classifier | None,
        statistics: InputStatistics,
    ) -> None:
        super().__init__()
        self.statistics = statistics
        self.backbone = backbone
        self.pooling = pooling
        self.neck = neck
        self.classifier = classifier

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.neck.dim

    def forward(self, images: Tensor) -> BranchOutput:
        """Map images (N, 3, H, W) to features; the classifier is used in training only."""
        feature_map = self.backbone(images)
        metric_feature, embedding = self.neck(self.pooling(feature_map))
        logits = self.classifier(embedding) if self.training and self.classifier is not None else None
        return BranchOutput(feature_map, metric_feature, embedding, logits)


class DualNet(nn.Module):
    """A vehicle branch and, where plates are used, a plate branch. Vehicles without a visible plate are welcome.

    Args:
        vehicle: branch of the whole vehicle.
        plate: branch of the plate; None for a network of vehicles alone, which ignores the plates it is given.
        fusion: how embeddings are joined, "concat" or "add"; see `fuse_embeddings`.

    `frozen` names the arrays that stay as the network starts with them, see `add_adapters`.

    Raises ValueError for another fusion, or "add" with branches whose embeddings differ in length."""

    def __init__(self, vehicle: Branch, plate: Branch | None = None, fusion: Fusion = "concat") -> None:
        super().__init__()
        if fusion not in get_args(Fusion):
            raise ValueError(f"unknown fusion {fusion!r}; known: {', '.join(get_args(Fusion))}")
        if fusion == "add" and plate is not None and vehicle.dim != plate.dim:
            raise NetworkError(f"fusion 'add' needs embeddings of one length, got {vehicle.dim} and {plate.dim}")
        self.vehicle = vehicle
        self.plate = plate
        self.fusion: Fusion = fusion
        self.frozen: tuple[str, ...] = ()

    @property
    def statistics(self) -> tuple[InputStatistics, ...]:
        """Of the input of the vehicle branch, and of the plate branch if there is one."""
        return tuple(branch.statistics for branch in (self.vehicle, self.plate) if branch is not None)

    def forward(
        self, vehicle_images: Tensor, plate_images: Tensor | None = None, has_plate: Tensor | None = None
    ) -> DualOutput:
        """Run both branches.

        A single plate in training is skipped, as BatchNorm cannot normalise one row; `has_plate` of the output is
        then False throughout, so that it always tells which vehicles have a row in `plate`.

        Args:
            vehicle_images: (N, 3, H, W).
            plate_images: (M, 3, h, w), those of the vehicles with a plate, in their order; None if M = 0.
            has_plate: (N,) bool, M of them True; None if M = 0.

        Raises ValueError if the number of plates differs from the number that `has_plate` announces."""
        num_plates = 0 if plate_images is None else len(plate_images)
        if has_plate is None:
            has_plate = torch.zeros(len(vehicle_images), dtype=torch.bool, device=vehicle_images.device)
        if has_plate.dtype != torch.bool or has_plate.shape != (len(vehicle_images),):
            got = f"{has_plate.dtype} {tuple(has_plate.shape)}"
            raise ValueError(f"has_plate must be a boolean mask ({len(vehicle_images)},), got {got}")
        if int(has_plate.sum()) != num_plates:
            raise ValueError(f"has_plate announces {int(has_plate.sum())} plates, plate_images holds {num_plates}")
        vehicle = self.vehicle(vehicle_images)
        if self.plate is None or plate_images is None or num_plates < (2 if self.training else 1):
            return DualOutput(vehicle, None, torch.zeros_like(has_plate))
        return DualOutput(vehicle, self.plate(plate_images), has_plate)

    @torch.no_grad()
    def embed(
        self, vehicle_images: Tensor, plate_images: Tensor | None = None, has_plate: Tensor | None = None
    ) -> DualEmbedding:
        """Embed N vehicles; arguments as in `forward`. Raises RuntimeError in training mode: the embedding of one
        vehicle would depend on the others in the batch, and the BatchNorm statistics would move."""
        if self.training:
            raise RuntimeError("embed needs a network in evaluation mode: call eval() first")
        output = self(vehicle_images, plate_images, has_plate)
        vehicle = F.normalize(output.vehicle.embedding)
        if self.plate is None:
            return DualEmbedding(vehicle, None, vehicle)
        plate = vehicle.new_zeros(len(vehicle), self.plate.dim)
        if output.plate is not None:
            plate[output.has_plate] = F.normalize(output.plate.embedding)
        return DualEmbedding(vehicle, plate, self.fuse(vehicle, plate, output.has_plate))

    def fuse(self, vehicle: Tensor, plate: Tensor, has_plate: Tensor) -> Tensor:
        """Join L2-normalised embeddings in this network's way; see `fuse_embeddings`."""
        return fuse_embeddings(vehicle, plate, has_plate, self.fusion)


def fuse_embeddings(vehicle: Tensor, plate: Tensor, has_plate: Tensor, fusion: Fusion) -> Tensor:
    """Join L2-normalised embeddings of vehicles (N, D) and plates (N, D'); a missing plate leaves the vehicle's.

    "concat" gives [v, p] (N, D + D'), with p = 0 where `has_plate` (N,) is False. It is not L2-normalised: the dot
    product of two such rows is cos(v, v') + cos(p, p') and reduces to cos(v, v') if either lacks a plate, whereas
    normalising would shrink it by sqrt(2) whenever one of them has a plate.
    "add" gives (v + p) / |v + p| (N, D), and v where the plate is missing. Raises ValueError if D differs from D'."""
    plate = plate * has_plate[:, None]
    if fusion == "concat":
        return torch.cat([vehicle, plate], dim=1)
    if vehicle.shape != plate.shape:
        raise ValueError(f"fusion 'add' needs equal shapes, got {tuple(vehicle.shape)} and {tuple(plate.shape)}")
    return F.normalize(vehicle + plate)
