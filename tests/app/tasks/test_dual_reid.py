"""The dual task: what depends on the seed alone, masked plates, and samples that cannot be learnt from."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from app.core.arrays import float_arrays, shared_layout
from app.core.sample import Sample
from app.data.dual_batches import labels_of
from app.settings.checks import SettingsError
from app.settings.load import load_settings
from app.tasks import make_task
from app.tasks.image_files import embed_samples

WORDS = (
    "model.vehicle.backbone=test_efficientnet model.vehicle.image_size=32 model.plate.backbone=test_efficientnet "
    "model.plate.image_size=32 model.embedding_dim=8 device=cpu train.precision=float32 train.pids_per_batch=3 "
    "train.images_per_pid=2"
)


@pytest.fixture(scope="module")
def settings():
    return load_settings(WORDS)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Three vehicles with two pictures each; the pictures of one have no plate."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    found = []
    for i in range(6):
        path = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        found.append(Sample(path, pid=(7, 3, 5)[i // 2], camid=i % 2, plate_path=path if i < 4 else None))
    return found


def test_labels_count_from_0_by_sorted_pid(samples):
    assert labels_of(samples).tolist() == [2, 2, 0, 0, 1, 1]
    assert labels_of(samples).dtype == np.int64


def test_shared_arrays_do_not_depend_on_the_number_of_labels(settings):
    task = make_task(settings)
    first, second = (task.build(count, 4) for count in (2, 50))
    ours, theirs = float_arrays(first), float_arrays(second)
    layout = shared_layout(first, settings.federation)
    assert layout == shared_layout(second, settings.federation)
    for name in layout.names:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert set(ours) - set(layout.names) == {"vehicle.classifier.weight", "plate.classifier.weight"}
    other = float_arrays(task.build(2, 5))
    assert any((other[name] != ours[name]).any() for name in layout.names)


def test_building_a_network_leaves_the_random_state(settings):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    make_task(settings).build(2, 9)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("pids", [[4, 4, 4], []])
def test_fewer_than_two_vehicles_cannot_be_learnt_from(settings, pids):
    found = [Sample(Path(f"{i}.png"), pid, 0) for i, pid in enumerate(pids)]
    with pytest.raises(ValueError, match="at least two vehicles are needed"):
        make_task(settings).num_labels(found)


def test_an_unknown_backbone_and_a_missing_weights_file_are_named():
    with pytest.raises(ValueError, match="unknown backbone 'resnet51'"):
        make_task(load_settings(f"{WORDS} model.vehicle.backbone=resnet51")).build(2, 0)
    with pytest.raises(SettingsError, match=r"^model\.vehicle\.pretrained: .*nowhere\.safetensors"):
        make_task(load_settings(f"{WORDS} model.vehicle.pretrained=nowhere.safetensors")).build(2, 0)


def batch_of(settings, samples, index=0):
    task = make_task(settings)
    return task, task.build(3, 0), task.batches(samples, 1)[index]


def values(parts):
    return {name: part.item() for name, part in parts.items()}


def test_a_batch_depends_on_its_number_and_the_seed_alone(settings, samples):
    task = make_task(settings)
    first, second = task.batches(samples, 1), task.batches(samples, 1)
    first[0], first[7]
    torch.manual_seed(99)
    np.testing.assert_array_equal(first[3].vehicles, second[3].vehicles)
    np.testing.assert_array_equal(first[3].plates, second[3].plates)
    assert (task.batches(samples, 2)[3].vehicles != first[3].vehicles).any()


def test_no_method_needs_another_one_called_before(settings, samples):
    """A task that has built nothing trains and embeds with the network of another one."""
    task, network, batch = batch_of(settings, samples)
    fresh = make_task(settings)
    expected = values(task.losses(copy.deepcopy(network), batch))
    assert values(fresh.losses(copy.deepcopy(network), batch)) == expected
    assert torch.equal(
        fresh.probe(network, samples, torch.device("cpu")), task.probe(network, samples, torch.device("cpu"))
    )
    assert not any("statistics" in name for name in network.state_dict())


def test_a_missing_plate_is_masked_in_every_part_of_the_loss(settings, samples):
    """Each part from its definition, on the rows that have a plate."""
    task, network, batch = batch_of(settings, samples)
    assert batch.has_plate.tolist().count(True) == len(batch.plates) == 4
    twin = make_task(settings)
    other = twin.build(3, 0)
    parts = values(task.losses(network, batch))
    output = other(*twin._inputs(other, batch.vehicles, batch.plates), batch.has_plate)
    smoothing, temperature = settings.loss.label_smoothing, settings.loss.temperature
    labels = batch.labels[batch.has_plate]
    expected = F.cross_entropy(output.plate.logits, labels, label_smoothing=smoothing)
    assert parts["plate_classification"] == pytest.approx(expected.item(), rel=1e-5)
    first = F.log_softmax(output.vehicle.logits[batch.has_plate] / temperature, dim=1)
    second = F.log_softmax(output.plate.logits / temperature, dim=1)
    both = sum(F.kl_div(a, b, reduction="batchmean", log_target=True) for a, b in ((first, second), (second, first)))
    expected = settings.loss.distillation_weight * 0.5 * temperature**2 * both.item()
    assert parts["distillation"] == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert parts["total"] == pytest.approx(sum(v for k, v in parts.items() if k != "total"), rel=1e-6)


@pytest.mark.parametrize("plates", [0, 1])
def test_without_two_plates_the_plate_network_rests(settings, samples, plates):
    few = [sample if i < plates else replace(sample, plate_path=None) for i, sample in enumerate(samples)]
    task, network, batch = batch_of(settings, few)
    parts = task.losses(network, batch)
    assert set(parts) == {"vehicle_classification", "vehicle_metric", "total"}
    parts["total"].backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in network.plate.parameters())
    assert network.vehicle.classifier.weight.grad.any()


def test_dropped_plates_are_not_shown(samples):
    _, _, batch = batch_of(load_settings(f"{WORDS} train.augment.plate_drop=1.0"), samples)
    assert batch.plates is None
    assert not batch.has_plate.any()


@pytest.mark.parametrize("name", ["feature", "distance", "attention"])
def test_weights_switch_parts_of_the_loss_on(samples, name):
    chosen = load_settings(f"{WORDS} loss.{name}_distillation_weight=2 loss.distillation_weight=0")
    task, network, batch = batch_of(chosen, samples)
    parts = values(task.losses(network, batch))
    assert f"{name}_distillation" in parts
    assert "distillation" not in parts
    single = load_settings(f"{WORDS} loss.{name}_distillation_weight=1 loss.distillation_weight=0")
    task, network, batch = batch_of(single, samples)
    again = values(task.losses(network, batch))
    assert parts[f"{name}_distillation"] == pytest.approx(2 * again[f"{name}_distillation"], rel=1e-6)


def test_heads_are_set_to_class_centres(settings, samples):
    task = make_task(settings)
    network = task.build(3, 0)
    task.set_heads(network, samples, torch.device("cpu"))
    found = task._embed(network, samples, torch.device("cpu"))
    for label, pid in enumerate((3, 5, 7)):
        rows = found.vehicle[[i for i, sample in enumerate(samples) if sample.pid == pid]]
        centre = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
        np.testing.assert_allclose(network.vehicle.classifier.weight[label].detach(), centre, rtol=0, atol=1e-5)
    # The vehicle without plates keeps its row of the plate's classifier.
    untouched = task.build(3, 0).plate.classifier.weight[1]
    assert torch.equal(network.plate.classifier.weight[1], untouched)
    assert not torch.equal(network.plate.classifier.weight[0], task.build(3, 0).plate.classifier.weight[0])


def test_a_register_gets_three_libraries_in_which_a_missing_plate_is_a_zero_row(settings, samples):
    task = make_task(settings)
    network = task.build(3, 0)
    found = embed_samples(task, network, samples)
    assert tuple(found.libraries) == task.libraries == ("fused", "plate", "vehicle")
    assert found.samples == samples
    vehicle, plate, fused = (found.libraries[name].astype(np.float64) for name in ("vehicle", "plate", "fused"))
    for name, rows in (("vehicle", vehicle), ("plate", plate[:4]), ("fused", fused[:4])):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6, err_msg=name)  # float32
    assert not plate[4:].any()
    assert not fused[4:].any()
    for i in range(4):
        for j in range(4):  # the cosine of fused rows is the mean of the two cosines
            wanted = (sum(vehicle[i] * vehicle[j]) + sum(plate[i] * plate[j])) / 2
            assert sum(fused[i] * fused[j]) == pytest.approx(wanted, abs=1e-6)


def test_added_embeddings_are_one_row_and_a_lone_vehicle_network_has_one_library(samples):
    task = make_task(load_settings(f"{WORDS} model.fusion=add"))
    libraries = embed_samples(task, task.build(3, 0), samples).libraries
    both = libraries["vehicle"][:4].astype(np.float64) + libraries["plate"][:4]
    np.testing.assert_allclose(libraries["fused"][:4], both / np.linalg.norm(both, axis=1)[:, None], atol=1e-6)
    task = make_task(load_settings(f"{WORDS} model.plate=null"))
    assert task.libraries == ("vehicle",)
    assert tuple(embed_samples(task, task.build(3, 0), samples).libraries) == ("vehicle",)
