"""Dual network: masking of missing plates, fusion, private arrays."""

from fnmatch import fnmatch
from typing import Literal

import pytest
import torch
import torch.nn.functional as F

from models.backbone import build_backbone
from models.dual_net import Branch, DualNet, fuse_embeddings
from models.head import BNNeck, Classifier, build_pooling
from models.input_statistics import InputStatistics

HAS_PLATE = torch.tensor([True, False, True, False, False])


def branch(num_labels: int | None = 4, dim: int | None = 16) -> Branch:
    backbone = build_backbone("test_efficientnet")
    neck = BNNeck(backbone.num_features, dim)
    classifier = None if num_labels is None else Classifier(neck.dim, num_labels)
    return Branch(backbone, build_pooling("gem"), neck, classifier, InputStatistics((0.5,) * 3, (0.5,) * 3))


def dual_net(fusion: Literal["concat", "add"] = "concat", num_labels: int | None = 4) -> DualNet:
    torch.manual_seed(0)
    return DualNet(branch(num_labels), branch(num_labels), fusion)


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_training_outputs_of_both_branches() -> None:
    net = dual_net()
    output = net(pictures(5), pictures(2, seed=1), HAS_PLATE)
    assert output.plate is not None
    for branch_output, n in ((output.vehicle, 5), (output.plate, 2)):
        assert branch_output.feature_map.shape == (n, 256, 1, 1)
        assert branch_output.metric_feature.shape == branch_output.embedding.shape == (n, 16)
        assert branch_output.logits.shape == (n, 4)
    assert torch.equal(output.has_plate, HAS_PLATE)
    sum(o.logits.square().sum() for o in (output.vehicle, output.plate)).backward()
    without = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.parametrize("training", [True, False])
def test_plates_do_not_change_the_vehicle_branch(training: bool) -> None:
    with_plates, without = dual_net().train(training), dual_net().train(training)
    first = with_plates(pictures(5), pictures(2, seed=1), HAS_PLATE)
    second = without(pictures(5))
    assert second.plate is None
    assert not second.has_plate.any()
    for a, b in zip(first.vehicle, second.vehicle, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def test_plate_rows_follow_the_mask() -> None:
    net = dual_net().eval()
    plates = pictures(2, seed=1)
    both = net.embed(pictures(5), plates, HAS_PLATE)
    alone = [F.normalize(net.plate(plate[None]).embedding)[0] for plate in plates]  # type: ignore[misc]
    assert torch.allclose(both.plate[0], alone[0], atol=1e-5)
    assert torch.allclose(both.plate[2], alone[1], atol=1e-5)
    assert (both.plate[[1, 3, 4]] == 0).all()


@pytest.mark.parametrize("num_plates", [0, 1])
def test_fewer_than_two_plates_in_training_skip_the_plate_branch(num_plates: int) -> None:
    net = dual_net()
    mask = torch.arange(5) < num_plates
    statistics = net.plate.neck.batch_norm.running_mean.clone()  # type: ignore[union-attr]
    output = net(pictures(5), pictures(num_plates, seed=1), mask)
    assert output.plate is None
    assert not output.has_plate.any()
    assert torch.equal(net.plate.neck.batch_norm.running_mean, statistics)  # type: ignore[union-attr]


def test_a_single_vehicle_in_training_does_not_crash() -> None:
    output = dual_net()(torch.randn(1, 3, 64, 64))
    assert output.vehicle.logits.shape == (1, 4)


def test_evaluation_needs_no_classifier() -> None:
    images, plates = pictures(5), pictures(2, seed=1)
    with_classifier, without = dual_net().eval(), dual_net(num_labels=None).eval()
    shared = {key: array for key, array in with_classifier.state_dict().items() if "classifier" not in key}
    without.load_state_dict(shared)
    output = with_classifier(images, plates, HAS_PLATE)
    assert output.vehicle.logits is None
    assert output.plate.logits is None
    for a, b in zip(
        with_classifier.embed(images, plates, HAS_PLATE), without.embed(images, plates, HAS_PLATE), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("fusion", ["concat", "add"])
def test_embeddings_are_normalised_and_fall_back_to_the_vehicle(fusion: Literal["concat", "add"]) -> None:
    net = dual_net(fusion).eval()
    with_plates = net.embed(pictures(5), pictures(2, seed=1), HAS_PLATE)
    without = net.embed(pictures(5))
    assert torch.allclose(with_plates.vehicle.norm(dim=1), torch.ones(5))
    assert torch.allclose(with_plates.plate.norm(dim=1), HAS_PLATE.float())
    assert torch.allclose(with_plates.fused[~HAS_PLATE], without.fused[~HAS_PLATE])
    assert torch.allclose(without.fused[:, :16], without.vehicle)  # "add" normalises a second time
    assert not torch.allclose(with_plates.fused[HAS_PLATE], without.fused[HAS_PLATE])
    assert not with_plates.fused.requires_grad


def test_fusion_equals_the_definition() -> None:
    vehicle, plate = F.normalize(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2)), dim=2)
    mask = torch.tensor([True, False, True])
    joined = fuse_embeddings(vehicle, plate, mask, "concat")
    added = fuse_embeddings(vehicle, plate, mask, "add")
    for n in range(3):
        v, p = vehicle[n], plate[n] if mask[n] else torch.zeros(4)
        assert torch.equal(joined[n], torch.cat([v, p]))
        assert torch.allclose(added[n], (v + p) / (v + p).norm())
    # "concat": the dot product is the sum of the cosines of what both have
    assert (joined[0] @ joined[2]).item() == pytest.approx((vehicle[0] @ vehicle[2] + plate[0] @ plate[2]).item())
    assert (joined[0] @ joined[1]).item() == pytest.approx((vehicle[0] @ vehicle[1]).item(), abs=1e-7)


