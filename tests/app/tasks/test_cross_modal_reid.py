"""The cross-modal task: its batches, its losses, clients of one modality, what it measures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from app.core.arrays import float_arrays, shared_layout
from app.core.sample import Sample
from app.data.crops import ImageReader
from app.data.cross_modal_batches import CrossModalBatches
from app.data.readers.reader import Direction
from app.evaluation.ranking import NoValidQueryError, evaluate_ranking
from app.settings.augment import AugmentSettings
from app.settings.checks import SettingsError
from app.settings.equalise import EqualiseSettings
from app.settings.load import load_settings
from app.tasks import make_task
from app.tasks.image_files import embed_samples
from models.losses import PerceptualEdgeLoss, WeightedRegularisedTripletLoss
from models.perceptual import vgg16_stages

WORDS = (
    "experiment=roadscene model=two_stream_resnet50 model.backbone=test_resnet model.pretrained=false model.height=32 "
    "model.width=48 model.embedding_dim=8 loss.perceptual_longest=8 device=cpu train.precision=float32 "
    "train.pids_per_batch=3 train.images_per_pid=2 loss.perceptual_edge_weight=1 model.layout_weight=0"
)
STILL = AugmentSettings(flip=0, shift=0, rotate=0, zoom=0, colour=0, blur=0, erase=0)


@pytest.fixture(scope="module")
def settings():
    return load_settings(WORDS)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Three vehicles: two seen twice in each modality, one in infrared only."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    found = []
    for i in range(10):
        path, modality = folder / f"{i}.png", "infrared" if i % 2 or i >= 8 else "visible"
        shape = (30, 40) if modality == "infrared" else (30, 40, 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        found.append(Sample(path, pid=min(i // 4, 2), camid=i, modality=modality))
    return found


def only(samples, modality):
    return [sample for sample in samples if sample.modality == modality]


def test_a_batch_has_as_many_pictures_of_each_modality_as_a_vehicle_has_modalities(samples):
    batches = CrossModalBatches(
        samples,
        ImageReader((32, 48), None, 10),
        pids_per_batch=3,
        images_per_pid=2,
        seed=0,
        augment=STILL,
        equalise=EqualiseSettings(),
    )
    assert batches.batches_per_epoch == 1
    batch = batches[0]
    counts = {(int(p), bool(i)): 0 for p, i in zip(batch.labels, batch.infrared, strict=True)}
    for pid, infrared in zip(batch.labels.tolist(), batch.infrared.tolist(), strict=True):
        counts[pid, infrared] += 1
    assert counts == {(0, False): 2, (0, True): 2, (1, False): 2, (1, True): 2, (2, True): 2}
    assert batch.images.shape == (10, 3, 32, 48)
    grey = (batch.images == batch.images[:, :1]).flatten(1).all(dim=1)
    assert torch.equal(grey, batch.infrared), "a picture of one channel is not the same in all three"


def test_a_picture_that_cannot_be_read_is_named_and_left_out(samples, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = replace(samples[0], path=tmp_path / "broken.png")
    batches = CrossModalBatches(
        [broken, *samples[1:]],
        ImageReader((32, 32), None, 10),
        pids_per_batch=3,
        images_per_pid=2,
        seed=0,
        augment=STILL,
        equalise=EqualiseSettings(),
    )
    assert set(batches[0].bad) == {str(broken.path)}
    assert len(batches[0].images) == len(batches[0].labels) == 10 - len(batches[0].bad)


def test_the_parts_are_the_losses_of_the_networks_output(settings, samples):
    """Each part from the network's output by itself, times its weight."""
    weighted = replace(
        settings,
        loss=replace(
            settings.loss,
            label_smoothing=0.0,
            weighted_triplet_weight=1.5,
            perceptual_edge_weight=2.0,
            centre_contrast_weight=3.0,
        ),
    )
    task = make_task(weighted)
    network, batch = task.build(3, 0), task.batches(samples, 0)[0]
    with torch.no_grad():
        parts = task.losses(network, batch)
        pictures = task.compute.as_input(batch.images, network.statistics)
        output = task.build(3, 0)(pictures, batch.infrared)
    assert float(parts["identity"]) == pytest.approx(float(F.cross_entropy(output.logits, batch.labels)), abs=1e-5)
    triplet = WeightedRegularisedTripletLoss()(output.metric_feature, batch.labels)
    assert float(parts["weighted_triplet"]) == pytest.approx(1.5 * float(triplet), rel=1e-5)
    edge = PerceptualEdgeLoss(vgg16_stages(False), longest=8)
    expected = edge(output.visible_stem, pictures[~batch.infrared]) + edge(
        output.infrared_stem, pictures[batch.infrared]
    )
    assert float(parts["perceptual_edge"]) == pytest.approx(2 * float(expected), rel=1e-5)
    centres = {
        (p, i): output.embedding[(batch.labels == p) & (batch.infrared == i)].mean(0) for p in (0, 1) for i in (0, 1)
    }
    centres[2, 1] = output.embedding[batch.labels == 2].mean(0)
    middle = [(centres[p, 0] + centres[p, 1]) / 2 for p in (0, 1)] + [centres[2, 1]]
    contrast = [
        F.softplus(
            (centres[p, 0] - centres[p, 1]).norm() - min((middle[p] - middle[q]).norm() for q in range(3) if q != p)
        )
        for p in (0, 1)
    ]
    assert float(parts["centre_contrast"]) == pytest.approx(3 * float(sum(contrast)) / 2, rel=1e-4)
    assert set(parts) == {"identity", "weighted_triplet", "perceptual_edge", "centre_contrast", "total"}
    assert float(parts["total"]) == pytest.approx(sum(float(v) for k, v in parts.items() if k != "total"), rel=1e-6)


