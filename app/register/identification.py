"""Enrolment and identification with the networks of a register."""

import math
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.core.sample import Modality
from app.register.detect import Framed, Framing
from app.register.embedder import ActiveModel, sample_of
from app.register.errors import AnotherModelError, RegisterError
from app.register.evidence import CANDIDATES, covers, decide_by_evidence
from app.register.folder import RegisterFolder
from app.register.index import Index, Look, make_index
from app.register.matcher import (
    NOBODY,
    Candidate,
    Decision,
    compared_names,
    decide,
    held_name,
    held_vectors,
    modality_of_query,
)
from app.register.photos import VehiclePhoto, written_beside
from app.register.plate_evidence import PlateFinding, add_plate_evidence, effect_of, find_plates, text_evidence
from app.register.plate_reader import PlateRead, QueryPlateReader
from app.register.plate_search import PlateSearch
from app.register.records import Also, NewOwner, NewView, SeenBy, Vectors, nothing_else
from app.register.schema import Model, View
from app.register.watchlist import Listed, Watchlist

_CANDIDATES = 5
_WRITERS = 4  # photos that are written to the disk at once
_ATTEMPTS = 3  # an active model that changes during an identification or enrolment: do it again with the new one
_CHANGES = "the model of the register changes again and again"


@dataclass(frozen=True)
class Answer:
    """A decision, and the sighting it was kept as.

    Args:
        enrolled: number of the vehicle, if it was enrolled as unknown.
        images: names of the photographs, as they were kept.
        framed: the photographs, with the vehicles found in them.
        plate: the plate texts; None if nothing was read.
        listed: entries of the lists that concern the vehicle.
    """

    decision: Decision
    sighting: int
    enrolled: int | None
    images: list[str]
    framed: list[Framed]
    plate: PlateFinding | None
    listed: list[Listed]


