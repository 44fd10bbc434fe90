"""Dual network re-identification (patent CN113326768B): vehicle and plate branch, distilled into each other.

Also re-identification by the vehicle alone, with `model.plate: null`.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.core.device import Compute, make_compute
from app.core.sample import Sample
from app.data.crops import Crops, Size
from app.data.dual_batches import DualBatch, DualBatches, labels_of
from app.data.readers.reader import Direction
from app.evaluation.embed import DualEmbeddings, all_samples, embed, embed_crops, fused, measure_all
from app.evaluation.matches import Counts, count_matches
from app.settings.checks import SettingsError
from app.settings.dual import BranchSettings, LossSettings, ModelSettings
from app.settings.load import Settings
from app.tasks.inputs import Statistics, as_input, make_backbone, make_pictures
from app.tasks.task import Batches, Evaluation, Graph, mean_of_directions, num_vehicles
from models.backbone import input_statistics, input_statistics_of
from models.classifier import Classifier, ClassifierKind
from models.dual_net import Branch, DualEmbedding, DualNet
from models.embedding_graph import INPUTS, OUTPUTS, EmbeddingGraph, OutsideDualNet, Run
from models.hashed import hash_layers
from models.losses import (
    AttentionDistillationLoss,
    BidirectionalDistillationLoss,
    DistanceDistillationLoss,
    FeatureDistillationLoss,
    build_classification_loss,
    build_metric_loss,
)
from models.neck import BNNeck
from models.pooling import build_pooling


class DualReid:
    """The task. Implements `EmbeddingTask`."""

    name = "dual_reid"
    heads = ("*classifier*",)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model: ModelSettings = settings.model
        if self.model.plate is None and settings.evaluation.embedding == "plate":
            raise SettingsError("evaluation.embedding=plate needs a plate network: model.plate is null")
        self.loss: LossSettings = settings.loss
        train = settings.train
        self.compute: Compute = make_compute(settings.device, train.precision, train.channels_last, train.threads)
        plate = self.model.plate
        self.pictures = make_pictures(settings.data, _size(self.model.vehicle), _size(plate) if plate else None)
        self.classification = build_classification_loss(self.loss.classification, **_classification_options(self.loss))
        self.kind: ClassifierKind = self.classification.classifier_kind  # type: ignore[assignment]
        self.metric = build_metric_loss(self.loss.metric, **_metric_options(self.loss))
        self.distillation = BidirectionalDistillationLoss(self.loss.temperature)
        self.feature_distillation = FeatureDistillationLoss()
        self.distance_distillation = DistanceDistillationLoss()
        self.attention_distillation = AttentionDistillationLoss()
        self._statistics: list[Statistics] = []

    @property
    def libraries(self) -> tuple[str, ...]:
        return ("fused", "plate", "vehicle") if self.model.plate else ("vehicle",)

    @property
    def remarks(self) -> dict[str, str]:
        return {}

    @property
    def bad_pictures(self) -> dict[str, str]:
        return dict(self.pictures.bad)

    def learnable(self, samples: Sequence[Sample]) -> list[Sample]:
        return list(samples)

    def num_labels(self, samples: Sequence[Sample]) -> int:
        return num_vehicles(samples)

    def build(self, num_labels: int, seed: int, *, pretrained: bool = True) -> DualNet:
        """The network in training mode. Classifiers are made last, so that shared arrays depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            branches = [
                _branch(key, branch, self.model, pretrained)
                for key, branch in zip(("model.vehicle", "model.plate"), self._branches(), strict=False)
            ]
            for branch in branches:
                hash_layers(branch, self.model.hashed)
                branch.classifier = Classifier(branch.dim, num_labels, self.kind)
        self._statistics = [input_statistics(branch.backbone) for branch in branches]
        network = DualNet(branches[0], branches[1] if len(branches) > 1 else None, self.model.fusion)
        self.compute.place(network)
        return network.train()

    def batches(self, samples: Sequence[Sample], seed: int) -> Batches:
        """The training stream."""
        train = self.settings.train
        return DualBatches(
            samples,
            self.pictures,
            pids_per_batch=train.pids_per_batch,
            images_per_pid=train.images_per_pid,
            seed=seed,
            augment=train.augment,
            equalise=self.settings.data.equalise,
        )

    def losses(self, network: nn.Module, batch: DualBatch) -> dict[str, Tensor]:
        """Weighted parts and their "total"; parts of the plate are missing where no two plates are in the batch."""
        loss = self.loss
        with self.compute.autocast():
            output = network(self._input(batch.vehicles, 0), self._input(batch.plates, 1), batch.has_plate)
        parts: dict[str, Tensor] = {}
        branches = [("vehicle", output.vehicle, batch.labels)]
        if output.plate is not None:
            branches.append(("plate", output.plate, batch.labels[output.has_plate]))
        for name, branch, labels in branches:
            parts[f"{name}_classification"] = loss.classification_weight * self.classification(branch.logits, labels)
            if loss.metric != "none":
                parts[f"{name}_metric"] = loss.metric_weight * self.metric(branch.metric_feature, labels)
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

    def set_heads(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> None:
        """Rows of each classifier become the class centres of the present embeddings."""
        assert isinstance(network, DualNet)
        found = self._embed(network, samples, device)
        label_of = dict(zip(samples, labels_of(samples).tolist(), strict=True))
        labels = torch.tensor([label_of[sample] for sample in found.samples])
        for branch, rows, use in (
            (network.vehicle, found.vehicle, np.ones(len(labels), bool)),
            (network.plate, found.plate, found.has_plate),
        ):
            if branch is not None and rows is not None and branch.classifier is not None and use.any():
                branch.classifier.set_from_centres(torch.from_numpy(rows[use]).to(device), labels[use])

    def probe(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> Tensor:
        """Vehicle embeddings (N, D), L2-normalised."""
        return torch.from_numpy(self._embed(network, samples, device).vehicle)

    def embeddings(self, network: nn.Module, images: Sequence[Crops]) -> dict[str, NDArray[np.float32]]:
        """The patent's three libraries, fused, plate and vehicle; an image without a plate is in the last alone."""
        assert isinstance(network, DualNet | OutsideDualNet)
        run = partial(self._run, network, self.compute.device)
        found = embed_crops(network, images, run, self.settings.evaluation.batch_size)
        if found.plate is None:
            return {"vehicle": found.vehicle}
        joined = fused(found.vehicle, found.plate, network.fusion)
        return {"fused": joined, "plate": found.plate, "vehicle": found.vehicle}

    def graph(self, network: nn.Module) -> Graph:
        """Vehicles (N, 3, H, W), plates (N, 3, h, w) and has_plate (N,) to the embeddings of vehicle and plate; see
        `EmbeddingGraph`. Images are float32, normalised."""
        assert isinstance(network, DualNet)
        pictures = [torch.zeros(2, 3, branch.image_size, branch.image_size) for branch in self._branches()]
        inputs = [*pictures, torch.tensor([True, False])] if len(pictures) > 1 else pictures
        named = dict(zip(INPUTS, inputs, strict=False))
        return Graph(EmbeddingGraph(network), named, OUTPUTS[: len(pictures)])

    def outside(self, run: Run) -> OutsideDualNet:
        self._statistics = [input_statistics_of(branch.backbone) for branch in self._branches()]
        plate_side = self.model.plate.image_size if self.model.plate else None
        return OutsideDualNet(run, plate_side, self.model.fusion)

    @property
    def unmatched(self) -> str:
        return "has a true match, an image of its vehicle from another camera in the gallery"

    def countable(self, directions: Sequence[Direction]) -> dict[str, Counts]:
        """Of images with a plate alone, if the headline is of plates and there are any."""
        if self.settings.evaluation.embedding == "plate" and any(s.has_plate for s in _images(directions)):
            directions = [Direction(each.name, _seen(each.query), _seen(each.gallery)) for each in directions]
        return count_matches(directions)

    def evaluate(self, network: nn.Module, directions: Sequence[Direction], device: torch.device) -> Evaluation:
        """The headline is of `evaluation.embedding`; `vehicle_mAP`, `plate_mAP` and `fused_mAP` stand beside it."""
        found = self._embed(network, all_samples(directions), device)
        evaluation = self.settings.evaluation
        rows = measure_all(found, directions, evaluation.embedding, rerank=evaluation.rerank)
        return Evaluation(mean_of_directions(rows), rows, self.bad_pictures)

    def ranked_lists(
        self, network: nn.Module, direction: Direction, device: torch.device, path: Path, count: int, seed: int
    ) -> None:
        """The ten best of `count` queries, by fused distance."""
        # matplotlib takes seconds to import; a client that only trains, in a process of its own, draws nothing
        from app.evaluation.ranked_lists import draw_ranked_lists

        draw_ranked_lists(self._embed(network, all_samples([direction]), device), direction, path, count, seed)

    def _branches(self) -> list[BranchSettings]:
        return [branch for branch in (self.model.vehicle, self.model.plate) if branch]

    def _embed(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> DualEmbeddings:
        assert isinstance(network, DualNet | OutsideDualNet)
        run = partial(self._run, network, device)
        return embed(network, samples, self.pictures, run, self.settings.evaluation.batch_size, network.fusion)

    def _run(self, network: DualNet | OutsideDualNet, device: torch.device, batch: Sequence[Crops]) -> DualEmbedding:
        seen = [crops.plate for crops in batch if crops.plate is not None]
        images = self._input(torch.stack([crops.vehicle for crops in batch]), 0, device)
        assert images is not None
        plate_images = self._input(torch.stack(seen), 1, device) if seen else None
        mask = torch.tensor([crops.plate is not None for crops in batch], device=images.device) if seen else None
        with self.compute.autocast():
            return network.embed(images, plate_images, mask)

    def _input(self, pictures: Tensor | None, branch: int, device: torch.device | None = None) -> Tensor | None:
        """Pictures (N, 3, H, W) uint8 as the input of branch 0 (vehicle) or 1 (plate)."""
        if pictures is None or branch >= len(self._statistics):
            return None
        return as_input(pictures if device is None else pictures.to(device), self._statistics[branch], self.compute)


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
    backbone = make_backbone(key, branch.backbone, branch.weights if pretrained else False, branch.options)
    neck = BNNeck(backbone.num_features, model.embedding_dim or None)  # type: ignore[arg-type]
    return Branch(backbone, build_pooling(model.pooling), neck, None)


def _classification_options(loss: LossSettings) -> dict[str, float]:
    if loss.classification == "cross_entropy":
        return {"label_smoothing": loss.label_smoothing}
    if loss.classification == "focal":
        return {"gamma": loss.focal_gamma}
    return {"scale": loss.scale, "margin": loss.angular_margin}


def _metric_options(loss: LossSettings) -> dict[str, float | None]:
    if loss.metric == "none":
        return {}
    if loss.metric == "triplet":
        return {"margin": None if loss.soft_margin else loss.metric_margin}
    return {"margin": loss.metric_margin} if loss.metric == "contrastive" else {}
