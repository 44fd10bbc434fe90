"""The library: its examples run, and it gives what the parts below it give."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.api import Box, PlateTextReader, Recogniser, VehicleImage, evaluate, rank
from app.core.arrays import float_arrays
from app.core.run_folder import RunFolder
from app.core.sample import Sample
from app.evaluation.ranking import evaluate_ranking
from app.settings.load import load_settings
from app.tasks import make_task
from app.tasks.image_files import embed_samples
from app.training.checkpoint import save_checkpoint
from models.errors import FedVehicleReidError

EXAMPLES = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs/library.md").read_text(), re.DOTALL)
NETWORK = "device=cpu train.precision=float32 model.vehicle.backbone=test_efficientnet model.vehicle.image_size=32"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with an untrained dual network, and the network."""
    settings = load_settings(f"{NETWORK} model.plate.backbone=test_efficientnet model.plate.image_size=32")
    task = make_task(settings)
    network = task.build(2, 0, pretrained=False)
    with RunFolder(tmp_path_factory.mktemp("run")) as folder:
        save_checkpoint(folder, "global", float_arrays(network), settings, task)
    return folder.path, task, network.eval()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Six image files, in colours that differ."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(rng.integers(0, 255, (96, 128, 3), np.uint8)).save(folder / f"{number}.jpg", quality=95)
    return sorted(folder.glob("*.jpg"))


@pytest.mark.parametrize("example", range(len(EXAMPLES)))
def test_the_examples_of_the_page_run(example, run, images, capsys):
    vehicles = [0, 0, 1, 1, 0, 1]
    names = {
        "RUN": run[0],
        "IMAGES": images[0].parent,
        "PHOTOGRAPH": images[0],
        "QUERIES": images[:2],
        "GALLERY": images[2:],
        "QUERY_VEHICLES": vehicles[:2],
        "GALLERY_VEHICLES": vehicles[2:],
        "QUERY_CAMERAS": [0, 0],
        "GALLERY_CAMERAS": [1] * 4,
        "PLATES": images[:2],
    }
    exec(compile(EXAMPLES[example], "library.md", "exec"), names)
    assert capsys.readouterr().out


def test_a_file_an_image_and_an_array_are_the_same(run, images):
    recogniser = Recogniser.load(run[0], device="cpu")
    opened = [Image.open(file).convert("RGB") for file in images]
    expected = embed_samples(run[1], run[2], [Sample(file, 0, 0) for file in images]).libraries["vehicle"]
    for given in (images, [str(file) for file in images], opened, [np.asarray(image) for image in opened]):
        np.testing.assert_allclose(recogniser.embed(given), expected, atol=1e-6)  # batches of other sizes: rounding
    file = Recogniser.load(run[0] / "global.safetensors", device="cpu")
    np.testing.assert_array_equal(file.embed(images), recogniser.embed(images))


def test_plates_count_where_they_are_shown(run, images):
    recogniser = Recogniser.load(run[0], device="cpu")
    image = Image.open(images[0]).convert("RGB")
    shown = [VehicleImage(image), VehicleImage(image, plate_box=Box(20, 20, 60, 20))]
    norms = np.linalg.norm(recogniser.embed(shown, "plate"), axis=1)
    np.testing.assert_allclose(norms, [0, 1], atol=1e-5)  # zero without a plate, else of length 1 in float32
    assert set(recogniser.libraries) == {"fused", "vehicle", "plate"}


def test_ranks_are_those_of_a_sorted_table_of_cosines():
    rng = np.random.default_rng(1)
    queries, gallery = rng.standard_normal((3, 8)), rng.standard_normal((7, 8))
    gallery[5] *= 3  # lengths do not count
    found = rank(queries, gallery, count=4)
    for row in range(3):
        cosines = [q @ queries[row] / np.linalg.norm(q) / np.linalg.norm(queries[row]) for q in gallery]
        expected = sorted(range(7), key=lambda column: -cosines[column])[:4]
        assert found.rows[row].tolist() == expected
        np.testing.assert_allclose(found.similarity[row], [cosines[column] for column in expected], atol=1e-6)
    assert rank(queries[0], gallery).rows.shape == (1, 7)


def test_measures_are_those_of_the_ranking():
    rng = np.random.default_rng(2)
    queries, gallery = rng.standard_normal((6, 4)), rng.standard_normal((12, 4))
    ids = {"q_pids": np.arange(6) % 3, "g_pids": np.arange(12) % 4, "q_camids": [0] * 6, "g_camids": [0, 1] * 6}
    cosines = [[q @ g / np.linalg.norm(q) / np.linalg.norm(g) for g in gallery] for q in queries]
    expected = evaluate_ranking(dist=1 - np.array(cosines), **ids).summary()
    names = ("query_vehicles", "gallery_vehicles", "query_cameras", "gallery_cameras")
    assert evaluate(queries, gallery, **dict(zip(names, ids.values(), strict=True))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "named"),
    [  # of a recogniser and its images
        (lambda made, _: made.embed([]), "no images to embed"),
        (lambda made, files: made.embed(files, "fuse"), "library must be one of .*did you mean fused"),
        (lambda made, _: made.embed([np.zeros((4, 4), np.uint8)]), r"got an array \(4, 4\) of uint8"),
        (lambda made, _: made.embed([np.zeros((0, 4, 3), np.uint8)]), r"got an array \(0, 4, 3\)"),
        (lambda made, _: made.embed([7]), "got int"),
        (lambda made, files: made.embed(files[0]), r"give a list of images, of one alone \[image\]"),
        (lambda made, files: made.embed(str(files[0])), "give a list of images"),
        (lambda made, _: made.embed(np.zeros((4, 4, 3), np.uint8)), "give a list of images"),
        (lambda made, _: made.embed(["/no/such.jpg"]), "there is no image /no/such.jpg"),
        (lambda _, files: PlateTextReader.load().read(files[0]), "give a list of images"),
        (lambda made, _: made.embed([VehicleImage(Image.new("RGB", (9, 9)), Box(20, 0, 3, 3))]), "outside"),
        (lambda *_: rank([[1.0]], [[1.0]], count=0), "count must be at least 1"),
        (lambda _, files: PlateTextReader.load().read(files, country="xx"), "country must be one of"),
        (lambda _, files: PlateTextReader.load(files[0].parent), "global"),
        (lambda _, files: Recogniser.load(files[0].parent / "no"), "there is no run folder and no file /.*/no$"),
    ],
)
def test_what_cannot_be_is_named(run, images, call, named):
    with pytest.raises(FedVehicleReidError, match=named):
        call(Recogniser.load(run[0], device="cpu"), images)
