"""Answers of frozen files: what `tests/frozen/make.py` writes down and tests compare with."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from app.core.node_store import digest_of
from app.core.sample import Sample
from app.core.site_runs import runs_in
from app.detection.detector_file import read_detector
from app.experiment.plate_run import PlateRun
from app.federation.site_model import model_of
from app.register.embedder import read_recogniser
from app.register.photos import Photo
from app.training.checkpoint import Checkpoint

FROZEN = sorted((Path(__file__).parents[1] / "frozen").glob("settings-*"))
PASSWORD = "frozen in a test"


def opened(path):
    with Image.open(path) as image:
        return image.convert("RGB")


def embeddings_of(path, folder):
    """Embeddings by library of the first image with its plate, from a checkpoint or an ONNX file."""
    sample = Sample(folder / "vehicle-0.png", pid=0, camid=0, plate_path=folder / "plate-0.png")
    [vectors] = read_recogniser(path, "cpu").embed_files([sample])
    return {library: row.tolist() for library, row in vectors.items()}


def answers_of_plates(run, folder):
    """Text and confidences of two plates, from the checkpoint `plate_text`."""
    reader = PlateRun.open(str(run), "plate_text", ["device=cpu"])
    height, width = reader.size
    images = [opened(folder / f"plate-{number}.png").resize((width, height)) for number in range(2)]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    return [[reading.text, list(reading.confidences)] for reading in reader.read_images(pixels)]


def models_of(store, folder):
    """Rounds of the models in a node store, and digests of their arrays; `folder` is for their checkpoints."""
    [run] = runs_in(store)
    told = model_of(run, folder)
    digests = {kind: digest_of(Checkpoint.read(folder, kind).arrays) for kind in told["rounds"]}
    return {"client": told["client"], "rounds": told["rounds"], "digests": digests}


def boxes_of(path, folder):
    """The ten best boxes of the first image, with scores."""
    detector, _ = read_detector(path)
    image = np.asarray(opened(folder / "vehicle-0.png").resize((128, 128)))
    [found] = detector.find([torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255])
    rows = torch.cat([found["boxes"], found["scores"][:, None]], dim=1)[:10]
    return rows.tolist()


def photos_of(folder):
    """Photographs of vehicle and plate, of two vehicles."""
    for number in range(2):
        yield tuple(Photo(opened(folder / f"{kind}-{number}.png"), 1.0) for kind in ("vehicle", "plate"))
