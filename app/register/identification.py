"""Enrolment and identification with the networks of a register, and the change of its active model."""

import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from app.core.files import replacing
from app.core.sample import Modality
from app.register.answer import Answer
from app.register.embedder import Recogniser, read_recogniser
from app.register.errors import AnotherModelError, NoModelError, RegisterError
from app.register.folder import RegisterFolder
from app.register.framing import Framing
from app.register.index import Index, make_index
from app.register.kept_views import sample_of, with_vectors, written_beside
from app.register.matcher import Candidate, Outcome, decide
from app.register.modalities import MODALITIES, compared_name, held_name, held_vectors
from app.register.plate_evidence import hear
from app.register.plate_reader import PlateReader
from app.register.plate_search import PlateLookup
from app.register.records import NewOwner, NewView
from app.register.rows import Also, Vectors, nothing_else
from app.register.schema import Model, View
from app.register.shots import Shot
from app.training.checkpoint import Checkpoint

_CANDIDATES = 5
_BATCH = 64
_WRITERS = 4  # photos that are written to the disk at once
_ATTEMPTS = 3  # a model that changes under a look-up or an enrolment: load the new one and do it again
_CHANGES = "the model of the register changes again and again"


class Desk(RegisterFolder):
    """A register with the model that serves it.

    Look-ups and enrolments may come from several threads. The network and the index take one after the other; pictures
    and the database are written beside them. Everything else is for one thread at a time.

    Args:
        folder: the register's; made if it is not there.
        url: of the database; by default a SQLite file in the folder.
        device: that the network runs on.
        onnx: a file that computes the network in place of the one in the folder; it must be of the model that serves.

    Raises RegisterError if the register cannot be opened."""

    def __init__(self, folder: Path, url: str = "", device: str = "auto", onnx: Path | None = None) -> None:
        super().__init__(folder, url)
        self.device = device
        self.onnx = onnx
        self._recogniser: Recogniser | None = None
        self._index: tuple[int, Index] | None = None
        self._turn = threading.RLock()
        self._writers = ThreadPoolExecutor(_WRITERS, "photos")
        self.framing = Framing(folder / "models", self.journal, self._turn)
        self.plate_reader = PlateReader(folder / "models", self.journal, self._turn, device)
        self.plates = PlateLookup(self.database)

    def close(self) -> None:
        """Let the database go."""
        self._writers.shutdown()
        super().close()

    # The model ----------------------------------------------------------------------------------------------------

    def use_model(
        self, run: Path, model: str, account: str, progress: Callable[[int, int], None] | None = None
    ) -> Model:
        """Let a run's checkpoint serve: pictures are embedded anew with it, and until all are, the old one serves.

        Goes on where an earlier call was cut off. Raises FileNotFoundError or ValueError for a file that is none."""
        checkpoint = Checkpoint.read(run, model)
        recogniser = Recogniser(checkpoint, self.device)
        checkpoint.write(self.folder / "models", checkpoint.digest)
        self._file_of(checkpoint.digest, ".onnx").unlink(missing_ok=True)  # the one given last computes it
        return self._let_serve(recogniser, f"{run.name}, {model}", account, progress)

    def use_onnx(self, path: Path, account: str, progress: Callable[[int, int], None] | None = None) -> Model:
        """The same for an ONNX file, which is copied into the register; of the model that serves already, it computes
        it from now on. Raises RuntimeError without ONNX Runtime."""
        recogniser = read_recogniser(path, self.device)
        with replacing(self._file_of(recogniser.digest, ".onnx")) as temporary:
            shutil.copyfile(path, temporary)
        self._recogniser = None
        return self._let_serve(recogniser, path.name, account, progress)

    def _let_serve(
        self, recogniser: Recogniser, origin: str, account: str, progress: Callable[[int, int], None] | None
    ) -> Model:
        row = self.models.add(recogniser.digest, recogniser.task.libraries, origin, account)
        total, done, last, bad = self.register.counts()["views"], 0, 0, list[View]()
        while True:
            views = self.models.views_without(row.id, _BATCH, after=last)
            if not views:
                if bad := [view for view in bad if self.register.has_view(view.id)]:
                    named = ", ".join(f"vehicle {view.vehicle_id}: {view.picture}" for view in bad[:3])
                    raise RegisterError(
                        f"{len(bad)} pictures cannot be read, and the model before goes on serving: {named}; "
                        "forget these vehicles, or put the files back"
                    )
                if self.models.serve(row.id, account):
                    return row
                last = 0  # a vehicle was enrolled meanwhile
                continue
            last = views[-1].id
            found = recogniser.embed_files([sample_of(self.photos, view) for view in views])
            pairs = zip(views, found, strict=True)
            good = {view.id: held_vectors(vectors, view.modality) for view, vectors in pairs if vectors is not None}
            bad += [view for view in views if view.id not in good]
            self.models.add_embeddings(row.id, good)
            done += len(views)
            if progress is not None:
                progress(done, max(done, total))

    def serving(self) -> tuple[Model, Recogniser]:
        """The model that serves, and its network. Raises RegisterError if there is none yet."""
        model = self.models.serving()
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
        return self.folder / "models" / f"{digest}{ending}"

    def index(self, model: Model) -> Index:
        """The index of the model's embeddings."""
        if self._index is None or self._index[0] != model.id:
            self._index = model.id, make_index(self.database, model.id)
        return self._index[1]

    # Enrolment ----------------------------------------------------------------------------------------------------

    def enrol(
        self,
        shots: Sequence[Shot],
        *,
        account: str,
        owner: NewOwner | int | None = None,
        plate: str = "",
        note: str = "",
        also: Also = nothing_else,
    ) -> int:
        """Enrol a vehicle; its number. Raises as `Register.enrol` does, and RegisterError without a model."""

        def keep(views: Sequence[NewView], model: Model) -> int:
            about = {"account": account, "plate": plate, "note": note}
            return self.register.enrol(views, model_id=model.id, owner=owner, also=also, **about)

        return self._with_views(shots, keep)

    def add_views(self, vehicle: int, shots: Sequence[Shot], *, account: str, also: Also = nothing_else) -> None:
        """Enrol further photographs of a vehicle."""

        def keep(views: Sequence[NewView], model: Model) -> int:
            self.register.add_views(vehicle, views, model_id=model.id, account=account, also=also)
            return vehicle

        self._with_views(shots, keep)

    def _with_views(self, shots: Sequence[Shot], keep: Callable[[Sequence[NewView], Model], int]) -> int:
        framed = [self.framing.frame(shot.as_stored()) for shot in shots]
        images = [each.image for each in framed]
        with written_beside(self.photos, self._writers, framed, images) as views:
            for _ in range(_ATTEMPTS):
                with self._turn:
                    model, recogniser = self.serving()
                    found = recogniser.embed(images)
                on_disk = views()
                try:
                    return keep([with_vectors(view, each) for view, each in zip(on_disk, found, strict=True)], model)
                except AnotherModelError:
                    continue
            raise RegisterError(_CHANGES)

    # Look-ups -----------------------------------------------------------------------------------------------------

    def identify(self, shots: Sequence[Shot], *, account: str, enrol_unknown: bool = False) -> Answer:
        """Whose vehicle do these photographs show? The look-up is kept as a sighting.

        Args:
            enrol_unknown: enrol a vehicle that matches none, without an owner.
        """
        framed = [self.framing.frame(shot.as_stored()) for shot in shots]
        images = [each.image for each in framed]
        modality: Modality = "infrared" if all(image.modality == "infrared" for image in images) else "visible"
        # Two look-ups of one unknown vehicle must not both enrol it.
        beside = written_beside(self.photos, self._writers, framed, images)
        with beside as views, self._turn if enrol_unknown else nullcontext():
            reads = self.plate_reader.read(images)
            for _ in range(_ATTEMPTS):
                with self._turn:
                    model, recogniser = self.serving()
                    found = recogniser.embed(images)
                    candidates = self.candidates(model, found, modality)
                    decision = decide(candidates, self.models.look_up_thresholds(model))
                    decision, plate = hear(decision, reads, framed, self.plates, self.plate_reader.sure)
                    if self.serving()[0].id != model.id:
                        continue  # its embeddings were deleted while we looked
                wanted = enrol_unknown and decision.outcome is Outcome.unknown
                on_disk = views()
                pictures = [name for view in on_disk for name in (view.picture, view.plate_picture) if name]
                try:
                    with self.database.writing() as session:
                        enrolled = None
                        if wanted:
                            new = [with_vectors(view, each) for view, each in zip(on_disk, found, strict=True)]
                            note = "enrolled as unknown"
                            enrolled = self.register.enrol_in(
                                session, new, model_id=model.id, account=account, note=note
                            )
                        shown = {candidate.vehicle for candidate in decision.shown()}
                        shown |= plate.vehicles() if plate else set()
                        sighting = self.journal.record_sighting(
                            session,
                            decision,
                            pictures,
                            account,
                            enrolled=enrolled,
                            shown=sorted(shown),
                            plate_text=plate.as_dict() if plate else None,
                        )
                except AnotherModelError:
                    continue
                return Answer(decision, sighting, enrolled, [view.picture for view in on_disk], framed, plate)
            raise RegisterError(_CHANGES)

    def candidates(
        self, model: Model, found: Sequence[Vectors], asked: Modality = "visible", limit: int = _CANDIDATES
    ) -> dict[str, list[Candidate]]:
        """The nearest vehicles of each library that at least one of the photographs has something for, by
        `compared_name`: among views of the photographs' own modality, then among those of the other if there are any.

        Args:
            asked: the modality of the photographs.
        """
        index = self.index(model)
        answer: dict[str, list[Candidate]] = {}
        for library in model.libraries:
            rows = [vectors[library] for vectors in found if library in vectors]
            for held in sorted(MODALITIES, key=lambda modality: modality != asked):
                nearest = index.search(held_name(library, held), np.stack(rows), limit) if rows else []
                if nearest or held == "visible":
                    answer[compared_name(library, asked, held)] = nearest
        return answer
