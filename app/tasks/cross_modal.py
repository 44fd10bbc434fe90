"""Visible-infrared re-identification: two stems, one trunk, and losses that close the gap between the modalities.

The losses are those of Ye et al. (2021, arXiv:2001.04193) and of Gao et al. (MSO, ACM MM 2021).
"""

from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.core.device import Compute, make_compute
from app.core.sample import Sample
from app.data.crops import Crops
from app.data.cross_modal_batches import CrossModalBatch, CrossModalBatches
from app.data.dual_batches import labels_of
from app.data.readers.reader import Direction
from app.evaluation.embed import DualEmbeddings, all_samples, embed, embed_crops, measure_all
from app.evaluation.matches import Counts, count_matches
from app.evaluation.modalities import across_modalities
from app.settings.checks import SettingsError, named_file
from app.settings.cross_modal import LossSettings, ModelSettings
from app.settings.load import Settings
from app.tasks.inputs import as_input, make_backbone, make_pictures
from app.tasks.task import Batches, Evaluation, Graph, mean_of_directions, num_vehicles
from models.backbone import input_statistics_of
from models.classifier import Classifier
from models.dual_net import DualEmbedding
from models.embedding_graph import Run
from models.errors import NetworkError
from models.hashed import hash_layers
from models.losses import (
    CrossEntropyLoss,
    CrossModalCentreContrastLoss,
    PerceptualEdgeLoss,
    WeightedRegularisedTripletLoss,
)
from models.neck import BNNeck
from models.perceptual import vgg16_stages
from models.pooling import build_pooling
from models.two_stream_graph import INPUTS, OUTPUTS, OutsideTwoStreamNet, TwoStreamGraph
from models.two_stream_net import TwoStreamNet, TwoStreamOutput, cut_backbone


