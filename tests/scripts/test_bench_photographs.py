"""The bench of whole photographs: renditions, counts, and a register that meets them."""

import io
from collections import Counter

import numpy as np
import pytest
from foreign_networks import constant_network
from PIL import Image, ImageDraw
from registers import photo

from app.core.sample import Box, Sample
from app.detection.described import read_foreign
from app.register.matcher import Threshold
from scripts.bench import photographs
from scripts.bench.photographs import Scene, ask, rendition, scenes_of


def test_the_plate_of_a_rendition_is_where_it_was_moved_to():
    """A white plate on black is found in the rendition by its pixels; so does one at the border."""
    for seed, plate in enumerate((Box(100, 60, 50, 20), Box(0, 0, 40, 16), Box(260, 184, 40, 16), Box(3, 90, 290, 12))):
        image = Image.new("RGB", (300, 200))
        corners = (plate.left, plate.top, plate.left + plate.width - 1, plate.top + plate.height - 1)
        ImageDraw.Draw(image).rectangle(corners, fill="white")
        made = rendition(image, plate, np.random.default_rng(seed))
        shown = np.asarray(Image.open(io.BytesIO(made.content)).convert("L"))
        rows, columns = np.nonzero(shown > shown.max() / 2)
        found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        expected = (made.plate.left, made.plate.top, made.plate.left + made.plate.width)
        assert found == pytest.approx((*expected, made.plate.top + made.plate.height), abs=2)
        assert made == rendition(image, plate, np.random.default_rng(seed))
        assert made != rendition(image, plate, np.random.default_rng(seed + 100))


def test_a_photograph_counts_once_with_its_largest_plate(tmp_path):
    boxes = [Box(0, 0, 20, 10), Box(30, 0, 40, 10), Box(80, 0, 10, 10)]
    samples = [Sample(tmp_path / "a.jpg", n, 0, plate_boxes=(box,), plate_text=f"A-{n}") for n, box in enumerate(boxes)]
    assert scenes_of("easy", samples) == [Scene("easy", tmp_path / "a.jpg", boxes[1], "A1")]


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.mark.slow
def test_every_photograph_is_asked_as_a_resident_and_as_a_stranger(identification, tmp_path, monkeypatch):
    """Four vehicles, the second's plate outside the vehicle that is found; all match from no similarity on."""
    network = constant_network(tmp_path / "n.onnx", [[[[0, 3, 0.9, 0.25, 0.2, 0.75, 0.8]]]])
    (tmp_path / "d.yaml").write_text("layout: ssd\nwidth: 64\nheight: 64\nclasses: {3: car}\n")
    identification.framing.use_foreign(read_foreign(network, None, str(tmp_path / "d.yaml")), "tester")
    scenes = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        photo(number, (120, 160)).image.save(path)
        scenes.append(Scene("set", path, Box(2, 2, 9, 6) if number == 1 else Box(70, 60, 20, 10), f"AB{number}"))
    model, _ = identification.active_model.current()
    for match in (-1.0, 1.0):
        monkeypatch.setattr(photographs, "rendition", lambda image, plate, _: photographs.Rendition(_png(image), plate))
        thresholds = dict.fromkeys(model.libraries, Threshold(match, match, 0.0))
        identification.models.set_thresholds(model.id, thresholds, "tester")
        counts = ask(identification, scenes, seed=0)["set"]
        assert counts["photographs"] == 4
        assert (counts["vehicle_found"], counts["vehicle_chosen"], counts["plate_found"]) == (3, 3, 0)
        if match < 0:  # one that resembles two others alike is unsure
            assert counts["residents_right"] == counts["strangers_named"] + counts["strangers_unsure"] == 4
            assert counts["strangers_named"] >= 3
        else:
            assert counts["strangers_unknown"] == 4
        assert sum(counts[f"residents_{name}"] for name in photographs._RIGHT) == 4
        assert sum(counts[f"strangers_{name}"] for name in photographs._STRANGERS) == 4
        for vehicle in identification.register.vehicles():
            identification.register.forget(account="tester", vehicle_id=vehicle.id)


def _png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_shares_are_of_photographs():
    row = Counter(photographs=4, vehicle_found=3, residents_right=2, residents_unsure=2, strangers_unknown=4)
    shares = photographs._shares(row)
    assert (shares["chain"]["vehicle_found"], shares["residents"]["right"], shares["strangers"]["unknown"]) == (
        0.75,
        0.5,
        1,
    )
