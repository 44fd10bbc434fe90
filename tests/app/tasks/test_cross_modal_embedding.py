"""Compared embeddings of the cross-modal task: cells, structure and layout, in the package and as an ONNX file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from app.core.arrays import float_arrays
from app.core.sample import Sample
from app.settings.load import load_settings
from app.tasks import make_task
from app.tasks.image_files import embed_samples
from app.training.onnx_file import OnnxFile, write_onnx
from models.structure import StructureLayout

pytestmark = pytest.mark.slow

WORDS = (
    "experiment=roadscene model=two_stream_resnet50 model.backbone=test_resnet model.pretrained=false model.height=32 "
    "model.width=48 model.embedding_dim=8 loss.perceptual_longest=8 device=cpu train.precision=float32 "
    "train.pids_per_batch=3 train.images_per_pid=2 loss.perceptual_edge_weight=1 model.layout_weight=0"
)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Three vehicles, one image of each in either modality."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    found = []
    for i in range(6):
        path, modality = folder / f"{i}.png", "infrared" if i % 2 else "visible"
        shape = (30, 40) if modality == "infrared" else (30, 40, 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        found.append(Sample(path, pid=i // 2, camid=i, modality=modality))
    return found


def inside_and_outside(task, network, samples, folder):
    """Embeddings by the ONNX file of a network, and by the network."""
    write_onnx(folder / "net.onnx", task.graph(network), "digest", task.settings.as_dict())
    outside_task, outside = OnnxFile(folder / "net.onnx").network(task.settings)
    pairs = ((outside_task, outside), (task, network))
    return [embed_samples(each, net, samples).libraries["vehicle"] for each, net in pairs]


def test_an_onnx_file_gives_the_same_embeddings(samples, tmp_path):
    task = make_task(load_settings(WORDS))
    network = task.build(3, 0).eval()
    np.testing.assert_allclose(
        *inside_and_outside(task, network, samples, tmp_path), atol=1e-5
    )  # float32 sums in another order


def test_cells_and_structure_reach_the_embedding_and_its_onnx_file(samples, tmp_path):
    settings = load_settings(f"{WORDS} model.height=64 model.width=64 model.embedding_dim=0 model.grid=2")
    cells = make_task(settings)
    whole = make_task(load_settings(f"{WORDS} model.height=64 model.width=64 model.embedding_dim=0"))
    assert cells.build(3, 0).dim == 4 * whole.build(3, 0).dim
    settings = replace(settings, model=replace(settings.model, input="structure"))
    task = make_task(settings)
    network = task.build(3, 0).eval()
    assert set(float_arrays(network)) == set(float_arrays(cells.build(3, 0)))
    images = torch.randint(0, 256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()
    infrared = torch.tensor([False, True, False, True])
    np.testing.assert_allclose(*(network.embed(each, infrared) for each in (images, 255 - images)), atol=1e-4)
    np.testing.assert_allclose(
        *inside_and_outside(task, network, samples, tmp_path), atol=1e-4
    )  # float32 sums in another order, and divisions by small ones


def test_the_layout_weighs_in_where_images_are_compared_and_not_in_training(samples, tmp_path):
    """The cosine is the mean of both parts' cosines by weight; heads and shared arrays know nothing of it."""
    settings = load_settings(f"{WORDS} model.layout_weight=2")
    task, plain = make_task(settings), make_task(load_settings(WORDS))
    network, learnt = task.build(3, 0), plain.build(3, 0)
    assert float_arrays(network).keys() == float_arrays(learnt).keys()
    for each, own in ((task, network), (plain, learnt)):
        each.set_heads(own, samples, torch.device("cpu"))
    assert torch.allclose(network.classifier.weight, learnt.classifier.weight, atol=1e-6)
    images = torch.randn(6, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    infrared = torch.tensor([False, True] * 3)
    rows, own = (each.eval().embed(images, infrared) for each in (network, learnt))
    layout = StructureLayout()(images)
    assert torch.allclose(rows @ rows.T, (own @ own.T + 2 * layout @ layout.T) / 3, atol=1e-5)
    assert torch.allclose(rows.norm(dim=1), torch.ones(6), atol=1e-5)
    np.testing.assert_allclose(
        *inside_and_outside(task, network, samples, tmp_path), atol=1e-4
    )  # float32 sums in another order, and divisions by small ones
