"""Plate reader of a register: a network that recognises plate texts. It may be changed while a service uses it."""

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import nn

from app.core.files import replacing
from app.core.sample import Sample
from app.data.crops import VehicleImage
from app.data.dataset import open_source
from app.evaluation.plate_texts import PlateReading
from app.evaluation.reading_errors import UNMEASURED, ReadingErrors, measure_errors
from app.register.embedder import Source, register_settings
from app.register.errors import RegisterError
from app.register.records import trail
from app.register.schema import Setting
from app.register.sightings import Journal
from app.tasks.plate_text import PlateText
from app.training.checkpoint import Checkpoint
from app.training.onnx_file import OnnxFile
from app.training.packaged_reader import packaged_errors, packaged_reader
from models.alphabet import plain
from models.errors import NetworkError
from models.plate_formats import COUNTRIES

READER = "plate_reader"
ERRORS = "plate_reader.errors.json"
MIN_CONFIDENCE = 0.9
"""Confidence from which on a text takes part in decisions, unless the register has another one."""
_SETTING, _COUNTRY = "plate text sure", "plate country"  # names of rows
_KIND = "plate_text"
_ONNX = ".onnx"


@dataclass(frozen=True)
class PlateRead:
    """A text that was read in an identification.

    Args:
        text: in `models.alphabet.plain` form, never empty.
        confidence: the least of its characters', in [0, 1].
        photograph: in which it was read, from 0.
        confidences: of its characters.
        readings: of all photographs in which this text was read.
    """

    text: str
    confidence: float
    photograph: int
    confidences: tuple[float, ...] = ()
    readings: tuple[PlateReading, ...] = field(default=(), compare=False, repr=False)


class QueryPlateReader:
    """A register's reader of plates.

    Args:
        folder: where its file is.
        turn: held while it computes.
        device: "cpu", "cuda" or "auto".
    """

    def __init__(
        self, folder: Path, journal: Journal, turn: AbstractContextManager[object], device: str = "auto"
    ) -> None:
        self.folder = folder
        self.journal = journal
        self.device = device
        self._turn = turn
        self._loaded: tuple[int, PlateText, nn.Module] | None = None

    def use(self, run: Path, model: str, account: str, errors: ReadingErrors | None = None) -> str:
        """Let a checkpoint of the task plate_text read plates; its digest.

        Args:
            run: a run folder, or a file .onnx of `scripts.export`.
            errors: of this reader, see `measured_errors`; None where they are not known.

        Raises FileNotFoundError, and ValueError for a file of another kind or a checkpoint of another task."""
        source = _source(run, model)
        if (task := source.settings["task"]) != _KIND:
            place = run if run.suffix == _ONNX else f"{run / model}.safetensors"
            raise NetworkError(f"{place} is of the task {task}; plates are read by one of {_KIND}")
        return self._put(source, run, errors, account)

    def use_packaged(self, account: str) -> str:
        """Let the reader that comes with the package read plates; its digest.

        Raises MissingFileError or StoredFileError where its files are not those of the package."""
        return self._put(packaged_reader(), self.folder, packaged_errors(), account)

    def _put(self, source: Source, file: Path, errors: ReadingErrors | None, account: str) -> str:
        """Let a source read plates; its digest.

        Args:
            file: of an `OnnxFile`, to be copied.
        """
        _build(source, self.device)
        (self.folder / ERRORS).unlink(missing_ok=True)  # first: never another reader's
        if isinstance(source, Checkpoint):
            source.write(self.folder, READER)
            self._outside.unlink(missing_ok=True)  # last: one of the two readers is there at any moment
        else:
            with replacing(self._outside) as temporary:
                shutil.copyfile(file, temporary)
            self._inside.unlink(missing_ok=True)
        if errors is not None:
            with replacing(self.folder / ERRORS) as temporary:
                temporary.write_text(errors.model_dump_json(indent=2) + "\n", encoding="utf-8")
        self.journal.write(account, "plate reader", source.digest)
        return source.digest

    @property
    def errors(self) -> ReadingErrors:
        """Errors of the reader, as they were measured on its own data; `UNMEASURED` where they were not.

        Raises RegisterError for a damaged file."""
        path = self.folder / ERRORS
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return UNMEASURED
        try:
            return ReadingErrors.model_validate_json(content)
        except ValidationError as error:
            raise RegisterError(
                f"models/{ERRORS} holds no measured errors of a reader: give the register its reader again"
            ) from error

    def forget(self, account: str) -> None:
        """Read no plates from now on."""
        self._outside.unlink(missing_ok=True)
        self._inside.unlink(missing_ok=True)
        (self.folder / ERRORS).unlink(missing_ok=True)
        self.journal.write(account, "plate reader", "none")

    @property
    def is_there(self) -> bool:
        """Whether plates are read."""
        return self._path.is_file()

    @property
    def min_confidence(self) -> float:
        """Confidence from which on a text takes part in decisions."""
        with self.journal.database.reading() as session:
            kept = session.get(Setting, _SETTING)
            return MIN_CONFIDENCE if kept is None else float(kept.value)

    def set_min_confidence(self, confidence: float, account: str) -> None:
        """Change it. Raises RegisterError for what is no confidence above 0."""
        if not 0 < confidence <= 1:
            raise RegisterError(f"the confidence from which a text counts lies above 0, up to 1; got {confidence}")
        with self.journal.database.writing() as session:
            session.merge(Setting(name=_SETTING, value=repr(confidence)))
            trail(session, account, "set plate threshold", "", {"sure": confidence})

    @property
    def country(self) -> str:
        """Whose formats the plates have; "" where it is not known."""
        with self.journal.database.reading() as session:
            kept = session.get(Setting, _COUNTRY)
            return "" if kept is None else kept.value

    def set_country(self, country: str, account: str) -> None:
        """Change it, "" for not known. Raises RegisterError for an unknown one."""
        if country and country not in COUNTRIES:
            raise RegisterError(f"formats of the plates of {country!r} are not known; known: {', '.join(COUNTRIES)}")
        with self.journal.database.writing() as session:
            session.merge(Setting(name=_COUNTRY, value=country))
            trail(session, account, "set plate country", "", {"country": country})

    def read(self, images: Sequence[VehicleImage]) -> list[PlateRead]:
        """Plate texts of one vehicle, see `by_confidence`; none without a reader, or where no plate is known."""
        if not any(image.has_plate for image in images) or not self.is_there:
            return []
        with self._turn:
            task, network = self._network()
            plates = {place: task.image_reader.cut_plate(image) for place, image in enumerate(images)}
            known = {place: plate for place, plate in plates.items() if plate is not None}
            if not known:
                return []
            images_of_plates, device = torch.stack(list(known.values())), task.compute.device
            # An identification does not fail for a setting that this reader cannot use.
            found = task.read_images(network, images_of_plates, device, self.country if task.uses_formats else "")
        return by_confidence(list(zip(known, found, strict=True)))

    def read_files(self, samples: Sequence[Sample], min_confidence: float | None = None) -> dict[Sample, PlateReading]:
        """Texts of image files by sample, of those with a plate on which something is read.

        Args:
            min_confidence: of the texts; None for that of the register.
        """
        known = [sample for sample in samples if sample.has_plate]
        if not known or not self.is_there:
            return {}
        with self._turn:
            task, network = self._network()
            found = task.read(network, known, task.compute.device)
        least = self.min_confidence if min_confidence is None else min_confidence
        pairs = zip(known, found, strict=True)
        return {s: reading for s, reading in pairs if reading and reading.text and reading.confidence >= least}

    def _network(self) -> tuple[PlateText, nn.Module]:
        state = self._path.stat().st_mtime_ns
        if self._loaded is None or self._loaded[0] != state:
            self._loaded = state, *_build(_source(self._path, READER), self.device)
        return self._loaded[1:]

    @property
    def _path(self) -> Path:
        """The file that reads, if any does."""
        return self._outside if self._outside.is_file() else self._inside

    @property
    def _inside(self) -> Path:
        return self.folder / f"{READER}.safetensors"

    @property
    def _outside(self) -> Path:
        return self.folder / f"{READER}{_ONNX}"


