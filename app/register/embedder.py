"""The network of a register: images in, embeddings of its libraries out; the active model, and its change."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.core.files import replacing
from app.core.sample import Box, Sample
from app.data.crops import VehicleImage
from app.evaluation.embed import NoImageError
from app.register.errors import NoModelError, RegisterError
from app.register.folder import RegisterFolder
from app.register.matcher import held_vectors
from app.register.photos import Photos
from app.register.records import Vectors
from app.register.schema import Model, View
from app.settings.load import Settings, settings_from
from app.settings.plug_in_names import require_declared
from app.tasks.image_files import embed_samples
from app.tasks.task import Task, embedding_task
from app.training.checkpoint import Checkpoint
from app.training.onnx_file import OnnxFile
from models.errors import FedVehicleReidError

_BATCH = 64


class Source(Protocol):
    """Source of a network: a checkpoint, or an ONNX file."""

    @property
    def digest(self) -> str:
        """Digest of all that an embedding depends on."""

    @property
    def settings(self) -> dict[str, Any]:
        """Of the run, as nested dictionaries."""

    def network(self, settings: Settings) -> tuple[Task, nn.Module]:
        """The task and a network that embeds."""


class Recogniser:
    """Embeds images with a trained network.

    Args:
        device: "cpu", "cuda" or "auto".

    Raises ValueError for arrays that are not those of the network, and for a task without embeddings."""

    def __init__(self, source: Source, device: str = "auto") -> None:
        self.digest = source.digest
        self.settings = register_settings(source.settings, device)
        task, self.network = source.network(self.settings)
        self.task = embedding_task(task)
        self.network.eval()

    def embed(self, images: Sequence[VehicleImage]) -> list[Vectors]:
        """Embeddings of each decoded image, in the libraries that it has something for. Raises ValueError for a vehicle
        box outside its image."""
        return _by_image(self.task.embeddings(self.network, [self.task.image_reader.cut(image) for image in images]))

    def embed_files(self, samples: Sequence[Sample]) -> list[Vectors | None]:
        """The same for image files, with None for one that cannot be read."""
        readable = [sample for sample in samples if sample.path.is_file()]
        if not readable:
            return [None] * len(samples)
        try:
            found = embed_samples(self.task, self.network, readable)
        except NoImageError:
            return [None] * len(samples)
        vectors = dict(zip(found.samples, _by_image(found.libraries), strict=True))
        return [vectors.get(sample) for sample in samples]


def _by_image(libraries: Mapping[str, NDArray[np.float32]]) -> list[Vectors]:
    """Rows (N, D) by library as vectors (D,) of each image; a row of zeros is no embedding."""
    count = len(next(iter(libraries.values())))
    return [{name: rows[place] for name, rows in libraries.items() if rows[place].any()} for place in range(count)]


def register_settings(kept: Mapping[str, Any], device: str) -> Settings:
    """Settings of a run as a register uses its network."""
    data = kept.get("data")
    require_declared({**kept, "data": {**data, "reader": ""}} if isinstance(data, dict) else kept)
    settings = settings_from(kept, stored=False)  # no data set is read here: a site's own reader need not be declared
    # Files of the register come and go; and an identification must not depend on what else was in the batch.
    data = replace(settings.data, cache_mb=0, cache_dir="")
    train = replace(settings.train, precision="float32", threads=0)
    return replace(settings, device=device, data=data, train=train)


def read_recogniser(path: Path, device: str = "auto") -> Recogniser:
    """The recogniser of a checkpoint file, or of an ONNX file by its ending .onnx.

    Raises FileNotFoundError, ValueError for a file of another kind, and RuntimeError without ONNX Runtime."""
    if path.suffix == ".onnx":
        return Recogniser(OnnxFile(path), device)
    return Recogniser(Checkpoint.read(path.parent, path.stem), device)


class ActiveModel:
    """The active model of a register.

    Args:
        device: for the network: "cpu", "cuda" or "auto".
        onnx: a file that computes the network in place of the one in the register's folder; it must be of the active
            model.
    """

    def __init__(self, register: RegisterFolder, device: str = "auto", onnx: Path | None = None) -> None:
        self.device = device
        self.onnx = onnx
        self._register = register
        self._recogniser: Recogniser | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether a network is in memory."""
        return self._recogniser is not None

    def change_to_run(
        self,
        run: Path,
        model: str,
        account: str,
        progress: Callable[[int, int], None] | None = None,
        views: int | None = None,
    ) -> Model:
        """Activate a run's checkpoint: all images are embedded with it; until then the model before stays active.

        Continues where an earlier call stopped. Raises FileNotFoundError, or ValueError for an invalid file.

        Args:
            views: of an image, over which embeddings are averaged; None for those of the run.
        """
        checkpoint = Checkpoint.read(run, model)
        if views is not None:
            checkpoint = checkpoint.with_views(views)
        recogniser = Recogniser(checkpoint, self.device)
        checkpoint.write(self._register.folder / "models", checkpoint.digest)
        self._file_of(checkpoint.digest, ".onnx").unlink(missing_ok=True)  # the one given last computes it
        return self._change(recogniser, f"{run.name}, {model}", account, progress)

    def change_to_onnx(self, path: Path, account: str, progress: Callable[[int, int], None] | None = None) -> Model:
        """The same for an ONNX file, which is copied into the register; of the active model, it
        computes it from now on. Raises RuntimeError without ONNX Runtime."""
        recogniser = read_recogniser(path, self.device)
        with replacing(self._file_of(recogniser.digest, ".onnx")) as temporary:
            shutil.copyfile(path, temporary)
        self._recogniser = None
        return self._change(recogniser, path.name, account, progress)

    def _change(
        self, recogniser: Recogniser, origin: str, account: str, progress: Callable[[int, int], None] | None
    ) -> Model:
        row = self._register.models.add(recogniser.digest, recogniser.task.libraries, origin, account)
        total, done, last, bad = self._register.register.counts()["views"], 0, 0, list[View]()
        while True:
            views = self._register.models.views_without(row.id, _BATCH, after=last)
            if not views:
                if bad := [view for view in bad if self._register.register.has_view(view.id)]:
                    named = ", ".join(f"vehicle {view.vehicle_id}: {view.picture}" for view in bad[:3])
                    raise RegisterError(
                        f"{len(bad)} images cannot be read, and the model before stays active: {named}; "
                        "forget these vehicles, or put the files back"
                    )
                if self._register.models.activate(row.id, account):
                    return row
                last = 0  # a vehicle was enrolled meanwhile
                continue
            last = views[-1].id
            found = recogniser.embed_files([sample_of(self._register.photos, view) for view in views])
            pairs = zip(views, found, strict=True)
            good = {view.id: held_vectors(vectors, view.modality) for view, vectors in pairs if vectors is not None}
            bad += [view for view in views if view.id not in good]
            self._register.models.add_embeddings(row.id, good)
            done += len(views)
            if progress is not None:
                progress(done, max(done, total))

    def current(self) -> tuple[Model, Recogniser]:
        """The active model and its network. Raises NoModelError if there is none yet."""
        model = self._register.models.active()
        if model is None:
            raise NoModelError("the register has no network yet: give it one with `reembed --run RUN_FOLDER`")
        recogniser = self._recogniser  # another thread may change it meanwhile: model and network belong together
        if recogniser is None or recogniser.digest != model.digest:
            self._recogniser = recogniser = self._read(model.digest)
        return model, recogniser

    def is_of_rendered_vehicles(self) -> bool:
        """Whether the active model was trained on rendered vehicles alone; False where that cannot be read."""
        try:
            _, recogniser = self.current()
        except (FedVehicleReidError, OSError):
            return False
        return recogniser.settings.data.reader == "synthetic"

    def _read(self, digest: str) -> Recogniser:
        held = self._file_of(digest, ".onnx")
        path = self.onnx or (held if held.is_file() else self._file_of(digest, ".safetensors"))
        found = read_recogniser(path, self.device)
        if found.digest != digest and path == self.onnx:
            raise NoModelError(f"{path} is of model {found.digest}, and the active model of this register is {digest}")
        if found.digest != digest:
            raise RegisterError(f"models/{path.name} was changed")
        return found

    def _file_of(self, digest: str, ending: str) -> Path:
        return self._register.folder / "models" / f"{digest}{ending}"


def sample_of(photos: Photos, view: View) -> Sample:
    """The image file of a view, with its boxes and modality."""
    return Sample(
        photos.path(view.picture),
        pid=0,
        camid=0,
        vehicle_box=Box(*view.vehicle_box) if view.vehicle_box else None,
        plate_boxes=(Box(*view.plate_box),) if view.plate_box else (),
        plate_path=photos.path(view.plate_picture) if view.plate_picture else None,
        modality="infrared" if view.modality == "infrared" else "visible",
    )
