"""Photographs at the gate: decoded once, on the disk before their rows, and embedded as they are stored."""

import io
import threading
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from plate_readers import TINY_READER
from registers import photo

from app.core.arrays import float_arrays
from app.core.run_folder import RunFolder
from app.core.sample import Box
from app.detection.detector_file import build, write_detector
from app.register.embedder import Recogniser, sample_of
from app.register.photos import Photo, Photos, VehiclePhoto, take_in
from app.register.sightings import Journal
from app.register.vehicles import Register
from app.settings.detection import DetectorSettings
from app.settings.load import load_settings
from app.tasks import make_task
from app.tasks.plate_text import PlateText
from app.training.checkpoint import save_checkpoint
from models.detector import PLATE, VEHICLE

DETECTOR = DetectorSettings(backbone="test_efficientnet", size=128, vehicle_threshold=0.5, plate_threshold=0.3)
SIZE = (300, 200)


@pytest.fixture
def url(tmp_path):
    """SQLite alone: the database plays no part."""
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture
def equipped(identification, monkeypatch, tmp_path):
    """A register with a detector, which finds a vehicle with a plate in every photograph, and a reader of plates."""

    def find(network, images):
        del network
        boxes = torch.tensor([[20.0, 20, 180, 120], [80, 90, 120, 100]])
        labels, scores = torch.tensor([VEHICLE, PLATE]), torch.tensor([0.9, 0.9])
        return [{"boxes": boxes, "labels": labels, "scores": scores} for _ in images]

    write_detector(tmp_path / "d.safetensors", build(DETECTOR), DETECTOR)
    identification.framing.use(tmp_path / "d.safetensors", "tester")
    monkeypatch.setattr("models.detector.Detector.find", find)
    settings, folder = load_settings(TINY_READER), RunFolder(tmp_path / "reader")
    task = make_task(settings)
    save_checkpoint(folder, "global", float_arrays(task.build(1, 0)), settings, task)
    identification.plate_reader.use(folder.path, "global", "tester")
    read, identification.crops_read = PlateText.read_images, []

    def note(task, network, crops, device, country=""):
        identification.crops_read.append(len(crops))
        return read(task, network, crops, device, country)

    monkeypatch.setattr(PlateText, "read_images", note)
    return identification


@pytest.fixture
def decodes(monkeypatch):
    """Formats of the images that Pillow decodes from now on, whoever asks for them."""
    found, load = Counter(), ImageFile.ImageFile.load

    def count(image):
        found.update([image.format] if image.tile else [])  # a second call finds the pixels there
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", count)
    return found


def upload(seed, size=SIZE):
    """A PNG, so that it is told from what is stored."""
    file = io.BytesIO()
    photo(seed, size[::-1]).image.save(file, "PNG")
    return file.getvalue()


def files(identification):
    return sorted(path.name for path in identification.photos.folder.iterdir())


def test_a_photograph_is_decoded_once_and_what_is_stored_of_it_once(equipped, decodes):
    photos = [take_in(upload(seed), "x") for seed in range(3)]
    assert decodes == {"PNG": 3}
    decodes.clear()
    answer = equipped.identify([VehiclePhoto(photos[0]), VehiclePhoto(photos[1], plate=photos[2])], account="guard")
    assert answer.framed[0].vehicle_photo.plate_box == Box(80, 90, 40, 10)
    assert equipped.crops_read == [2]
    assert decodes == {"JPEG": 3}  # from memory, as the register keeps them
    decodes.clear()
    equipped.enrol([VehiclePhoto(photos[0])], account="manager")
    assert decodes == {"JPEG": 1}


@pytest.mark.slow
def test_the_service_decodes_each_upload_once(as_role, equipped, decodes):
    client = as_role("guard")
    decodes.clear()
    given = [("pictures", (f"{seed}.png", upload(seed), "image/png")) for seed in (5, 6)]
    answer = client.post("/api/identify", files=given).json()
    assert [row["plate_box"] for row in answer["photographs"]] == [[80, 90, 40, 10]] * 2
    assert decodes == {"PNG": 2, "JPEG": 2}
    assert len(files(equipped)) == 3 + 2  # of the vehicles of the service


