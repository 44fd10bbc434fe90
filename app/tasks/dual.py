"""Dual network re-identification (patent CN113326768B): vehicle and plate branch, distilled into each other.

Also re-identification by the vehicle alone, with `model.plate: null`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from app.core.sample import Sample
from app.data.crops import Crops, Size
from app.data.dual_batches import DualBatch, DualBatches
from app.data.readers.reader import Direction
from app.evaluation.embed import DualEmbeddings
from app.evaluation.matches import Counts
from app.settings.checks import SettingsError
from app.settings.dual import CLASSIFICATION, METRIC, BranchSettings, LossSettings, ModelSettings
from app.settings.load import Settings
from app.tasks.networks import make_backbone, require_file, require_size
from app.tasks.reid import Head, Reid
from app.tasks.task import Graph
from models.adapters import add_adapters
from models.backbone import TokenBackbone, input_statistics_of
from models.dual_net import Branch, DualEmbedding, DualNet
from models.embedding_graph import INPUTS, OUTPUTS, EmbeddingGraph, OutsideDualNet, Run
from models.hashed import hash_layers
from models.head import BNNeck, Classifier, ClassifierKind, build_pooling
from models.input_statistics import input_statistics
from models.losses import (
    AttentionDistillationLoss,
    BidirectionalDistillationLoss,
    DistanceDistillationLoss,
    FeatureDistillationLoss,
    build_classification_loss,
    build_metric_loss,
)
from models.losses.memory import EmbeddingMemory
from models.osnet import OSNet


class DualReid(Reid):
    """The task. Implements `EmbeddingTask`."""

    name = "dual_reid"
    stream = DualBatches

    def __init__(self, settings: Settings) -> None:
        self.model: ModelSettings = settings.model
        if self.model.plate is None and settings.evaluation.embedding == "plate":
            raise SettingsError("evaluation.embedding=plate needs a plate network: model.plate is null")
        super().__init__(settings, *(_size(branch) for branch in self._branches()))
        self.fusion = self.model.fusion
        self.loss: LossSettings = settings.loss
        self.classification = build_classification_loss(self.loss.classification, **_classification_options(self.loss))
        self.kind: ClassifierKind = self.classification.classifier_kind  # type: ignore[assignment]
        self.metric = build_metric_loss(self.loss.metric, **_metric_options(self.loss))
        self.memory = EmbeddingMemory(self.loss.memory, self.loss.memory_warm_up) if self.loss.memory else None
        self.distillation = BidirectionalDistillationLoss(self.loss.temperature)
        self.feature_distillation = FeatureDistillationLoss()
        self.distance_distillation = DistanceDistillationLoss()
        self.attention_distillation = AttentionDistillationLoss()

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("fused", "plate", "vehicle") if self.model.plate else ("vehicle",)

    def build(self, num_labels: int, seed: int, *, pretrained: bool = True) -> DualNet:
        """The network in training mode. Classifiers are made last, so that shared arrays depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            branches = [
                _branch(key, branch, self.model, pretrained)
                for key, branch in zip(("model.vehicle", "model.plate"), self._branches(), strict=False)
            ]
            frozen: list[str] = []
            if self.model.trainable == "adapters":
                for part, branch, kept in zip(("vehicle", "plate"), branches, self._branches(), strict=False):
                    frozen += (f"{part}.backbone.{name}" for name in add_adapters(branch.backbone, _size(kept)))
            for branch in branches:
                hash_layers(branch, self.model.hashed)
                branch.classifier = Classifier(branch.dim, num_labels, self.kind)
        network = DualNet(branches[0], branches[1] if len(branches) > 1 else None, self.model.fusion)
        network.frozen = tuple(frozen)
        self.compute.place(network)
        return network.train()

    def losses(self, network: nn.Module, batch: DualBatch) -> dict[str, Tensor]:
        """Weighted parts and their "total"; parts of the plate are missing where no two plates are in the batch."""
        loss = self.loss
        with self.compute.autocast():
            output = network(*self._inputs(network, batch.vehicles, batch.plates), batch.has_plate)
        parts: dict[str, Tensor] = {}
        branches = [("vehicle", output.vehicle, batch.labels)]
        if output.plate is not None:
            branches.append(("plate", output.plate, batch.labels[output.has_plate]))
        for name, branch, labels in branches:
            parts[f"{name}_classification"] = loss.classification_weight * self.classification(branch.logits, labels)
            if loss.metric != "none":
                parts[f"{name}_metric"] = loss.metric_weight * self._metric_loss(name, branch.metric_feature, labels)
        if output.plate is not None:
            seen = output.has_plate
            scale = self.classification.scale
            vehicle, plate = output.vehicle, output.plate
            pairs = {
                "distillation": (self.distillation, scale * vehicle.logits[seen], scale * plate.logits),
                "feature_distillation": (self.feature_distillation, vehicle.embedding[seen], plate.embedding),
                "distance_distillation": (self.distance_distillation, vehicle.embedding[seen], plate.embedding),
                "attention_distillation": (self.attention_distillation, vehicle.feature_map[seen], plate.feature_map),
            }
            for name, (function, first, second) in pairs.items():
                if weight := getattr(loss, f"{name}_weight"):
                    parts[name] = weight * function(first, second)
        parts["total"] = torch.stack(list(parts.values())).sum()
        return parts

    def _metric_loss(self, name: str, features: Tensor, labels: Tensor) -> Tensor:
        """The metric loss of a branch, beside what it remembers."""
        if self.memory is None:
            return cast(Tensor, self.metric(features, labels))
        return cast(Tensor, self.metric(features, labels, self.memory.exchange(name, features, labels)))

    def graph(self, network: nn.Module) -> Graph:
        """Vehicles (N, 3, H, W), plates (N, 3, h, w) and has_plate (N,) to the embeddings of vehicle and plate; see
        `EmbeddingGraph`. Images are float32, normalised."""
        assert isinstance(network, DualNet)
        images = [torch.zeros(2, 3, branch.image_size, branch.image_size) for branch in self._branches()]
        inputs = [*images, torch.tensor([True, False])] if len(images) > 1 else images
        named = dict(zip(INPUTS, inputs, strict=False))
        return Graph(EmbeddingGraph(network), named, OUTPUTS[: len(images)])

    def outside(self, run: Run) -> OutsideDualNet:
        plate_side = self.model.plate.image_size if self.model.plate else None
        statistics = tuple(input_statistics_of(branch.backbone) for branch in self._branches())
        return OutsideDualNet(run, plate_side, self.model.fusion, statistics)

    @property
    def unmatched(self) -> str:
        return "has a true match, an image of its vehicle from another camera in the gallery"

    def countable(self, directions: Sequence[Direction]) -> dict[str, Counts]:
        """Of images with a plate alone, if the headline is of plates and there are any."""
        if self.settings.evaluation.embedding == "plate" and any(s.has_plate for s in _images(directions)):
            directions = [Direction(each.name, _seen(each.query), _seen(each.gallery)) for each in directions]
        return super().countable(directions)

    def _branches(self) -> list[BranchSettings]:
        return [branch for branch in (self.model.vehicle, self.model.plate) if branch]

    def _run(self, network: nn.Module, device: torch.device, batch: Sequence[Crops]) -> DualEmbedding:
        assert isinstance(network, DualNet | OutsideDualNet)
        vehicles = torch.stack([crops.vehicle for crops in batch]).to(device)
        seen = [crops.plate for crops in batch if crops.plate is not None]
        plates = torch.stack(seen).to(device) if seen else None
        mask = torch.tensor([crops.plate is not None for crops in batch], device=vehicles.device) if seen else None
        with self.compute.autocast():
            return network.embed(*self._inputs(network, vehicles, plates), mask)

    def _inputs(self, network: Any, vehicles: Tensor, plates: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Images (N, 3, H, W) uint8 as the input of both branches; None for the plates that a network does not take."""
        of_vehicle, *of_plate = network.statistics
        taken = self.compute.as_input(plates, *of_plate) if of_plate and plates is not None else None
        return self.compute.as_input(vehicles, of_vehicle), taken

    def _heads(self, network: nn.Module, found: DualEmbeddings) -> list[Head]:
        assert isinstance(network, DualNet)
        heads: list[Head] = [(network.vehicle.classifier, found.vehicle, np.ones(len(found.samples), bool))]
        return [*heads, (network.plate.classifier, found.plate, found.has_plate)] if network.plate else heads


def make_task(settings: Settings) -> DualReid:
    """The task for these settings. Raises ValueError naming what cannot be built."""
    return DualReid(settings)


def _images(directions: Sequence[Direction]) -> Iterator[Sample]:
    return (sample for each in directions for sample in (*each.query, *each.gallery))


def _seen(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    return tuple(sample for sample in samples if sample.has_plate)


def _size(branch: BranchSettings) -> Size:
    return branch.image_size, branch.image_size


def _branch(key: str, branch: BranchSettings, model: ModelSettings, pretrained: bool) -> Branch:
    weights = branch.weights if pretrained else False
    require_file(key, weights, branch.sha256)
    backbone = make_backbone(key, branch.backbone, weights, branch.options, _size(branch))
    if isinstance(backbone, TokenBackbone) and model.pooling != "average":
        raise SettingsError(
            f"{key}.backbone={branch.backbone} gives tokens, whose values may be below 0: set model.pooling=average"
        )
    if isinstance(backbone, OSNet) and backbone.fc is not None and model.pooling != "average":
        raise SettingsError(
            f"{key}.options.head=true gives one embedding, whose values may be below 0: set model.pooling=average"
        )
    require_size(key, branch.backbone, backbone, image_size=branch.image_size)
    neck = BNNeck(backbone.num_features, model.embedding_dim or None)  # type: ignore[arg-type]
    return Branch(backbone, build_pooling(model.pooling), neck, None, input_statistics(backbone))


def _classification_options(loss: LossSettings) -> dict[str, Any]:
    if loss.classification not in CLASSIFICATION:
        return loss.classification_options
    if loss.classification == "cross_entropy":
        return {"label_smoothing": loss.label_smoothing}
    if loss.classification == "focal":
        return {"gamma": loss.focal_gamma}
    return {"scale": loss.scale, "margin": loss.angular_margin}


def _metric_options(loss: LossSettings) -> dict[str, Any]:
    if loss.metric not in METRIC:
        return loss.metric_options
    if loss.metric == "none":
        return {}
    if loss.metric == "circle":
        return {"margin": loss.circle_margin, "scale": loss.circle_scale}
    if loss.metric == "adasp":
        return {"temperature": loss.adasp_temperature}
    if loss.metric == "triplet":
        return {"margin": None if loss.soft_margin else loss.metric_margin}
    return {"margin": loss.metric_margin} if loss.metric == "contrastive" else {}