def measured_errors(run: Path, model: str, device: str = "auto") -> ReadingErrors:
    """Errors of the reader of a run or an ONNX file on the plates of its own `data.val_split`, or of "val" without it.

    Raises ValueError or OSError where its data is not there, or has no plate with a text."""
    task, network = _build(_source(run, model), device)
    settings = task.settings
    directions = open_source(settings.data, settings.seed).evaluation(settings.data.val_split or "val")
    samples = list(dict.fromkeys(s for each in directions for s in (*each.query, *each.gallery)))
    known = [s for s in samples if s.has_plate and plain(s.plate_text or "")]
    readings = task.read(network, known, task.compute.device)
    pairs = zip(readings, known, strict=True)
    return measure_errors([(reading, plain(s.plate_text or "")) for reading, s in pairs if reading is not None])


def by_confidence(readings: Sequence[tuple[int, PlateReading | None]]) -> list[PlateRead]:
    """Each text once, with its highest confidence, which orders them; texts of one confidence in their order.

    Args:
        readings: of photographs, by number.
    """
    best: dict[str, PlateRead] = {}
    same: dict[str, list[PlateReading]] = {}
    for photograph, reading in readings:
        if reading is not None and reading.text:
            same.setdefault(reading.text, []).append(reading)
            read = PlateRead(reading.text, reading.confidence, photograph, reading.confidences)
            held = best.setdefault(read.text, read)
            if read.confidence > held.confidence:
                best[read.text] = read
    found = [replace(read, readings=tuple(same[read.text])) for read in best.values()]
    return sorted(found, key=lambda read: (-read.confidence, read.text))


def _source(path: Path, model: str) -> Source:
    """An ONNX file, or a checkpoint by a run folder or by its own file."""
    if path.suffix == _ONNX:
        return OnnxFile(path)
    return Checkpoint.read(path if path.is_dir() or path.suffix != ".safetensors" else path.parent, model)


def _build(checkpoint: Source, device: str) -> tuple[PlateText, nn.Module]:
    """The task and its network, in evaluation mode. Raises ValueError for arrays that are not those of the network."""
    task, network = checkpoint.network(register_settings(checkpoint.settings, device))
    assert isinstance(task, PlateText)
    return task, network.eval()