def test_a_network_without_a_plate_branch_ignores_plates() -> None:
    net = DualNet(branch(), None, "add")
    output = net(pictures(5), pictures(2, seed=1), HAS_PLATE)
    assert output.plate is None
    assert not output.has_plate.any()
    embedding = net.eval().embed(pictures(5), pictures(2, seed=1), HAS_PLATE)
    assert embedding.plate is None
    assert torch.equal(embedding.fused, embedding.vehicle)


def test_exactly_the_classifiers_are_private() -> None:
    keys = dual_net().state_dict()
    private = [key for key in keys if fnmatch(key, "*classifier*")]
    assert private == ["vehicle.classifier.weight", "plate.classifier.weight"]


def test_the_shared_part_does_not_depend_on_the_number_of_labels() -> None:
    def shared(num_labels: int | None) -> list[tuple[str, torch.Size]]:
        state = dual_net(num_labels=num_labels).state_dict()
        return [(key, array.shape) for key, array in state.items() if not fnmatch(key, "*classifier*")]

    assert shared(2) == shared(7) == shared(None)


def test_bfloat16_training_step_is_finite() -> None:
    net = dual_net()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = net(pictures(5), pictures(2, seed=1), HAS_PLATE)
        loss = F.cross_entropy(output.vehicle.logits.float(), torch.tensor([0, 1, 2, 3, 0]))
    assert output.vehicle.embedding.dtype == torch.float32
    loss.backward()
    assert all(p.grad.isfinite().all() for p in net.vehicle.parameters() if p.grad is not None)


def test_wrong_arguments_are_refused() -> None:
    net = dual_net()
    with pytest.raises(ValueError, match="announces 2 plates, plate_images holds 3"):
        net(pictures(5), pictures(3), HAS_PLATE)
    with pytest.raises(ValueError, match="announces 0 plates, plate_images holds 2"):
        net(pictures(5), pictures(2))
    with pytest.raises(ValueError, match="boolean mask"):
        net(pictures(5), pictures(2), HAS_PLATE.long())
    with pytest.raises(RuntimeError, match=r"eval\(\)"):
        net.embed(pictures(5))
    with pytest.raises(ValueError, match="'add' needs embeddings of one length, got 16 and 8"):
        DualNet(branch(), branch(dim=8), "add")
    with pytest.raises(ValueError, match="'mean'; known: concat, add"):
        DualNet(branch(), None, "mean")  # type: ignore[arg-type]
