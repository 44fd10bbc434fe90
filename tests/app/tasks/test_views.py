"""Embeddings averaged over views of one image: the arithmetic, plates, digests, checkpoints and ONNX files."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from registers import photo

from app.core.sample import Sample
from app.data.crops import Crops, VehicleImage
from app.evaluation.embed import embed_crops, other_views
from app.register.embedder import ActiveModel, Recogniser
from app.register.folder import RegisterFolder
from app.settings.load import SettingsError, load_settings, settings_from
from app.training.checkpoint import Checkpoint
from app.training.onnx_file import OnnxFile
from models.dual_net import DualEmbedding


class Projection(torch.nn.Module):
    """Embeds by random projections, which tell a mirrored image from the image."""

    def __init__(self, plate=True):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(3 * 32 * 48, 5, generator=generator)
        self.plate = plate
        self.batches = []

    def embed(self, crops):
        self.batches.append(crops)
        unit = torch.nn.functional.normalize
        vehicle = unit(torch.stack([each.vehicle.flatten().float() @ self.weight for each in crops]))
        if not self.plate:
            return DualEmbedding(vehicle, None, vehicle)
        rows = [torch.zeros(5) if c.plate is None else unit(c.plate.flatten().float()[:5], dim=0) for c in crops]
        return DualEmbedding(vehicle, torch.stack(rows), vehicle)


def crops_of(count=3):
    generator = torch.Generator().manual_seed(1)

    def image(*size):
        return torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)

    return [Crops(image(32, 48), image(8, 16) if i % 2 else None, "visible") for i in range(count)]


def expected(crops, network, views):
    """The L2-normalised mean, image by image, in float64."""
    answer = []
    for each in crops:
        image = each.vehicle.numpy().astype(np.float64)
        images = [image, image[:, :, ::-1]][:views]
        if views == 4:  # 32 x 48: one row and one column of each side (3 % of them is one)
            middle = torch.from_numpy(image[:, 1:31, 1:47].copy())[None]
            scaled = torch.nn.functional.interpolate(middle, (32, 48), mode="bilinear")[0].numpy()
            images += [np.rint(scaled), np.rint(scaled)[:, :, ::-1]]
        rows = [each.reshape(-1) @ network.weight.numpy().astype(np.float64) for each in images]
        mean = np.mean([row / np.linalg.norm(row) for row in rows], axis=0)
        answer.append(mean / np.linalg.norm(mean))
    return np.stack(answer)


@pytest.mark.parametrize("views", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_an_embedding_is_the_normalised_mean_over_the_views(views, batch_size):
    network, crops = Projection(), crops_of()
    found = embed_crops(network, crops, network.embed, batch_size, views)
    # Places that are rounded the other way change one value of 1,536 by one grey level.
    np.testing.assert_allclose(found.vehicle, expected(crops, network, views), atol=2e-4)
    np.testing.assert_allclose(np.linalg.norm(found.vehicle, axis=1), 1, atol=1e-6)


def test_one_view_is_what_the_network_says_bit_for_bit():
    network, crops = Projection(), crops_of()
    alone = network.embed(crops)
    for found in (embed_crops(network, crops, network.embed, 3), embed_crops(network, crops, network.embed, 3, 1)):
        assert (found.vehicle == alone.vehicle.numpy()).all()


def test_plates_are_taken_as_they_are():
    network, crops = Projection(), crops_of()
    found = embed_crops(network, crops, network.embed, 3, 4)
    assert (found.plate == network.embed(crops).plate.numpy()).all()
    first, *others = network.batches[:4]
    assert [each.plate is None for each in first] == [True, False, True]
    assert all(each.plate is None for view in others for each in view)


def test_views_keep_the_modality_and_the_size():
    crops = [each._replace(modality="infrared") for each in crops_of()]
    for view in other_views(crops, 4):
        assert all(c.modality == "infrared" and c.vehicle.shape == (3, 32, 48) for c in view)
        assert all(c.vehicle.dtype == torch.uint8 for c in view)
    assert len(list(other_views(crops, 4))) == 3
    assert not list(other_views(crops, 1))


def test_the_smallest_image_has_a_tighter_view():
    image = torch.arange(16 * 16, dtype=torch.int32).reshape(1, 16, 16).expand(3, -1, -1).to(torch.uint8)
    _, tighter, _ = other_views([Crops(image, None, "visible")], 4)
    assert not torch.equal(tighter[0].vehicle, image)


def test_settings_without_the_key_mean_one_view(run_folder):
    kept = Checkpoint.read(run_folder, "global").settings
    del kept["evaluation"]["views"]
    assert settings_from(kept).evaluation.views == 1
    with pytest.raises(SettingsError, match=r"evaluation\.views"):
        load_settings("evaluation.views=3")


def test_the_digest_of_one_view_is_that_of_before_and_others_have_their_own(run_folder):
    """An old register's model keeps its digest, and with it embeddings and thresholds."""
    checkpoint = Checkpoint.read(run_folder, "global")
    before = replace(checkpoint, settings=json.loads(json.dumps(checkpoint.settings)))
    del before.settings["evaluation"]["views"]
    assert before.digest == before.with_views(1).digest
    assert len({before.digest, before.with_views(2).digest, before.with_views(4).digest}) == 3


