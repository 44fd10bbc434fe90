"""Folder of one run: settings, metrics by round, summary, checkpoints and charts.

    settings.json   metrics.jsonl   progress.json   summary.json   *.safetensors   *.png   events.out.tfevents.*

Whole files are written under a temporary name and renamed, so that a crash or a full disk leaves the old file. Only
`metrics.jsonl` grows, a line a round; half a line that a crash left at its end goes with the next line written.
"""

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from app.core import run_records
from app.core.errors import AlreadyThereError, HeldRunError, StoredFileError
from app.core.event_file import EventFile
from app.core.files import replacing, saving
from app.core.outputs import require_folder_place
from app.core.typed_json import require_shape
from app.settings import upgrades
from app.settings.tasks import measures
from models.errors import MissingFileError

_log = logging.getLogger(__name__)
ROUND = "server_round"
SERVER_CHECKPOINT = "server"
"""Name of the arrays that the server resumes from: ciphertexts, not a network."""


class RunFolder:
    """Reads and writes the files of one run; the folder is created if missing. Close it after the last round."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():  # an existing one may be read-only
            require_folder_place("run_dir", self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._metrics = self.path / "metrics.jsonl"
        self._events: EventFile | None = None
        self._lock = FileLock(self.path / ".lock", thread_local=False, fallback_to_soft=False)
        self._purge_step: int | None = None

    @classmethod
    def create(cls, root: Path, name: str) -> Self:
        """A new folder `root`/`name`/<time>; runs that start within one second get different ones."""
        start = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
        for suffix in ("", *(f"_{i}" for i in range(2, 1000))):
            path = Path(root) / name / f"{start}{suffix}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            return cls(path)
        raise AlreadyThereError(f"no free folder for {start} in {Path(root) / name}")

    @classmethod
    def existing(cls, path: Path) -> Self:
        """The folder of an existing run. Raises FileNotFoundError if there is none."""
        if not path.is_dir():
            raise MissingFileError(f"run folder not found: {path}")
        return cls(path)

    def hold(self) -> None:
        """Keep every other process from holding this folder, until `close`. Raises RuntimeError if one does."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise HeldRunError(f"another run is writing to {self.path}") from error

    def refuse_earlier_run(self) -> None:
        """Raise FileExistsError if the folder holds results that a new run would replace or mix with its own.

        Overrides and settings of a start that failed before any client worked are no results."""
        if what := self._earlier_run():
            raise AlreadyThereError(
                f"{self.path} holds an earlier run {what}: give another run_dir, or resume it (resume={self.path}, "
                "or federation.resume=true where sites are on other machines)"
            )

    def _earlier_run(self) -> str:
        """Progress of an earlier run; "" if there was none."""
        if lines := self.read_metrics():
            return f"of {max(line[ROUND] for line in lines)} rounds"  # the final model has a line of its own
        if (self.path / "summary.json").exists() or any(self.path.glob("*.safetensors")):
            return "with its results"
        if self.read_progress().get("attempts"):
            return "that was cut off in its first round"
        kept = [name for name in ("nodes", "keys") if any(each.is_file() for each in (self.path / name).rglob("*"))]
        return f"that was cut off before its first round, and left {' and '.join(kept)}" if kept else ""

    def clear(self) -> None:
        """Delete files of an earlier run that would be mistaken for the new one's."""
        for name in ("summary.json", run_records.PROGRESS, "server.safetensors"):
            (self.path / name).unlink(missing_ok=True)
        self.drop_metrics_from(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write the settings of the run to `settings.json`."""
        _write_json(self.path / "settings.json", {upgrades.KEY: upgrades.RUN.version, **settings})

    def read_settings(self) -> dict[str, Any]:
        """The settings in `settings.json`, upgraded. Raises FileNotFoundError, SettingsVersionError for newer ones."""
        kept = self.read_stored_settings()
        return upgrades.RUN.upgraded(self.path / "settings.json", kept.pop(upgrades.KEY, None), kept)

    def read_stored_settings(self) -> dict[str, Any]:
        """The settings in `settings.json` as the version that began the run wrote them. Raises FileNotFoundError."""
        return _read_json(self.path / "settings.json")

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the final figures of the run to `summary.json`."""
        _write_json(self.path / "summary.json", summary)

    def forget_summary(self) -> None:
        """Delete `summary.json`: an ended run is resumed."""
        (self.path / "summary.json").unlink(missing_ok=True)

    def read_summary(self) -> dict[str, Any]:
        """The figures in `summary.json`. Raises FileNotFoundError if the run did not end."""
        return _read_json(self.path / "summary.json")

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Write the progress of the present round to `progress.json`, plain values in one line: it is written after
        every reply, and names all clients that are awaited."""
        with replacing(self.path / run_records.PROGRESS) as temporary:
            temporary.write_text(json.dumps(progress, allow_nan=False) + "\n", encoding="utf-8")

    def read_progress(self) -> dict[str, Any]:
        """The content of `progress.json`; empty before the first round. Raises ValueError naming a damaged file."""
        path = self.path / run_records.PROGRESS
        return require_shape(path, run_records.Progress, _read_json(path)) if path.exists() else {}

    def append_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Add one line to `metrics.jsonl`; it is on the disk when this returns, or not there at all if it raises.

        Floats that are not finite become null. Raises ValueError unless `metrics["server_round"]` is an integer.
        """
        if not isinstance(metrics.get(ROUND), int | np.integer):
            raise ValueError(f"metrics need an integer {ROUND!r}, got {metrics.get(ROUND)!r}")
        line = json.dumps(_plain(metrics), allow_nan=False).encode() + b"\n"
        self._metrics.touch()
        end = _end_of_whole_lines(self._metrics)
        os.truncate(self._metrics, end)
        try:
            with self._metrics.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            os.truncate(self._metrics, end)  # a full disk may have taken half of the line
            raise

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, oldest first; empty before the first round.

        Raises ValueError, naming the line, for one that is not of a round and is not merely cut off at the end.
        """
        if not self._metrics.exists():
            return []
        whole = self._metrics.read_bytes()[: _end_of_whole_lines(self._metrics)]
        rows = []
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise StoredFileError(f"{self._metrics}, line {number}: not JSON") from error
            if not isinstance(row, dict) or type(row.get(ROUND)) is not int:
                raise StoredFileError(f"{self._metrics}, line {number}: no line of a round, it has no {ROUND!r}")
            rows.append(row)
        return rows

    def read_rounds(self) -> list[dict[str, Any]]:
        """`read_metrics` of a federation. Raises ValueError, naming the line, for one that its server did not write."""
        rows = self.read_metrics()
        for number, row in enumerate(rows, start=1):
            require_shape(f"{self._metrics}, line {number}", run_records.Round, row)
        return rows

    def drop_metrics_from(self, server_round: int) -> None:
        """Delete the lines of `server_round` and later, which a resumed run measures again."""
        kept = [row for row in self.read_metrics() if row[ROUND] < server_round]
        if self._metrics.exists() and _end_of_whole_lines(self._metrics) < self._metrics.stat().st_size:
            _log.warning("%s: half a line at its end, which a crash left, is dropped", self._metrics)
        with replacing(self._metrics) as temporary:
            temporary.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in kept))
        self._close_events()
        self._purge_step = server_round

    def save_arrays(
        self, name: str, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
    ) -> Path:
        """Write `name`.safetensors and return its path; a failure leaves an older file of that name whole."""
        path = self._array_path(name)
        with saving(path) as temporary:
            # safetensors writes an array's memory as it is, so a transposed view has to be made contiguous first
            save_file({key: np.asarray(a, order="C") for key, a in arrays.items()}, temporary, dict(metadata or {}))
        return path

    def load_arrays(self, name: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Arrays and metadata of `name`.safetensors. Raises FileNotFoundError if it is not there."""
        path = self._array_path(name)
        if not path.is_file():
            others = sorted({each.stem for each in self.path.glob("*.safetensors")} - {SERVER_CHECKPOINT})
            choose = f"; model={others[0]} takes the first" if others else ""
            raise MissingFileError(f"no saved arrays: {path}; there are: {', '.join(others) or 'none'}{choose}")
        try:
            with safe_open(path, framework="numpy") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118 - no dict
        except (SafetensorError, OSError) as error:  # neither names the file
            raise StoredFileError(f"damaged file {path}: {error}") from error

    def has_arrays(self, name: str) -> bool:
        """Whether there are saved arrays of this name."""
        return self._array_path(name).is_file()

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add TensorBoard points, names such as "global/mAP"; does nothing where tensorboard is not installed."""
        if self._events is None:
            try:
                self._events = EventFile(self.path, self._purge_step)
            except ImportError:
                return
        self._events.add(values, step)

    def close(self) -> None:
        """Release the folder and close the TensorBoard events; later points go into another file."""
        self._lock.release(force=True)
        self._close_events()

    def _close_events(self) -> None:
        if self._events:
            self._events.close()
        self._events = None

    def _array_path(self, name: str) -> Path:
        return self.path / f"{name}.safetensors"


def format_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A plain table, one line a model, of measures in percent; "-" for a missing figure, no column without figures."""
    rows = {name: {**row, **row.get("open_set", {})} for name, row in rows.items()}
    columns = {c: max(9, len(c) + 2) for c in measures() if any(c in row for row in rows.values())}
    width = max(map(len, ["model", *rows]))
    lines = ["".join([f"{'model':<{width}}", *(f"{column:>{wide}}" for column, wide in columns.items())])]
    for name, row in rows.items():
        lines.append("".join([f"{name:<{width}}", *(f"{_percent(row.get(c)):>{wide}}" for c, wide in columns.items())]))
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.2f} %"


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(_plain(values), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise StoredFileError(f"{path}: not JSON") from error
    if not isinstance(values, dict):
        raise StoredFileError(f"{path}: no JSON object")
    return values


def _plain(value: Any) -> Any:
    """`value` in the types of JSON: None for a float that is not finite, lists for arrays, text for paths."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _end_of_whole_lines(path: Path) -> int:
    """Bytes up to and including the last line end."""
    return path.read_bytes().rfind(b"\n") + 1
