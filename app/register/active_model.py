"""The active model of a register: its network, and the change to another model version."""

import shutil
from collections.abc import Callable
from pathlib import Path

from app.core.files import replacing
from app.register.embedder import Recogniser, read_recogniser
from app.register.errors import NoModelError, RegisterError
from app.register.folder import RegisterFolder
from app.register.kept_views import sample_of
from app.register.modalities import held_vectors
from app.register.schema import Model, View
from app.training.checkpoint import Checkpoint

_BATCH = 64


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

    def change_to_run(
        self, run: Path, model: str, account: str, progress: Callable[[int, int], None] | None = None
    ) -> Model:
        """Activate a run's checkpoint: images are embedded anew with it; until all are, the model before stays active.

        Goes on where an earlier call was cut off. Raises FileNotFoundError or ValueError for a file that is none."""
        checkpoint = Checkpoint.read(run, model)
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
                        f"{len(bad)} pictures cannot be read, and the model before goes on serving: {named}; "
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
        if self._recogniser is None or self._recogniser.digest != model.digest:
            self._recogniser = self._read(model.digest)
        return model, self._recogniser

    def _read(self, digest: str) -> Recogniser:
        held = self._file_of(digest, ".onnx")
        path = self.onnx or (held if held.is_file() else self._file_of(digest, ".safetensors"))
        found = read_recogniser(path, self.device)
        if found.digest != digest and path == self.onnx:
            raise NoModelError(f"{path} is of model {found.digest}, and model {digest} serves this register")
        if found.digest != digest:
            raise RegisterError(f"models/{path.name} was changed")
        return found

    def _file_of(self, digest: str, ending: str) -> Path:
        return self._register.folder / "models" / f"{digest}{ending}"
