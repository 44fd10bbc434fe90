"""Types of the records in a run's files, as written by a server, and the state that they show."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from app.settings.tasks import known_tasks

Count = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Figure = Annotated[float, Field(ge=-1e300, le=1e300)]


PROGRESS = "progress.json"
RUNNING, ENDED, FAILED = STATES = ("running", "ended", "failed")


class LeftOut(BaseModel):
    """A client that was left out of a round."""

    client: str
    reason: str


class Round(BaseModel):
    """A line of `metrics.jsonl` of a federation."""

    server_round: Count
    attempts: Count
    seconds: Figure
    bytes_up: Count
    bytes_down: Count
    clients: dict[str, dict[str, Figure | None]]
    measures: dict[str, Figure | None]
    left_out: list[LeftOut]


class WaitingFor(BaseModel):
    """Sites that a run waits for before a round."""

    wanted: Count
    here: list[str]
    absent: list[str]
    refused: list[str]
    until: Figure


class Progress(BaseModel):
    """`progress.json`."""

    server_round: Count = 0
    attempt: Count = 0
    attempts: Count = 0
    cohort: list[str] = []
    waiting: list[str] = []
    share_sums: list[str] = []
    final: bool = False
    waiting_for: WaitingFor | None = None
    failed: str = ""


class _Federation(BaseModel):
    rounds: Count


class _Privacy(BaseModel):
    cipher: str


class RunSettings(BaseModel):
    """`settings.json`: the part shown in an overview of runs."""

    name: str
    federation: _Federation
    privacy: _Privacy


def _with_measures(row: dict[str, Any]) -> dict[str, Any]:
    for name in (name for task in known_tasks().values() for name in task.measures):
        if not isinstance(value := row.get(name), int | float | None) or isinstance(value, bool):
            raise ValueError(f"{name} is no number")
    return row


class Figures(BaseModel):
    """`summary.json` of a run that has ended: the part that is printed again."""

    run_dir: str
    models: dict[str, Annotated[dict[str, Any], AfterValidator(_with_measures)]]


class EndedRun(Figures):
    """`summary.json` of a run that has ended: the part in the table of a sweep."""

    seconds: Figure
    bytes_up: Count


def run_state(run: Path, progress: Mapping[str, Any]) -> str:
    """The state of a run by its folder and its `progress.json`; "running" also where the server was killed."""
    if (run / "summary.json").exists():
        return ENDED
    return FAILED if "failed" in progress else RUNNING


def last_sign(run: Path) -> float:
    """Time of the last sign of life of a run's server, in seconds since 1970; 0 before the first."""
    files = (run / name for name in ("settings.json", "metrics.jsonl", PROGRESS))
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)
