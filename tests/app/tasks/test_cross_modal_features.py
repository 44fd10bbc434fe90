"""Features that the losses of the cross-modal task read: each setting, and those of the patent's text."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from app.data.cross_modal_batches import CrossModalBatch
from app.settings.load import load_settings
from app.tasks import make_task
from app.training.optimiser import learning_rate
from models.losses import CrossModalCentreContrastLoss, WeightedRegularisedTripletLoss

SMALL = (
    "model=two_stream_small loss.perceptual_edge_weight=1 loss.perceptual_weights=random loss.perceptual_longest=8 "
    "device=cpu"
)


def batch_of(height, width):
    """Three vehicles: two with two images in each modality, one in infrared only."""
    images = torch.randint(0, 256, (10, 3, height, width), generator=torch.Generator().manual_seed(0))
    infrared = torch.tensor([False, True] * 4 + [True, True])
    return CrossModalBatch(images.to(torch.uint8), infrared, torch.tensor([0] * 4 + [1] * 4 + [2] * 2), ())


def losses_and_output(task, batch):
    """The parts of the loss, and the output of a network of the same values."""
    with torch.no_grad():
        parts = task.losses(task.build(3, 0), batch)
        network = task.build(3, 0)
        return parts, network(task.compute.as_input(batch.images, network.statistics), batch.infrared)


def unit(rows):
    return rows / rows.square().sum(dim=1, keepdim=True).sqrt()


def test_the_patents_losses_on_upright_images():
    """The triplet reads the compared embedding; the centres are of the feature after the BatchNorm, and the smallest of
    all distances between vehicles stands in each of their terms. 288 x 144 px."""
    settings = load_settings(
        f"experiment=patent_night {SMALL} model.height=288 model.width=144 train.precision=float32"
    )
    task, batch = make_task(settings), batch_of(288, 144)
    parts, output = losses_and_output(task, batch)
    embedding, labels = output.embedding, batch.labels
    triplet = WeightedRegularisedTripletLoss()(unit(embedding), labels)
    assert float(parts["weighted_triplet"]) == pytest.approx(float(triplet), rel=1e-5)
    assert float(parts["identity"]) == pytest.approx(float(F.cross_entropy(output.logits, labels)), rel=1e-5)
    centre = {(p, i): embedding[(labels == p) & (batch.infrared == i)].mean(0) for p in (0, 1) for i in (0, 1)}
    middle = [(centre[p, 0] + centre[p, 1]) / 2 for p in (0, 1)] + [embedding[labels == 2].mean(0)]
    smallest = min((middle[p] - middle[q]).norm() for p in range(3) for q in range(p))
    contrast = [F.softplus((centre[p, 0] - centre[p, 1]).norm() - smallest) for p in (0, 1)]
    assert float(parts["centre_contrast"]) == pytest.approx(float(sum(contrast)) / 2, rel=1e-5)
    assert "perceptual_edge" in parts


@pytest.mark.parametrize("feature", ["before_norm", "after_norm", "compared"])
def test_each_loss_reads_the_feature_that_its_key_names(feature):
    settings, batch = load_settings(f"experiment=synthetic_night {SMALL} train.precision=float32"), batch_of(64, 64)
    for key in ("weighted_triplet", "centre_contrast"):
        task = make_task(replace(settings, loss=replace(settings.loss, **{f"{key}_feature": feature})))
        parts, output = losses_and_output(task, batch)
        read = {
            "before_norm": output.metric_feature,
            "after_norm": output.embedding,
            "compared": unit(output.embedding),
        }[feature]
        expected = {
            "weighted_triplet": WeightedRegularisedTripletLoss()(read, batch.labels),
            "centre_contrast": CrossModalCentreContrastLoss()(read, batch.labels, batch.infrared),
        }[key]
        assert float(parts[key]) == pytest.approx(float(expected), rel=1e-5)


def test_learning_rates_of_the_patents_schedule():
    """By epoch: 5e-4 to 5e-3 in 10, then a tenth at 25, 30 and 35."""
    train = load_settings("experiment=patent_night data.root=x").train
    assert (train.optimiser, train.epochs) == ("adam", 200)
    rates = {epoch: learning_rate(100 * epoch, 100 * 200, train) for epoch in (0, 5, 10, 24, 26, 29, 31, 34, 36, 199)}
    expected = {0: 5e-4, 5: 2.75e-3, 10: 5e-3, 24: 5e-3, 26: 5e-4, 29: 5e-4, 31: 5e-5, 34: 5e-5, 36: 5e-6, 199: 5e-6}
    assert rates == pytest.approx(expected, rel=0.01)
