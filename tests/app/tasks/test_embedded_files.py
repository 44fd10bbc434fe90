"""Embeddings of image files against those of decoded images, which a service has in memory."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from app.core.sample import Box, Sample
from app.data.crops import VehicleImage
from app.evaluation.embed import NoImageError
from app.settings.load import load_settings
from app.tasks import make_task
from app.tasks.image_files import embed_samples

DUAL = (
    "model.vehicle.backbone=test_efficientnet model.vehicle.image_size=32 model.plate.backbone=test_efficientnet "
    "model.plate.image_size=32 model.embedding_dim=8 device=cpu train.precision=float32"
)
CROSS = (
    "experiment=roadscene model=two_stream_resnet50 model.backbone=test_resnet model.pretrained=false model.height=32 "
    "model.width=48 model.embedding_dim=8 device=cpu train.precision=float32"
)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A box with the plate alone, a box with a plate box, no box in infrared, a plate box outside the image."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(4)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path, quality=95)
    box = Box(5, 4, 60.5, 50)
    return [
        Sample(paths[0], 0, 0, vehicle_box=box, plate_path=paths[1], plate_boxes=(Box(1, 1, 9, 9),)),
        Sample(paths[1], 0, 1, vehicle_box=box, plate_boxes=(Box(20, 30, 30, 12),)),
        Sample(paths[2], 1, 0, modality="infrared"),
        Sample(paths[3], 1, 1, plate_boxes=(Box(200, 1, 9, 9),)),
    ]


def decoded(sample):
    plate = Image.open(sample.plate_path).convert("RGB") if sample.plate_path else None
    box = sample.plate_boxes[0] if sample.plate_boxes else None
    return VehicleImage(Image.open(sample.path).convert("RGB"), sample.vehicle_box, plate, box, sample.modality)


@pytest.mark.parametrize("words", [DUAL, CROSS])
def test_decoded_images_have_the_embeddings_of_their_files_bit_for_bit(samples, words):
    task = make_task(load_settings(words))
    network = task.build(2, 0).eval()
    of_files = embed_samples(task, network, samples)
    libraries = task.embeddings(network, [task.image_reader.cut(decoded(sample)) for sample in samples])
    assert list(libraries) == list(of_files.libraries) == list(task.libraries)
    for name, rows in libraries.items():
        np.testing.assert_array_equal(rows, of_files.libraries[name])
    if words == DUAL:
        assert libraries["plate"].any(axis=1).tolist() == [True, True, False, False]


def test_files_are_read_in_batches_and_those_that_cannot_be_read_are_left_out(samples, tmp_path):
    settings = load_settings(DUAL)
    task = make_task(replace(settings, evaluation=replace(settings.evaluation, batch_size=2)))
    network = task.build(2, 0)
    lost = Sample(tmp_path / "lost.jpg", 9, 0)
    found = embed_samples(task, network, [lost, *samples])
    assert found.samples == samples
    assert network.training
    assert list(task.bad_images) == [str(lost.path), str(samples[3].path)]
    for row, sample in enumerate(samples):
        alone = embed_samples(task, network, [sample])
        for name, rows in found.libraries.items():
            # float32 sums of a convolution in another order.
            np.testing.assert_allclose(rows[row], alone.libraries[name][0], rtol=0, atol=1e-5)
    with pytest.raises(NoImageError, match=r"the first of 1: .*lost\.jpg"):
        embed_samples(task, network, [lost])


def test_a_vehicle_box_outside_the_image_is_an_error(samples):
    task = make_task(load_settings(DUAL))
    with pytest.raises(ValueError, match="lies outside"):
        task.image_reader.cut(replace(decoded(samples[0]), vehicle_box=Box(90, 0, 9, 9)))
