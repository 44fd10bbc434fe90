"""BatchNorm neck and classifier."""

import pytest
import torch
import torch.nn.functional as F

from models.head import BNNeck, Classifier


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_neck_gives_the_feature_before_and_its_standardised_form_after() -> None:
    feature = 3 * rows(16, 4) + 2
    before, after = BNNeck(4)(feature)
    assert torch.equal(before, feature)
    expected = (feature - feature.mean(dim=0)) / feature.std(dim=0, unbiased=False)
    assert torch.allclose(after, expected, atol=1e-4)  # BatchNorm adds 1e-5 to the variance


def test_neck_reduces_and_its_shift_is_not_learnt() -> None:
    neck = BNNeck(6, dim=4)
    before, after = neck(rows(8, 6))
    assert neck.dim == 4
    assert before.shape == after.shape == (8, 4)
    learnt = {name for name, parameter in neck.named_parameters() if parameter.requires_grad}
    assert learnt == {"reduction.weight", "batch_norm.weight"}
    assert (neck.batch_norm.bias == 0).all()


def test_neck_takes_a_single_row_in_training() -> None:
    neck = BNNeck(4)
    statistics = neck.batch_norm.running_mean.clone()
    before, after = neck(rows(1, 4))
    assert torch.allclose(after, before, atol=1e-4)  # fresh running statistics: mean 0, variance 1
    assert torch.equal(neck.batch_norm.running_mean, statistics)


def test_linear_scores_are_products_and_cosine_scores_lie_within_1() -> None:
    embeddings = 5 * rows(7, 4)
    linear, cosine = Classifier(4, 3), Classifier(4, 3, "cosine")
    assert torch.allclose(linear(embeddings), embeddings @ linear.weight.T)
    expected = F.cosine_similarity(embeddings[:, None], cosine.weight[None], dim=2)
    assert torch.allclose(cosine(embeddings), expected, atol=1e-6)
    same = cosine(cosine.weight).detach()
    assert same.max() <= 1.0
    assert torch.allclose(same.diagonal(), torch.ones(3), atol=1e-6)


def test_cosines_are_computed_in_float32_under_autocast() -> None:
    classifier, embeddings = Classifier(64, 3, "cosine"), rows(7, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cosines = classifier(embeddings)
    assert cosines.dtype == torch.float32
    assert torch.equal(cosines, classifier(embeddings))


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_rows_are_set_to_class_centres(kind: str) -> None:
    embeddings, labels = rows(6, 4, seed=1), torch.tensor([0, 2, 2, 0, 2, 0])
    classifier = Classifier(4, 4, kind)  # type: ignore[arg-type]
    before = classifier.weight.detach().clone()
    classifier.set_from_centres(embeddings, labels, row_norm=2.0)
    for label in (0, 2):
        mean = sum(embeddings[i] for i in range(6) if labels[i] == label) / 3
        assert torch.allclose(classifier.weight[label], 2.0 * mean / mean.norm(), atol=1e-6)
    assert torch.equal(classifier.weight[[1, 3]], before[[1, 3]])  # no picture: kept
    assert classifier.weight.requires_grad


def test_wrong_arguments_of_the_classifier_are_refused() -> None:
    with pytest.raises(ValueError, match="'angular'; known: linear, cosine"):
        Classifier(4, 3, "angular")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        Classifier(4, 0)
    with pytest.raises(ValueError, match=r"0\.\.2, got 1\.\.3"):
        Classifier(4, 3).set_from_centres(rows(2, 4), torch.tensor([1, 3]))
    with pytest.raises(ValueError, match=r"\(2, 4\), got \(2, 5\)"):
        Classifier(4, 3).set_from_centres(rows(2, 5), torch.tensor([1, 2]))