def test_it_trains_in_mixed_precision(settings, samples):
    task = make_task(replace(settings, train=replace(settings.train, precision="bfloat16")))
    network = task.build(3, 0)
    parts = task.losses(network, task.batches(samples, 0)[0])
    parts["total"].backward()
    assert all(torch.isfinite(value) for value in parts.values())
    assert all(p.grad is not None for p in network.trunk.parameters())


@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_a_client_of_one_modality_trains_its_stem_and_the_trunk(settings, samples, modality):
    task = make_task(settings)
    own = only(samples, modality)
    network = task.build(task.num_labels(own), 0)
    parts = task.losses(network, task.batches(own, 0)[0])
    assert "centre_contrast" not in parts
    parts["total"].backward()
    stems = {"visible": network.visible_stem, "infrared": network.infrared_stem}
    assert all(p.grad is not None for p in (*stems.pop(modality).parameters(), *network.trunk.parameters()))
    (other,) = stems.values()
    assert all(p.grad is None for p in other.parameters())


def test_stems_are_shared_or_private_as_the_settings_say(settings):
    network = make_task(settings).build(3, 0)
    private = replace(settings.federation, private=["*classifier*", "*_stem.*"])
    names = set(shared_layout(network, settings.federation).names)
    assert {name for name in names if "_stem." in name} == names - set(shared_layout(network, private).names) != set()
    first, second = (float_arrays(make_task(settings).build(count, 0)) for count in (2, 9))
    for name in names:
        np.testing.assert_array_equal(first[name], second[name])


def test_it_measures_from_one_modality_to_the_other(settings, samples):
    """mAP of each direction, from the embeddings and the definition's own ranking."""
    task = make_task(settings)
    network = task.build(3, 0).eval()
    direction = Direction("all", tuple(samples), tuple(samples))
    found = task.evaluate(network, [direction], torch.device("cpu"))
    assert set(found.directions) == {"infrared_to_visible", "visible_to_infrared"}
    rows = embed_samples(task, network, samples).libraries["vehicle"]
    infrared = np.array([sample.modality == "infrared" for sample in samples])
    pids, camids = (np.array([getattr(s, key) for s in samples]) for key in ("pid", "camid"))
    expected = evaluate_ranking(
        dist=1 - rows[infrared] @ rows[~infrared].T,
        q_pids=pids[infrared],
        q_camids=camids[infrared],
        g_pids=pids[~infrared],
        g_camids=camids[~infrared],
    )
    assert found.directions["infrared_to_visible"]["mAP"] == pytest.approx(expected.mAP)
    assert found.directions["infrared_to_visible"]["skipped"] == expected.num_skipped == 2
    assert found.measures["mAP"] == pytest.approx(np.mean([row["mAP"] for row in found.directions.values()]))
    with pytest.raises(NoValidQueryError):
        task.evaluate(network, [Direction("day", *[tuple(only(samples, "visible"))] * 2)], torch.device("cpu"))


