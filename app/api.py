"""The project as a library: embed vehicles, rank and measure them, and read plates, from Python.

    from app.api import PlateTextReader, Recogniser, evaluate, rank

An image is a file, an image of Pillow, or an array (H, W, 3) of R, G and B in uint8. docs/library.md has examples.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from app.core.sample import Box
from app.data.crops import VehicleImage, cut_image
from app.evaluation.distance import cosine_distance
from app.evaluation.errors import EvaluationError
from app.evaluation.plate_texts import PlateReading
from app.evaluation.ranking import evaluate_ranking
from app.experiment.plate_run import PlateRun
from app.images.decode import open_image, upright_rgb
from app.register.embedder import Recogniser as _Network
from app.register.embedder import read_recogniser
from app.settings.checks import one_of
from app.training.checkpoint import Checkpoint
from models.errors import FedVehicleReidError, MissingFileError
from models.plate_formats import COUNTRIES

__all__ = ["Box", "PlateReading", "PlateTextReader", "Ranked", "Recogniser", "VehicleImage", "evaluate", "rank"]

AnyImage: TypeAlias = str | Path | Image.Image | NDArray[np.uint8] | VehicleImage
Floats: TypeAlias = NDArray[np.float32]
_VEHICLE = "vehicle"
_BATCH = 64


class ImageError(FedVehicleReidError, ValueError):
    """An argument that is no image."""


class Recogniser:
    """A trained network that embeds vehicles.

    Args:
        network: see `load`.
    """

    def __init__(self, network: _Network) -> None:
        self._network = network

    @classmethod
    def load(cls, place: str | Path, *, model: str = "global", device: str = "auto") -> "Recogniser":
        """The network of a run folder, a checkpoint (.safetensors), or an ONNX file.

        Args:
            model: of a run folder: "global", "central", "local-client-0", ...
            device: "cpu", "cuda" or "auto".

        Raises FileNotFoundError, and ValueError for a file of another kind or a network without embeddings."""
        path = Path(place).expanduser()
        if path.is_dir():
            return cls(_Network(Checkpoint.read(path, model), device))
        if not path.exists():
            raise MissingFileError(f"there is no run folder and no file {path}")
        return cls(read_recogniser(path, device))

    @property
    def libraries(self) -> tuple[str, ...]:
        """Kinds of embeddings: "vehicle"; of a dual network "plate" and "fused" as well; of a network for day and night
        others for comparisons between the two."""
        return self._network.task.libraries

    def embed(self, images: Sequence[AnyImage], library: str = "") -> Floats:
        """Embeddings (N, D), L2-normalised.

        Args:
            images: of one vehicle each, cut to it. A `VehicleImage` says where vehicle and plate are in it, and whether
                it was taken in infrared.
            library: one of `libraries`; by default that of the vehicle, or the first. The row of an image that has
                nothing for it, such as a plate, is zero.

        Raises FileNotFoundError, UnreadableImageError, and ValueError for a library that the network does not have, an
        argument that is no image, and a box outside its image."""
        _require_several(images)
        kinds = self.libraries
        chosen = library or (_VEHICLE if _VEHICLE in kinds else kinds[0])
        one_of("library", chosen, list(kinds))
        found = []
        for start in range(0, len(images), _BATCH):
            shown = [
                each if isinstance(each, VehicleImage) else VehicleImage(_image(each))
                for each in images[start : start + _BATCH]
            ]
            crops = [self._network.task.image_reader.cut(each) for each in shown]
            found.append(self._network.task.embeddings(self._network.network, crops)[chosen])
        if not found:
            raise ImageError("there are no images to embed")
        return np.concatenate(found)


class Ranked(NamedTuple):
    """The nearest gallery images of Q queries, nearest first.

    Args:
        rows: (Q, K), of the gallery.
        similarity: (Q, K), cosines.
    """

    rows: NDArray[np.intp]
    similarity: Floats


def rank(queries: ArrayLike, gallery: ArrayLike, count: int = 10) -> Ranked:
    """The `count` gallery embeddings (G, D) nearest to each query (Q, D) or (D,), by cosine.

    Raises ValueError if the shapes do not fit, or for a count below 1."""
    if count < 1:
        raise EvaluationError(f"count must be at least 1; got {count}")
    similarity = 1 - cosine_distance(np.atleast_2d(np.asarray(queries)), np.asarray(gallery))
    rows = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    return Ranked(rows, np.take_along_axis(similarity, rows, axis=1).astype(np.float32))


def evaluate(
    queries: ArrayLike,
    gallery: ArrayLike,
    *,
    query_vehicles: ArrayLike,
    gallery_vehicles: ArrayLike,
    query_cameras: ArrayLike,
    gallery_cameras: ArrayLike,
) -> dict[str, float | int]:
    """mAP, rank1, rank5 and mINP in [0, 1], and the numbers of queries measured and skipped.

    Gallery images of a query's own vehicle in its own camera are left out, as on VeRi-776; see
    `app.evaluation.ranking`.

    Args:
        queries, gallery: embeddings (Q, D), (G, D).
        query_vehicles, gallery_vehicles: integers (Q,), (G,).
        query_cameras, gallery_cameras: integers (Q,), (G,).

    Raises ValueError if the shapes do not fit, or no query has a true match."""
    return evaluate_ranking(
        dist=cosine_distance(np.asarray(queries), np.asarray(gallery)),
        q_pids=query_vehicles,
        g_pids=gallery_vehicles,
        q_camids=query_cameras,
        g_camids=gallery_cameras,
    ).summary()


class PlateTextReader:
    """A trained network that reads plates.

    Args:
        run: see `load`.
    """

    def __init__(self, run: PlateRun) -> None:
        self._run = run

    @classmethod
    def load(cls, run: str | Path = "", *, model: str = "", device: str = "auto") -> "PlateTextReader":
        """The reader of a run folder, or by default the one that comes with the package.

        Raises FileNotFoundError, and ValueError for a run of another task."""
        words = [f"device={device}"]
        return cls(PlateRun.open(str(run), model, words) if run else PlateRun.packaged(words))

    def read(self, images: Sequence[AnyImage], country: str = "") -> list[PlateReading]:
        """The text of each image, cut to the plate; `text`, `confidence` and `confidences` of its characters.

        Args:
            country: cn, us, br, ar, vn, europe, or a country of Europe, whose formats decide between characters that
                look alike; "" where it is not known.

        Raises FileNotFoundError, UnreadableImageError, and ValueError for an unknown country or an argument that is no
        image."""
        if country:
            one_of("country", country, tuple(COUNTRIES))
        _require_several(images)
        found: list[PlateReading] = []
        for start in range(0, len(images), _BATCH):
            crops = [cut_image(_image(each), None, self._run.size) for each in images[start : start + _BATCH]]
            found += self._run.read_images(torch.stack(crops), country)
        return found


def _require_several(images: object) -> None:
    """A path is a sequence of characters, and an image one of rows: neither is meant."""
    if isinstance(images, str | Path | Image.Image | VehicleImage) or getattr(images, "ndim", 4) == 3:
        raise ImageError("give a list of images, of one alone [image]")


def _image(given: AnyImage) -> Image.Image:
    """An image in mode "RGB", upright."""
    if isinstance(given, VehicleImage):
        if given.plate is None:
            raise ImageError("a VehicleImage has no plate to read; give the plate's image")
        return given.plate
    if isinstance(given, str | Path):
        path = Path(given).expanduser()
        try:
            with open_image(path) as file:
                return upright_rgb(file)
        except FileNotFoundError as error:
            raise MissingFileError(f"there is no image {path}") from error
    if isinstance(given, Image.Image):
        return upright_rgb(given)
    if (
        isinstance(given, np.ndarray)
        and given.dtype == np.uint8
        and given.ndim == 3
        and given.shape[2] == 3
        and given.size
    ):
        return Image.fromarray(given)
    kind = f"an array {given.shape} of {given.dtype}" if isinstance(given, np.ndarray) else type(given).__name__
    raise ImageError(f"an image is a file, an image of Pillow or an array (H, W, 3) of uint8; got {kind}")
