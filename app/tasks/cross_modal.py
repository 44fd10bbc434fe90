"""Visible-infrared re-identification: two stems, one trunk, and losses that close the gap between the modalities.

The losses are those of Ye et al. (2021, arXiv:2001.04193) and of Gao et al. (MSO, ACM MM 2021).
"""

from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from app.core.sample import Sample
from app.data.crops import Crops
from app.data.cross_modal_batches import CrossModalBatch, CrossModalBatches
from app.data.readers.reader import Direction
from app.evaluation.embed import DualEmbeddings
from app.evaluation.modalities import across_modalities
from app.settings.checks import SettingsError, named_file
from app.settings.cross_modal import LossSettings, ModelSettings
from app.settings.load import Settings
from app.tasks.networks import make_backbone, require_grid, require_size
from app.tasks.reid import Head, Reid
from app.tasks.task import Batches, Graph
from models.backbone import input_statistics_of, map_size
from models.dual_net import DualEmbedding
from models.embedding_graph import Run
from models.errors import NetworkError
from models.hashed import hash_layers
from models.head import BNNeck, Classifier, build_pooling
from models.input_statistics import input_statistics
from models.losses import (
    CrossEntropyLoss,
    CrossModalCentreContrastLoss,
    PerceptualEdgeLoss,
    WeightedRegularisedTripletLoss,
)
from models.perceptual import vgg16_stages
from models.structure import behind_structure
from models.two_stream_graph import INPUTS, OUTPUTS, OutsideTwoStreamNet, TwoStreamGraph
from models.two_stream_net import TwoStreamNet, TwoStreamOutput, cut_backbone