def test_the_modality_decides_the_stem(settings, samples):
    task = make_task(settings)
    network = task.build(3, 0).eval()
    torch.manual_seed(1)
    for parameter in network.infrared_stem.parameters():
        parameter.data.add_(torch.randn_like(parameter))
    other = [replace(s, modality="visible" if s.modality == "infrared" else "infrared") for s in samples]
    ours, theirs = (embed_samples(task, network, each).libraries["vehicle"] for each in (samples, other))
    assert np.abs(ours - theirs).max(axis=1).min() > 1e-3


def test_heads_start_from_the_class_centres(settings, samples):
    task = make_task(settings)
    network = task.build(3, 0).eval()
    rows = embed_samples(task, network, samples).libraries["vehicle"]
    task.set_heads(network, samples, torch.device("cpu"))
    for label in range(3):
        centre = rows[[s.pid == label for s in samples]].sum(0)
        row = network.classifier.weight[label].detach().numpy()
        np.testing.assert_allclose(row, centre / np.linalg.norm(centre), atol=1e-5)


def test_the_summary_says_which_perceptual_network(settings, tmp_path):
    assert make_task(settings).remarks == {"perceptual network": "VGG16, random features"}
    without = replace(settings, loss=replace(settings.loss, perceptual_edge_weight=0.0))
    assert make_task(without).remarks == {}
    task = make_task(replace(settings, loss=replace(settings.loss, perceptual_weights=str(tmp_path / "vgg16.pth"))))
    assert task.remarks == {"perceptual network": f"VGG16, {tmp_path / 'vgg16.pth'}"}


def test_the_weights_of_the_perceptual_network_are_looked_for_where_they_are_opened(settings, samples, tmp_path):
    """Not by the settings, which sites check for a run: before training, with the key. An empty path is no file."""
    for name, reason in (("gone.pth", "not found"), ("odd.pth", "does not hold torchvision's vgg16")):
        (tmp_path / "odd.pth").write_bytes(b"no weights")
        task = make_task(replace(settings, loss=replace(settings.loss, perceptual_weights=str(tmp_path / name))))
        with pytest.raises(SettingsError, match=rf"^loss\.perceptual_weights: .*{reason}"):
            task.batches(samples, 0)
    with pytest.raises(SettingsError, match=r"loss\.perceptual_weights must name a file"):
        replace(settings.loss, perceptual_weights="")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("evaluation.embedding=plate", "no plate network"),
        ("model.backbone=resnet51", "unknown backbone 'resnet51'|model.backbone"),
        ("loss.perceptual_edge_weight=-1", "loss.perceptual_edge_weight must be at least 0"),
        ("loss.perceptual_longest=-1", "loss.perceptual_longest"),
        ("model.plate=null", "unknown key model.plate"),
        ("model.grid=3", r"model\.grid=3: the images give a feature map of 1 x 2, which has no more cells"),
        ("model.input=edges", "model.input must be one of colour, structure"),
        ("loss.weighted_triplet_feature=after", "must be one of before_norm, after_norm, compared"),
    ],
)
def test_settings_that_cannot_be_used_are_named(word, reason):
    with pytest.raises(SettingsError, match=reason):
        make_task(load_settings(f"{WORDS} {word}")).build(2, 0)
    nothing = "loss.identity_weight=0 loss.weighted_triplet_weight=0 loss.perceptual_edge_weight=0"
    with pytest.raises(SettingsError, match="are all 0"):
        load_settings(f"{WORDS} {nothing}")
