"""Plate reader of a register: a network that recognises plate texts. It may be changed while a service uses it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from app.data.crops import VehicleImage
from app.evaluation.plate_texts import PlateReading
from app.register.embedder import register_settings
from app.register.errors import RegisterError
from app.register.records import trail
from app.register.schema import Setting
from app.register.sightings import Journal
from app.tasks.plate_text import PlateText
from app.training.checkpoint import Checkpoint
from models.errors import NetworkError

READER = "plate_reader"
MIN_CONFIDENCE = 0.9
"""Confidence from which on a text takes part in decisions, unless the register has another one."""
_SETTING = "plate text sure"  # the name of its row
_KIND = "plate_text"


@dataclass(frozen=True)
class PlateRead:
    """A text that was read in an identification.

    Args:
        text: in `models.alphabet.plain` form, never empty.
        confidence: the least of its characters', in [0, 1].
        photograph: in which it was read, from 0.
    """

    text: str
    confidence: float
    photograph: int


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

    def use(self, run: Path, model: str, account: str) -> str:
        """Let a checkpoint of the task plate_text read plates; its digest.

        Raises FileNotFoundError, and ValueError for a file of another kind or a checkpoint of another task."""
        checkpoint = Checkpoint.read(run, model)
        if (task := checkpoint.settings["task"]) != _KIND:
            raise NetworkError(f"{run / model}.safetensors is of the task {task}; plates are read by one of {_KIND}")
        _build(checkpoint, self.device)
        checkpoint.write(self.folder, READER)
        self.journal.write(account, "plate reader", checkpoint.digest)
        return checkpoint.digest

    def forget(self, account: str) -> None:
        """Read no plates from now on."""
        self._path.unlink(missing_ok=True)
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

    def read(self, images: Sequence[VehicleImage]) -> list[PlateRead]:
        """Plate texts of one vehicle, see `by_confidence`; none without a reader, or where no plate is known."""
        if not any(image.has_plate for image in images) or not self.is_there:
            return []
        with self._turn:
            state = self._path.stat().st_mtime_ns
            if self._loaded is None or self._loaded[0] != state:
                self._loaded = state, *_build(Checkpoint.read(self.folder, READER), self.device)
            _, task, network = self._loaded
            plates = {place: task.pictures.cut_plate(image) for place, image in enumerate(images)}
            known = {place: plate for place, plate in plates.items() if plate is not None}
            if not known:
                return []
            found = task.read_pictures(network, torch.stack(list(known.values())), task.compute.device)
        return by_confidence(list(zip(known, found, strict=True)))

    @property
    def _path(self) -> Path:
        return self.folder / f"{READER}.safetensors"


def by_confidence(readings: Sequence[tuple[int, PlateReading | None]]) -> list[PlateRead]:
    """Each text once, with its highest confidence, which orders them; texts of one confidence in their order.

    Args:
        readings: of photographs, by number.
    """
    best: dict[str, PlateRead] = {}
    for photograph, reading in readings:
        if reading is not None and reading.text:
            read = PlateRead(reading.text, reading.confidence, photograph)
            held = best.setdefault(read.text, read)
            if read.confidence > held.confidence:
                best[read.text] = read
    return sorted(best.values(), key=lambda read: (-read.confidence, read.text))


def _build(checkpoint: Checkpoint, device: str) -> tuple[PlateText, nn.Module]:
    """The task and its network, in evaluation mode. Raises ValueError for arrays that are not those of the network."""
    task, network = checkpoint.network(register_settings(checkpoint.settings, device))
    assert isinstance(task, PlateText)
    return task, network.eval()