def test_a_kept_identity_follows_the_views(run_folder):
    checkpoint = replace(Checkpoint.read(run_folder, "global"), identity=["dual_reid", {"of": "before"}])
    one, four = checkpoint.with_views(1), checkpoint.with_views(4)
    assert (one.identity, four.identity) == (checkpoint.identity, [*checkpoint.identity, {"views": 4}])
    assert four.with_views(1).digest == one.digest


@pytest.fixture
def samples(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        photo(number).image.save(path)
    return [Sample(path, pid=0, camid=0, plate_path=paths[3] if i == 1 else None) for i, path in enumerate(paths[:3])]


@pytest.mark.slow
def test_onnx_files_average_outside_of_the_graph(run_folder, onnx_path, samples):
    file = OnnxFile(onnx_path)
    file.settings["evaluation"]["views"] = 4
    ours = Recogniser(Checkpoint.read(run_folder, "global").with_views(4), "cpu").embed_files(samples)
    single = Recogniser(Checkpoint.read(run_folder, "global").with_views(1), "cpu").embed_files(samples)
    for found, expected_, other in zip(Recogniser(file, "cpu").embed_files(samples), ours, single, strict=True):
        assert list(found) == list(expected_) == list(other)
        for library, row in expected_.items():
            np.testing.assert_allclose(found[library], row, atol=1e-5)
        assert np.abs(expected_["vehicle"] - other["vehicle"]).max() > 1e-3
        if "plate" in other:
            np.testing.assert_array_equal(expected_["plate"], other["plate"])


def test_decoded_images_embed_as_their_files_do(run_folder, samples):
    """Queries are decoded images, enrolled ones are embedded from files when the model changes."""
    recogniser = Recogniser(Checkpoint.read(run_folder, "global").with_views(4), "cpu")
    [of_file] = recogniser.embed_files(samples[:1])
    with Image.open(samples[0].path) as image:
        [of_image] = recogniser.embed([VehicleImage(image.convert("RGB"))])
    np.testing.assert_array_equal(of_file["vehicle"], of_image["vehicle"])


def test_a_register_takes_a_run_by_more_views_as_another_model(run_folder, tmp_path):
    register = RegisterFolder(tmp_path / "register")
    try:
        active = ActiveModel(register, "cpu")
        one = active.change_to_run(run_folder, "global", "test", views=1)
        four = active.change_to_run(run_folder, "global", "test", views=4)
        assert one.digest != four.digest
        model, recogniser = active.current()
        assert (model.digest, recogniser.settings.evaluation.views) == (four.digest, 4)
    finally:
        register.close()
