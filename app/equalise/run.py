"""Equalisation of one client's images: embeddings of a pre-model, the rules of `app.equalise.rules`, enhancement.

    images --pre-model--> embeddings --rules--> base images, suspects, missing images
             --enhancement--> drafts --pre-model, interval--> kept images --> samples to train on, record, report

The record is kept with the images under a key of everything that it depends on: a later start with the same settings,
model and images reads it and embeds nothing.
"""

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.equalise.drafts import as_enhanced
from app.equalise.keyed_settings import keyed
from app.equalise.pre_model import PreModel
from app.equalise.step import EqualisationStep
from app.equalise.store import EnhancedFiles
from app.images.decode import image_file
from app.settings.checks import SettingsError, one_of
from app.settings.load import Settings, absolute
from app.tasks import make_task
from app.tasks.task import EmbeddingTask, Task

_VERSION = 2  # of the content of a record; raise it with every change of enhancement or rules
_log = logging.getLogger("flwr")


@dataclass(frozen=True)
class Equalised:
    """Training images of a client after equalisation.

    Args:
        samples: its own images, without those left out, then the enhanced ones.
        record: of the equalisation, in plain values; `app.equalise.report` shows it.
        folder: of record and report; None if they could not be written.
        reused: whether the record is of an earlier run, as are its seconds.
    """

    samples: list[Sample]
    record: dict[str, Any]
    folder: Path | None
    reused: bool = False

    @property
    def summary(self) -> dict[str, Any]:
        """Numbers for a run's summary."""
        record = self.record
        counts = {name: len(record[name]) for name in ("kept", "suspects", "left_out", "warnings")}
        where = str(self.folder) if self.folder else None
        about = {"target": record["target"], "reused": self.reused, "seconds": record["seconds"]}
        return {**counts, **about, "folder": where}


def equalise(
    settings: Settings, samples: Sequence[Sample], pre_model: PreModel, *, model_key: str, seed: int, name: str = ""
) -> Equalised:
    """Equalise one client's images as `data.equalise` says.

    No problem with a vehicle or with the disk stops it: "warnings" of the record name the images that were left
    unchanged.

    Args:
        samples: training images, none enhanced.
        model_key: identifies the pre-model in the record's key.
        seed: of the enhancement.
        name: of the client, for the report.

    Raises ValueError without images, SettingsError for a task without embeddings or without that library."""
    if not samples:
        raise DataSetError("there are no images to equalise")
    require_library(settings, make_task(settings))
    earlier = equalised_before(settings, samples, model_key=model_key, seed=seed, name=name)
    if earlier is not None:
        return earlier
    files = EnhancedFiles(absolute(settings.data.equalise.folder))
    try:
        files.require_room()  # before a pre-model is trained
    except OSError as error:
        _log.warning("nothing is equalised, %s cannot be written: %s", files.folder, error)
        return Equalised(list(samples), _nothing(settings, samples, str(error)), None)
    record = _made(settings, samples, pre_model, files, seed)
    for warning in record["warnings"]:
        _log.warning("equalisation: %s", warning)
    try:
        folder = files.write_record(record_key(settings, samples, model_key, seed), record)
    except OSError as error:
        _log.warning("the record of equalisation cannot be stored, the next start computes it again: %s", error)
        return Equalised(_samples(samples, record, files), record, None)
    _report(record, folder, settings, samples, files, name)
    return Equalised(_samples(samples, record, files), record, folder)


def equalised_before(
    settings: Settings, samples: Sequence[Sample], *, model_key: str, seed: int, name: str = ""
) -> Equalised | None:
    """Result of `equalise` with these arguments at an earlier start; None if its record or an image is missing."""
    files = EnhancedFiles(absolute(settings.data.equalise.folder))
    key = record_key(settings, samples, model_key, seed)
    record = files.record(key)
    if record is None:
        return None
    _report(record, files.folder / key, settings, samples, files, name)
    return Equalised(_samples(samples, record, files), record, files.folder / key, reused=True)


def require_library(settings: Settings, task: Task) -> None:
    """Raises SettingsError if a task has no embeddings, or not those that images are to be compared by."""
    if not isinstance(task, EmbeddingTask):
        raise SettingsError(f"data.equalise: the task {settings.task} has no embeddings to compare images by")
    if settings.data.equalise.library:
        one_of("data.equalise.library", settings.data.equalise.library, task.libraries)


def _made(
    settings: Settings, samples: Sequence[Sample], pre_model: PreModel, files: EnhancedFiles, seed: int
) -> dict[str, Any]:
    """A new record, with the seconds of its parts."""
    started = time.monotonic()
    network = pre_model()
    seconds = {"pre_model": time.monotonic() - started, "embed": 0.0, "enhance": 0.0}
    record = EqualisationStep(settings, samples, network, files, seed, seconds).run()
    seconds["rest"] = time.monotonic() - started - sum(seconds.values())
    return {**record, "seconds": {name: round(value, 3) for name, value in seconds.items()}}


def _nothing(settings: Settings, samples: Sequence[Sample], reason: str) -> dict[str, Any]:
    """The record of an equalisation that could not be done."""
    nothing: dict[str, Any] = {name: [] for name in ("base", "suspects", "left_out", "kept", "refused", "drawn")}
    options = settings.data.equalise
    about = {"target": None, "threshold": options.base, "interval": list(options.interval), "library": options.library}
    warnings = [f"nothing is equalised, {absolute(options.folder)} cannot be written: {reason}"]
    return {**nothing, **about, "own": [None] * len(samples), "warnings": warnings, "seconds": {}}


def _report(
    record: Mapping[str, Any],
    folder: Path,
    settings: Settings,
    samples: Sequence[Sample],
    files: EnhancedFiles,
    name: str,
) -> None:
    """Write the report beside the record, unless it exists."""
    if (folder / "report.html").is_file():
        return
    from app.equalise.report import write_report  # matplotlib takes seconds to import

    title = ", ".join(filter(None, (settings.data.reader, name)))
    try:
        write_report(record, samples, files, folder, title=title)
    except OSError as error:
        _log.warning("the report of equalisation cannot be written: %s", error)


def _samples(samples: Sequence[Sample], record: Mapping[str, Any], files: EnhancedFiles) -> list[Sample]:
    """Training samples, from the client's own by a record."""
    out = set(record["left_out"])
    own = [sample for place, sample in enumerate(samples) if place not in out]
    more = [
        as_enhanced(
            samples[row["place"]], files.path(row["file"]), files.path(row["plate_file"]) if row["plate_file"] else None
        )
        for row in record["kept"]
    ]
    return own + more


def record_key(settings: Settings, samples: Sequence[Sample], model: str, seed: int) -> str:
    """The key of a record: of everything that it depends on; an image counts by name, size and time."""
    options = asdict(settings.data.equalise)
    for name in ("folder", "sample_down", "from_round", "model"):  # the places, and the treatment afterwards
        options.pop(name)
    rows: list[list[Any]] = []
    for sample in samples:
        try:
            state = image_file(sample.path).stat()
        except OSError:  # reported later, by its reader
            rows.append([repr(sample)])
        else:
            rows.append([repr(sample), state.st_size, state.st_mtime_ns])
    depends = [
        _VERSION,
        options,
        settings.task,
        keyed("model", settings.model),
        settings.train.precision,
        model,
        seed,
        rows,
    ]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]