class CrossModalReid:
    """The task. Implements `EmbeddingTask`."""

    name = "cross_modal_reid"
    heads = ("*classifier*",)
    libraries = ("vehicle",)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model: ModelSettings = settings.model
        self.loss: LossSettings = settings.loss
        if settings.evaluation.embedding == "plate":
            raise SettingsError("evaluation.embedding=plate: the task cross_modal_reid has no plate network")
        train = settings.train
        self.compute: Compute = make_compute(settings.device, train.precision, train.channels_last, train.threads)
        self.pictures = make_pictures(settings.data, (self.model.height, self.model.width), None)
        try:
            self._statistics = input_statistics_of(self.model.backbone)
        except NetworkError as error:
            raise SettingsError(f"model.backbone: {error}") from error
        self.identity = CrossEntropyLoss(self.loss.label_smoothing)
        self.weighted_triplet = WeightedRegularisedTripletLoss()
        self.centre_contrast = CrossModalCentreContrastLoss()
        self._perceptual_edge: PerceptualEdgeLoss | None = None

    @property
    def remarks(self) -> dict[str, str]:
        weight, weights = self.loss.perceptual_edge_weight, self.loss.perceptual_weights
        features = {"random": "random features", "imagenet": "torchvision's weights of ImageNet"}
        return {"perceptual network": f"VGG16, {features.get(weights, weights)}"} if weight else {}

    @property
    def bad_pictures(self) -> dict[str, str]:
        return dict(self.pictures.bad)

    def learnable(self, samples: Sequence[Sample]) -> list[Sample]:
        return list(samples)

    def num_labels(self, samples: Sequence[Sample]) -> int:
        return num_vehicles(samples)

    def build(self, num_labels: int, seed: int, *, pretrained: bool = True) -> TwoStreamNet:
        """The network in training mode; both stems start alike. The classifier is made last, so that shared arrays
        depend on the seed alone."""
        model = self.model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = make_backbone("model", model.backbone, model.weights if pretrained else False, model.options)
            try:
                stem, trunk = cut_backbone(backbone, model.backbone)
            except NetworkError as error:
                raise SettingsError(f"model.backbone: {error}") from error
            neck = BNNeck(backbone.num_features, model.embedding_dim or None)  # type: ignore[arg-type]
            network = TwoStreamNet(stem, nn.Identity(), trunk, build_pooling(model.pooling), neck)
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
        train = self.settings.train
        return CrossModalBatches(
            samples,
            self.pictures,
            pids_per_batch=train.pids_per_batch,
            images_per_pid=train.images_per_pid,
            seed=seed,
            augment=train.augment,
            equalise=self.settings.data.equalise,
        )

    def losses(self, network: nn.Module, batch: CrossModalBatch) -> dict[str, Tensor]:
        """Weighted parts and their "total"; "centre_contrast" is missing from a batch of one modality."""
        loss, pictures = self.loss, self._input(batch.pictures)
        with self.compute.autocast():
            output: TwoStreamOutput = network(pictures, batch.infrared)
        assert output.logits is not None
        parts: dict[str, Tensor] = {}
        if loss.identity_weight:
            parts["identity"] = loss.identity_weight * self.identity(output.logits, batch.labels)
        if loss.weighted_triplet_weight:
            triplet = self.weighted_triplet(output.metric_feature, batch.labels)
            parts["weighted_triplet"] = loss.weighted_triplet_weight * triplet
        if loss.perceptual_edge_weight:
            parts["perceptual_edge"] = loss.perceptual_edge_weight * self._edges(output, pictures, batch.infrared)
        if loss.centre_contrast_weight and batch.infrared.any() and not batch.infrared.all():
            contrast = self.centre_contrast(output.embedding, batch.labels, batch.infrared)
            parts["centre_contrast"] = loss.centre_contrast_weight * contrast
        parts["total"] = torch.stack(list(parts.values())).sum()
        return parts

    def set_heads(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> None:
        """Rows of the classifier become the class centres of the present embeddings."""
        assert isinstance(network, TwoStreamNet)
        found = self._embed(network, samples, device)
        label_of = dict(zip(samples, labels_of(samples).tolist(), strict=True))
        labels = torch.tensor([label_of[sample] for sample in found.samples])
        if network.classifier is not None:
            network.classifier.set_from_centres(torch.from_numpy(found.vehicle).to(device), labels)

    def probe(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> Tensor:
        """Embeddings (N, D), L2-normalised."""
        return torch.from_numpy(self._embed(network, samples, device).vehicle)

    def embeddings(self, network: nn.Module, images: Sequence[Crops]) -> dict[str, NDArray[np.float32]]:
        """One library, in which visible and infrared images stand beside each other."""
        run = partial(self._run, network, self.compute.device)
        return {"vehicle": embed_crops(network, images, run, self.settings.evaluation.batch_size).vehicle}

    def graph(self, network: nn.Module) -> Graph:
        """Pictures (N, 3, H, W), float32 and normalised, and infrared (N,) bool to embeddings; see `TwoStreamGraph`."""
        assert isinstance(network, TwoStreamNet)
        inputs = [torch.zeros(2, 3, self.model.height, self.model.width), torch.tensor([False, True])]
        return Graph(TwoStreamGraph(network), dict(zip(INPUTS, inputs, strict=True)), OUTPUTS)

    def outside(self, run: Run) -> OutsideTwoStreamNet:
        """See `OutsideTwoStreamNet`."""
        return OutsideTwoStreamNet(run)

    @property
    def unmatched(self) -> str:
        return "has a true match, an image of its vehicle in the other modality and from another camera"

    def countable(self, directions: Sequence[Direction]) -> dict[str, Counts]:
        """From one modality to the other; see `across_modalities`."""
        return count_matches(across_modalities(directions))

    def evaluate(self, network: nn.Module, directions: Sequence[Direction], device: torch.device) -> Evaluation:
        """From one modality to the other; see `across_modalities`."""
        crossed = across_modalities(directions)
        found = self._embed(network, all_samples(crossed), device)
        rows = measure_all(found, crossed, "vehicle", rerank=self.settings.evaluation.rerank)
        return Evaluation(mean_of_directions(rows), rows, self.bad_pictures)

    def ranked_lists(
        self, network: nn.Module, direction: Direction, device: torch.device, path: Path, count: int, seed: int
    ) -> None:
        """The ten best of `count` queries, one image for each way between the modalities."""
        # matplotlib takes seconds to import; a client that only trains, in a process of its own, draws nothing
        from app.evaluation.ranked_lists import draw_ranked_lists

        crossed = across_modalities([direction])
        for each in crossed:
            own = path if len(crossed) == 1 else path.with_stem(f"{path.stem}-{each.name}")
            draw_ranked_lists(self._embed(network, all_samples([each]), device), each, own, count, seed)

    def _edges(self, output: TwoStreamOutput, pictures: Tensor, infrared: Tensor) -> Tensor:
        """The perceptual edge losses of both modalities, added."""
        if self._perceptual_edge is None:  # a task that only embeds needs no second network
            self._perceptual_edge = self._compare_edges()
        pairs = [(output.visible_stem, pictures[~infrared]), (output.infrared_stem, pictures[infrared])]
        with self.compute.autocast():
            parts = [self._perceptual_edge(stem, own) for stem, own in pairs if stem is not None]
        return torch.stack(parts).sum()

    def _compare_edges(self) -> PerceptualEdgeLoss:
        weights = self.loss.perceptual
        with named_file("loss.perceptual_weights") if isinstance(weights, Path) else nullcontext():
            return PerceptualEdgeLoss(vgg16_stages(weights), self.loss.perceptual_longest).to(self.compute.device)

    def _embed(self, network: nn.Module, samples: Sequence[Sample], device: torch.device) -> DualEmbeddings:
        run = partial(self._run, network, device)
        return embed(network, samples, self.pictures, run, self.settings.evaluation.batch_size)

    def _run(self, network: nn.Module, device: torch.device, batch: Sequence[Crops]) -> DualEmbedding:
        assert isinstance(network, TwoStreamNet | OutsideTwoStreamNet)
        infrared = torch.tensor([crops.modality == "infrared" for crops in batch], device=device)
        images = torch.stack([crops.vehicle for crops in batch]).to(device)
        with self.compute.autocast():
            embedding = network.embed(self._input(images), infrared)
        return DualEmbedding(embedding, None, embedding)

    def _input(self, pictures: Tensor) -> Tensor:
        return as_input(pictures, self._statistics, self.compute)


def make_task(settings: Settings) -> CrossModalReid:
    """The task for these settings. Raises ValueError naming what cannot be built."""
    return CrossModalReid(settings)