@pytest.mark.slow
@pytest.mark.parametrize("side", [300, 2400])  # kept as it is, and made smaller
def test_embeddings_equal_those_of_the_stored_files_bit_for_bit(equipped, side):
    first, second, plate = (take_in(upload(seed, (side, side * 2 // 3)), "x") for seed in range(3))
    scale = side / 300
    boxes = {"vehicle_box": Box(10 * scale, 5 * scale, 150 * scale, 90 * scale)}
    vehicle_photos = [
        VehiclePhoto(first, **boxes, plate_box=Box(30 * scale, 40 * scale, 45 * scale, 12 * scale)),
        VehiclePhoto(second, plate=plate),
    ]
    number = equipped.enrol(vehicle_photos, account="tester")
    with equipped.database.reading() as session:
        views = session.merge(equipped.register.vehicle(number)).views
        held = [{row.library: row.vector for row in view.embeddings} for view in views]
    again = equipped.active_model.current()[1].embed_files([sample_of(equipped.photos, view) for view in views])
    for kept, vectors in zip(held, again, strict=True):
        assert set(kept) == set(vectors) == {"fused", "plate", "vehicle"}
        for library, row in kept.items():
            np.testing.assert_array_equal(row, vectors[library])


def test_a_vehicle_is_committed_after_its_photos_are_on_the_disk(identification, monkeypatch):
    """The writers wait until the network has embedded; the row waits for them."""
    embedded, there = threading.Event(), []
    keep, embed, add, record = Photos.keep, Recogniser.embed, Register._add, Journal.record_sighting

    def late(self, given):
        assert embedded.wait(30)
        return keep(self, given)

    def tell(self, images):
        found = embed(self, images)
        embedded.set()
        return found

    def look(self, session, vehicle, views, model_id):
        names = [name for view in views for name in (view.image, view.plate_image)]
        there.append([self.photos.path(name).stat().st_size > 500 for name in names])
        return add(self, session, vehicle, views, model_id)

    def look_at_sighting(self, session, decision, views, *args, **kwargs):
        names = [name for view in views for name in (view.image, view.plate_image) if name]
        there.append([identification.photos.path(name).stat().st_size > 500 for name in names])
        return record(self, session, decision, views, *args, **kwargs)

    monkeypatch.setattr(Photos, "keep", late)
    monkeypatch.setattr(Recogniser, "embed", tell)
    monkeypatch.setattr(Register, "_add", look)
    monkeypatch.setattr(Journal, "record_sighting", look_at_sighting)
    identification.enrol([VehiclePhoto(photo(1), plate=photo(2))], account="tester")
    embedded.clear()
    identification.identify([VehiclePhoto(photo(3), plate=photo(4))], account="guard")
    assert there == [[True, True]] * 2


def test_a_failed_identification_leaves_no_photo_even_if_it_is_written_late(identification, monkeypatch):
    failed, keep = threading.Event(), Photos.keep

    def late(self, given):
        assert failed.wait(30)
        return keep(self, given)

    def fail(*_):
        failed.set()
        raise RuntimeError("the network is gone")

    monkeypatch.setattr(Photos, "keep", late)
    monkeypatch.setattr(Recogniser, "embed", fail)
    for work in (identification.identify, identification.enrol):
        with pytest.raises(RuntimeError, match="the network is gone"):
            work([VehiclePhoto(photo(1), plate=photo(2)), VehiclePhoto(photo(3))], account="guard")
        assert files(identification) == []


def test_a_photo_that_cannot_be_written_takes_the_others_along(identification, monkeypatch):
    keep = Photos.keep

    def full(self, given):
        if given.image.size == (80, 60):
            raise OSError(28, "No space left on device")
        return keep(self, given)

    monkeypatch.setattr(Photos, "keep", full)
    vehicle_photos = [VehiclePhoto(photo(1)), VehiclePhoto(photo(2, (60, 80))), VehiclePhoto(photo(3))]
    for work in (identification.identify, identification.enrol):
        with pytest.raises(OSError, match="No space left"):
            work(vehicle_photos, account="guard")
        assert files(identification) == []
    assert identification.register.counts() == dict.fromkeys(identification.register.counts(), 0)


def test_a_photo_as_stored_is_its_file(tmp_path):
    photos = Photos(tmp_path / "pictures")
    stored = VehiclePhoto(Photo(photo(1).image, 1.0)).as_stored().photo
    kept = photos.path(photos.keep(stored))
    assert kept.read_bytes() == stored.content
    with Image.open(kept) as file:
        np.testing.assert_array_equal(np.asarray(file), np.asarray(stored.image))