class CrossModalReid(Reid):
    """The task. Implements `EmbeddingTask`."""

    name = "cross_modal_reid"
    stream = CrossModalBatches
    libraries = ("vehicle",)

    def __init__(self, settings: Settings) -> None:
        self.model: ModelSettings = settings.model
        super().__init__(settings, (self.model.height, self.model.width))
        self.loss: LossSettings = settings.loss
        if settings.evaluation.embedding == "plate":
            raise SettingsError("evaluation.embedding=plate: the task cross_modal_reid has no plate network")
        self.identity = CrossEntropyLoss(self.loss.label_smoothing)
        self.weighted_triplet = WeightedRegularisedTripletLoss()
        self.centre_contrast = CrossModalCentreContrastLoss(self.loss.centre_contrast_nearest)
        self._perceptual_edge: PerceptualEdgeLoss | None = None

    @property
    def remarks(self) -> dict[str, str]:
        weight, weights = self.loss.perceptual_edge_weight, self.loss.perceptual_weights
        features = {"random": "random features", "imagenet": "torchvision's weights of ImageNet"}
        return {"perceptual network": f"VGG16, {features.get(weights, weights)}"} if weight else {}

    def build(self, num_labels: int, seed: int, *, pretrained: bool = True) -> TwoStreamNet:
        """The network in training mode; both stems start alike. The classifier is made last, so that shared arrays
        depend on the seed alone."""
        model = self.model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = make_backbone("model", model.backbone, model.weights if pretrained else False, model.options)
            require_size("model", model.backbone, backbone, height=model.height, width=model.width)
            require_grid(model.grid, map_size(backbone, model.height, model.width))
            try:
                stem, trunk = cut_backbone(backbone, model.backbone)
            except NetworkError as error:
                raise SettingsError(f"model.backbone: {error}") from error
            if model.input == "structure":
                stem = behind_structure(stem)
            pooling = build_pooling(model.pooling, model.grid)
            features: int = backbone.num_features * model.grid**2  # type: ignore[operator, assignment]
            neck = BNNeck(features, model.embedding_dim or None)
            network = TwoStreamNet(
                stem, nn.Identity(), trunk, pooling, neck, input_statistics(backbone), layout_weight=model.layout_weight
            )
            hash_layers(network, model.hashed)
            network.infrared_stem = deepcopy(network.visible_stem)  # with its hashes: both start alike
            network.classifier = Classifier(network.dim, num_labels, "linear")
        self.compute.place(network)
        return network.train()

    def batches(self, samples: Sequence[Sample], seed: int) -> Batches:
        """P vehicles with K visible and K infrared images each. Raises NamedFileError for a weights file of
        the perceptual network that cannot be used, before anything is trained."""
        if self.loss.perceptual_edge_weight and isinstance(self.loss.perceptual, Path):
            self._perceptual_edge = self._perceptual_edge or self._compare_edges()
        return super().batches(samples, seed)

    def losses(self, network: nn.Module, batch: CrossModalBatch) -> dict[str, Tensor]:
        """Weighted parts and their "total"; "centre_contrast" is missing from a batch of one modality."""
        assert isinstance(network, TwoStreamNet)
        loss, images = self.loss, self.compute.as_input(batch.images, network.statistics)
        with self.compute.autocast():
            output: TwoStreamOutput = network(images, batch.infrared)
        assert output.logits is not None
        parts: dict[str, Tensor] = {}
        if loss.identity_weight:
            parts["identity"] = loss.identity_weight * self.identity(output.logits, batch.labels)
        if loss.weighted_triplet_weight:
            triplet = self.weighted_triplet(output.feature(loss.weighted_triplet_feature), batch.labels)
            parts["weighted_triplet"] = loss.weighted_triplet_weight * triplet
        if loss.perceptual_edge_weight:
            parts["perceptual_edge"] = loss.perceptual_edge_weight * self._edges(output, images, batch.infrared)
        if loss.centre_contrast_weight and batch.infrared.any() and not batch.infrared.all():
            feature = output.feature(loss.centre_contrast_feature)
            contrast = self.centre_contrast(feature, batch.labels, batch.infrared)
            parts["centre_contrast"] = loss.centre_contrast_weight * contrast
        parts["total"] = torch.stack(list(parts.values())).sum()
        return parts

    def graph(self, network: nn.Module) -> Graph:
        """Images (N, 3, H, W), float32 and normalised, and infrared (N,) bool to embeddings; see `TwoStreamGraph`."""
        assert isinstance(network, TwoStreamNet)
        inputs = [torch.zeros(2, 3, self.model.height, self.model.width), torch.tensor([False, True])]
        return Graph(TwoStreamGraph(network), dict(zip(INPUTS, inputs, strict=True)), OUTPUTS)

    def outside(self, run: Run) -> OutsideTwoStreamNet:
        """See `OutsideTwoStreamNet`."""
        return OutsideTwoStreamNet(run, input_statistics_of(self.model.backbone))

    @property
    def unmatched(self) -> str:
        return "has a true match, an image of its vehicle in the other modality and from another camera"

    def compared(self, directions: Sequence[Direction]) -> list[Direction]:
        """From one modality to the other; see `across_modalities`."""
        return across_modalities(directions)

    def _edges(self, output: TwoStreamOutput, images: Tensor, infrared: Tensor) -> Tensor:
        """The perceptual edge losses of both modalities, added."""
        if self._perceptual_edge is None:  # a task that only embeds needs no second network
            self._perceptual_edge = self._compare_edges()
        pairs = [(output.visible_stem, images[~infrared]), (output.infrared_stem, images[infrared])]
        with self.compute.autocast():
            parts = [self._perceptual_edge(stem, own) for stem, own in pairs if stem is not None]
        return torch.stack(parts).sum()

    def _compare_edges(self) -> PerceptualEdgeLoss:
        weights = self.loss.perceptual
        with named_file("loss.perceptual_weights") if isinstance(weights, Path) else nullcontext():
            return PerceptualEdgeLoss(vgg16_stages(weights), self.loss.perceptual_longest).to(self.compute.device)

    def _run(self, network: nn.Module, device: torch.device, batch: Sequence[Crops]) -> DualEmbedding:
        assert isinstance(network, TwoStreamNet | OutsideTwoStreamNet)
        infrared = torch.tensor([crops.modality == "infrared" for crops in batch], device=device)
        images = torch.stack([crops.vehicle for crops in batch]).to(device)
        with self.compute.autocast():
            embedding = network.embed(self.compute.as_input(images, network.statistics), infrared)
        return DualEmbedding(embedding, None, embedding)

    def _heads(self, network: nn.Module, found: DualEmbeddings) -> list[Head]:
        assert isinstance(network, TwoStreamNet)
        return [(network.classifier, found.vehicle[:, : network.dim], np.ones(len(found.samples), bool))]


def make_task(settings: Settings) -> CrossModalReid:
    """The task for these settings. Raises ValueError naming what cannot be built."""
    return CrossModalReid(settings)
