"""Folder of a sweep: its jobs, what became of each, and their figures beside one another.

    sweep.json   0/ 1/ 2/ ... (run folders)   sweep.csv   sweep.md   sweep.png

`sweep.json` is written before the first job and after each failure; what has ended stands in the run folders.
"""

import csv
import io
import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from app.core.files import replacing
from app.core.run_folder import RunFolder
from app.core.run_records import EndedRun
from app.core.typed_json import require_shape
from app.settings.tasks import measures
from models.errors import FedVehicleReidError, MissingFileError

SWEEP_FILE = "sweep.json"
State = Literal["waiting", "cut off", "failed", "ended"]
_SEED = "seed"
_MB = 1_000_000


class SweepError(FedVehicleReidError, ValueError):
    """A folder that holds no sweep, or a damaged one."""


@dataclass
class Job:
    """One run of a sweep.

    Args:
        words: its overrides.
        folder: its run folder, relative to that of the sweep, or absolute.
        failed: why it failed; "" if it did not.
    """

    words: list[str]
    folder: str
    failed: str = ""


@dataclass
class Sweep:
    """The jobs of a sweep in their folder."""

    path: Path
    jobs: list[Job] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Sweep":
        """The sweep in a folder. Raises FileNotFoundError, SweepError for a damaged file."""
        file = path / SWEEP_FILE
        if not file.is_file():
            raise MissingFileError(f"no sweep in {path}: {SWEEP_FILE} is missing")
        try:
            return cls(path, TypeAdapter(list[Job]).validate_json(file.read_bytes()))
        except ValidationError as error:
            raise SweepError(f"{file} is damaged: {str(error).splitlines()[0]}") from error

    def write(self) -> None:
        """Keep the jobs, whole at any moment."""
        self.path.mkdir(parents=True, exist_ok=True)
        with replacing(self.path / SWEEP_FILE) as temporary:
            temporary.write_text(json.dumps([asdict(job) for job in self.jobs], indent=2) + "\n", encoding="utf-8")

    def folder_of(self, job: Job) -> Path:
        return self.path / job.folder

    def state_of(self, job: Job) -> State:
        """What became of a job; one that is running now counts as cut off."""
        folder = self.folder_of(job)
        if (folder / "summary.json").is_file() and "models" in RunFolder(folder).read_summary():
            return "ended"
        if job.failed:
            return "failed"
        return "cut off" if (folder / "metrics.jsonl").is_file() else "waiting"

    def rows(self) -> list["Row"]:
        """The jobs and their figures, in order."""
        keys = differing([job.words for job in self.jobs])
        return [self._row(job, chosen) for job, chosen in zip(self.jobs, keys, strict=True)]

    def _row(self, job: Job, keys: dict[str, str]) -> "Row":
        state = self.state_of(job)
        if state != "ended":
            return Row(keys, state, reason=job.failed if state == "failed" else "")
        folder = self.folder_of(job)
        summary = require_shape(folder / "summary.json", EndedRun, RunFolder(folder).read_summary())
        held = dict.fromkeys(name for found in summary["models"].values() for name in found)
        # The first one of the run's task; of a plug-in that this process has not used, the first of its figures.
        headline = next((name for name in measures() if name in held), next(iter(held), ""))
        models = {name: found.get(headline) for name, found in summary["models"].items()}
        figures = {name: float(value) for name, value in models.items() if isinstance(value, int | float)}
        return Row(keys, state, headline, figures, float(summary["seconds"]), summary["bytes_up"] / _MB)


@dataclass(frozen=True)
class Row:
    """One job in the table.

    Args:
        keys: overrides in which the jobs differ.
        headline: the measure of `models`.
        models: of each model, in [0, 1].
        seconds: of the whole job.
        mb_up: megabytes of all updates.
        reason: of a failure.
    """

    keys: dict[str, str]
    state: State
    headline: str = ""
    models: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    mb_up: float = 0.0
    reason: str = ""

    @property
    def label(self) -> str:
        return shlex.join(f"{key}={value}" for key, value in self.keys.items()) or "all the same"


def differing(jobs: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Of each job the overrides in which the jobs differ: key and value."""
    all_words = [dict(_parts(word) for word in words) for words in jobs]
    keys = list(dict.fromkeys(key for words in all_words for key in words))
    changed = [key for key in keys if len({words.get(key) for words in all_words}) > 1]
    return [{key: words[key] for key in changed if key in words} for words in all_words]


def _parts(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key.lstrip("+"), value


def by_seed(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Ended jobs that differ in seeds alone, where there are several, by what else is set."""
    groups = defaultdict[str, list[Row]](list)
    for row in rows:
        others = {key: value for key, value in row.keys.items() if not is_seed(key)}
        if row.state == "ended" and others != row.keys:
            groups[shlex.join(f"{key}={value}" for key, value in others.items())].append(row)
    return {label: found for label, found in groups.items() if len(found) > 1}


def is_seed(key: str) -> bool:
    """Whether a key is a seed: `seed`, `data.synthetic.seed`."""
    return key.rpartition(".")[2] == _SEED


def table(rows: Sequence[Row], *, markdown: bool = False) -> str:
    """A line for each job, then the mean and the standard deviation of those that differ in seeds alone."""
    names = _model_names(rows)
    headline = next((row.headline for row in rows if row.headline), "")
    head = [f"job ({headline})" if headline else "job", *names, "seconds", "MB up", ""]
    lines = [
        [row.label, *(_percent(row.models.get(name)) for name in names), *_costs(row), _remark(row)] for row in rows
    ]
    for label, group in by_seed(rows).items():
        spread = [_spread([row.models[name] for row in group if name in row.models]) for name in names]
        costs = [f"{mean(getattr(row, cost) for row in group):.1f}" for cost in ("seconds", "mb_up")]
        lines.append([f"{label} mean of {len(group)} seeds".strip(), *spread, *costs, ""])
    if markdown:
        text = [head, ["---"] * len(head), *lines]
        return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in text)
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    return "\n".join(_aligned(line, widths) for line in [head, *lines])


def as_csv(rows: Sequence[Row]) -> str:
    """The jobs as CSV: a column a key, a model (in [0, 1]), and a cost."""
    keys = list(dict.fromkeys(key for row in rows for key in row.keys))
    names = _model_names(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, "state", "measure", *names, "seconds", "mb_up", "reason"])
    for row in rows:
        figures = [row.models.get(name, "") for name in names]
        costs = [row.seconds, row.mb_up] if row.state == "ended" else ["", ""]
        writer.writerow(
            [*(row.keys.get(key, "") for key in keys), row.state, row.headline, *figures, *costs, row.reason]
        )
    return text.getvalue()


def _model_names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.models))


def _costs(row: Row) -> list[str]:
    return [f"{row.seconds:.1f}", f"{row.mb_up:.1f}"] if row.state == "ended" else ["-", "-"]


def _remark(row: Row) -> str:
    return "" if row.state == "ended" else f"{row.state}: {row.reason}" if row.reason else row.state


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "-"
    return f"{100 * mean(values):.2f} ({100 * stdev(values):.2f})"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *others, last = line
    cells = [f"{first:<{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=False))]
    return "  ".join([*cells, last]).rstrip()
