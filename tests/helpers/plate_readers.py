"""Readers of plates for tests of a register: tiny networks, or texts that a test says."""

import pytest
from registers import photo

from app.core.arrays import float_arrays
from app.core.run_folder import RunFolder
from app.core.sample import Box
from app.evaluation.plate_texts import PlateReading
from app.register.matcher import Threshold
from app.register.photos import VehiclePhoto
from app.settings.load import load_settings
from app.tasks import make_task
from app.tasks.plate_text import PlateText
from app.training.checkpoint import save_checkpoint

TINY_READER = (
    "model.start= "
    "experiment=plates_countries data=manifest data.root=. data.made_plates.share=0 model.backbone=test_resnet "
    "model.height=32 model.width=64 model.dim=16 model.layers=1 device=cpu train.precision=float32"
)
SURE = Threshold(match=0.999999, unsure=0.99, margin=0.0)


@pytest.fixture(scope="session")
def reader_run(tmp_path_factory):
    """Checkpoints of two untrained readers, "global" and "other"."""
    folder = RunFolder(tmp_path_factory.mktemp("reader"))
    settings = load_settings(TINY_READER)
    task = make_task(settings)
    for seed, name in enumerate(("global", "other")):
        save_checkpoint(folder, name, float_arrays(task.build(1, seed)), settings, task)
    return folder.path


@pytest.fixture
def texts(monkeypatch):
    """What a reader reads, plate by plate; it remembers the crops that it was given."""
    given = {"texts": [], "crops": []}

    def read(task, network, pictures, device, country=""):
        del task, network, device, country
        given["crops"] = list(pictures)
        return [PlateReading(text, (sure,) * len(text)) for text, sure in given["texts"][: len(pictures)]]

    monkeypatch.setattr(PlateText, "read_images", read)
    return given


@pytest.fixture
def reading(identification, reader_run, texts):  # noqa: ARG001 - it reads what the test says
    """Vehicle 1 with the plate AB 1234, vehicle 2 with CD 5678, vehicle 3 without."""
    model, _ = identification.active_model.current()
    identification.models.set_thresholds(model.id, dict.fromkeys(model.libraries, SURE), "tester")
    for number, plate in enumerate(("AB 1234", "CD 5678", ""), start=1):
        identification.enrol([VehiclePhoto(photo(number))], account="tester", plate=plate)
    identification.plate_reader.use(reader_run, "global", "tester")
    return identification


def vehicle_photo(seed):
    return VehiclePhoto(photo(seed), plate_box=Box(4, 8, 20, 10))