class Identification(RegisterFolder):
    """A register with its networks: vehicles are enrolled, and identified in photos.

    Identifications and enrolments may come from several threads: network and index take one after the other, photos and
    database are written beside them. Everything else is for one thread at a time.

    Args:
        folder: the register's; made if it is not there.
        url: of the database; by default a SQLite file in the folder.
        device, onnx: of the network, see `ActiveModel`.
    Raises RegisterError if the register cannot be opened."""

    def __init__(self, folder: Path, url: str = "", device: str = "auto", onnx: Path | None = None) -> None:
        super().__init__(folder, url)
        self.active_model = ActiveModel(self, device, onnx)
        self._index: tuple[int, Index] | None = None
        self._turn = threading.RLock()
        self.last_query = -math.inf  # time.monotonic()
        self._writers = ThreadPoolExecutor(_WRITERS, "photos")
        self.framing = Framing(folder / "models", self.journal, self._turn)
        self.plate_reader = QueryPlateReader(folder / "models", self.journal, self._turn, device)
        self.plates, self.watchlist = PlateSearch(self.database), Watchlist()

    def close(self) -> None:
        """Let the database go."""
        self._writers.shutdown()
        super().close()

    def index(self, model: Model) -> Index:
        """The index of the model's embeddings."""
        if self._index is None or self._index[0] != model.id:
            self._index = model.id, make_index(self.database, model.id)
        return self._index[1]

    def warm(self) -> bool:
        """Find the densities around some embeddings beforehand; False if all are known, or there is no model."""
        with self._turn:
            model = self.models.active()
            return model is not None and self.index(model).warm()

    def enrol(
        self,
        vehicle_photos: Sequence[VehiclePhoto],
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

        return self._with_views(vehicle_photos, keep)

    def add_views(
        self, vehicle: int, vehicle_photos: Sequence[VehiclePhoto], *, account: str, also: Also = nothing_else
    ) -> None:
        """Enrol further photographs of a vehicle."""

        def keep(views: Sequence[NewView], model: Model) -> int:
            self.register.add_views(vehicle, views, model_id=model.id, account=account, also=also)
            return vehicle

        self._with_views(vehicle_photos, keep)

    def _with_views(
        self, vehicle_photos: Sequence[VehiclePhoto], keep: Callable[[Sequence[NewView], Model], int]
    ) -> int:
        self.register.settle()
        framed = [self.framing.frame(vehicle_photo.as_stored()) for vehicle_photo in vehicle_photos]
        images = [each.image for each in framed]
        with written_beside(self.photos, self._writers, framed, images) as views:
            for _ in range(_ATTEMPTS):
                with self._turn:
                    model, recogniser = self.active_model.current()
                    found = recogniser.embed(images)
                on_disk = views()
                try:
                    return keep([with_vectors(view, each) for view, each in zip(on_disk, found, strict=True)], model)
                except AnotherModelError:
                    continue
            raise RegisterError(_CHANGES)

    def embed_view(self, view: View) -> tuple[Model, Vectors]:
        """The active model, and its embeddings of an image that is kept, by the names under which the modality of the
        image holds them. Raises RegisterError for an image that cannot be read."""
        with self._turn:
            model, recogniser = self.active_model.current()
            [found] = recogniser.embed_files([sample_of(self.photos, view)])
        if not found:
            raise RegisterError(f"the image {view.picture} cannot be read")
        return model, held_vectors(found, view.modality)

    def candidates_of(
        self, model: Model, found: Sequence[Vectors], query: Modality, limit: int
    ) -> dict[str, list[Candidate]]:
        """`candidates`, beside identifications of other threads."""
        with self._turn:
            return self.candidates(model, found, query, limit)

    def identify(
        self,
        vehicle_photos: Sequence[VehiclePhoto],
        *,
        account: str,
        enrol_unknown: bool = False,
        camera: SeenBy | None = None,
        also: Also = nothing_else,
    ) -> Answer:
        """Identify the vehicle of one or more photographs; the identification is kept as a sighting, and its events in
        the outbox.

        Args:
            enrol_unknown: enrol a vehicle that matches none, without an owner.
            camera: that took the photographs; None for a person.
            also: writes further rows in the same transaction, given the sighting's number.
        """
        self.last_query = time.monotonic()
        self.register.settle()
        framed = [self.framing.frame(vehicle_photo.as_stored()) for vehicle_photo in vehicle_photos]
        images = [each.image for each in framed]
        modality = modality_of_query(image.modality for image in images)
        # Two identifications of one unknown vehicle must not both enrol it.
        beside = written_beside(self.photos, self._writers, framed, images)
        with beside as views, self._turn if enrol_unknown else nullcontext():
            reads = self.plate_reader.read(images)
            for _ in range(_ATTEMPTS):
                with self._turn:
                    model, recogniser = self.active_model.current()
                    found = recogniser.embed(images)
                    decision, plate = self._decide(model, found, modality, framed, reads)
                    if self.active_model.current()[0].id != model.id:
                        continue  # its embeddings were deleted meanwhile
                enrols = enrol_unknown and decision.outcome in NOBODY
                on_disk = views()
                try:
                    with self.database.writing() as session:
                        enrolled = None
                        if enrols:
                            new = [with_vectors(view, each) for view, each in zip(on_disk, found, strict=True)]
                            about, note = (session, new), "enrolled as unknown"
                            enrolled = self.register.enrol_in(*about, model_id=model.id, account=account, note=note)
                        shown = {candidate.vehicle for candidate in decision.shown()}
                        shown |= plate.vehicles() if plate else set()
                        least, read_by_it = self.plate_reader.min_confidence, camera.plate if camera else ""
                        listed = self.watchlist.listed(session, decision, plate, least, read_by_it)
                        sighting = self.journal.record_sighting(
                            session,
                            decision,
                            on_disk,
                            account,
                            enrolled=enrolled,
                            shown=sorted(shown),
                            plate_text=plate.as_dict() if plate else None,
                            camera=camera,
                            listed=[each.as_dict() for each in listed],
                        )
                        self.outbox.add(session, sighting, camera.age if camera else 0.0)
                        also(session, sighting)
                except AnotherModelError:
                    continue
                names = [view.image for view in on_disk]
                return Answer(decision, sighting, enrolled, names, framed, plate, listed)
            raise RegisterError(_CHANGES)

    def _decide(
        self,
        model: Model,
        found: Sequence[Vectors],
        modality: Modality,
        framed: Sequence[Framed],
        reads: Sequence[PlateRead],
    ) -> tuple[Decision, PlateFinding | None]:
        """The decision by the sum of all evidence where it is calibrated, by one library after the other otherwise."""
        reader, plates = self.plate_reader, self.plates
        calibration = self.models.evidence(model) if self.models.decides() == "evidence" else None
        if calibration is not None:
            plate = find_plates(reads, framed, plates, reader.country)
            near = plate.vehicles() if plate else set()
            candidates = self.candidates(model, found, modality, CANDIDATES, near)
            if covers(calibration, candidates):
                vehicles = near.union(each.vehicle for nearest in candidates.values() for each in nearest)
                text = text_evidence(plate, vehicles, plates, reader)
                thresholds = self.models.identification_thresholds(model)
                about = (self.size(), text.llr, text.is_foreign, thresholds)
                decision = decide_by_evidence(candidates, calibration, *about)
                return decision, plate and replace(plate, says=effect_of(decision, plate))
        candidates = self.candidates(model, found, modality)
        decision = decide(candidates, self.models.identification_thresholds(model))
        return add_plate_evidence(decision, reads, framed, plates, reader.min_confidence, reader.country)

    def candidates(
        self,
        model: Model,
        found: Sequence[Vectors],
        query: Modality = "visible",
        limit: int = _CANDIDATES,
        also: Collection[int] | None = None,
    ) -> dict[str, list[Candidate]]:
        """The nearest vehicles of each library that at least one of the photographs has something for, by
        `compared_name`: among views of the photographs' own modality, then among those of the other if there are any.

        Args:
            query: the modality of the photographs.
            also: vehicles that are compared in any case. The others that are near in one library are then compared in
                all of them, too.
        """
        index = self.index(model)
        index.prepare()
        answer: dict[str, list[Candidate]] = {}
        looks: dict[str, Look] = {}
        for name, library, asked, held in compared_names(model.libraries):
            if asked != query:
                continue
            nearest = []
            if rows := [vectors[library] for vectors in found if library in vectors]:
                looks[name] = index.look(held_name(library, held), np.stack(rows), limit)
                nearest = looks[name].nearest(also or ())
            if nearest or held == "visible":
                answer[name] = nearest
        if also is not None:
            near = {each.vehicle for nearest in answer.values() for each in nearest}
            for name in looks.keys() & answer.keys():
                if missing := near - {each.vehicle for each in answer[name]}:
                    answer[name] = looks[name].nearest({*also, *missing})
        return answer


def with_vectors(view: NewView, vectors: Vectors) -> NewView:
    """The view with its embeddings, by the names under which its modality holds them."""
    return replace(view, vectors=held_vectors(vectors, view.modality))
