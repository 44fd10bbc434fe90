"""Status of a run away from the server: at the operator's, from Flower's list and the run's log, and at a site."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from app.core.run_records import last_sign
from app.core.site_runs import SiteModelError, chosen_run, runs_in
from app.deployment import parties as p
from app.deployment.parties import DeploymentError, Kind
from models.errors import MissingFileError

_SECONDS = 120.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LEVEL = re.compile(r"^\s*(?:INFO|WARNING|ERROR)\s*:\s*")
_ROUND = re.compile(r"round (\d+)/(\d+), ([0-9.]+) s, (\d+) clients")
_LEFT_OUT = re.compile(r"left out ([^:]+): (.*?)(?=, left out |$)")
_VERSIONS = "has other versions than the server"


def run_folders(server: Path) -> list[Path]:
    """Folders of the runs below a server's `state/`, that of the last sign of life at the end."""
    state = server / p.STATE
    found = [path.parent for form in ("*", "outputs/*/*") for path in state.glob(f"{form}/settings.json")]
    return sorted(found, key=last_sign)


def newest_run_folder(server: Path) -> Path:
    """The folder of the last sign of life. Raises MissingFileError if there is none."""
    if not (found := run_folders(server)):
        raise MissingFileError(f"no run has begun below {server / p.STATE}; a run_dir elsewhere is given itself")
    return found[-1]


def operator_status(folder: Path, run: str = "") -> dict[str, Any]:
    """A run as the server says it: its state, rounds, the sites awaited and left out.

    Args:
        run: Flower's number of the run; "" for the newest.

    Raises DeploymentError if the server does not answer or has no such run."""
    listed = json.loads(_flower(folder, "list", "--format", "json"))
    runs = {str(row["run-id"]): row for row in listed.get("runs", [])}
    if not runs or (run and run not in runs):
        raise DeploymentError(f"the server has no run {run}".rstrip() + f"; it has {', '.join(runs) or 'none'}")
    chosen = run or max(runs, key=lambda number: str(runs[number].get("pending-at", "")))
    row = runs[chosen]
    lines = list(_sentences(_flower(folder, "log", chosen, "--show")))
    return {"run": chosen, "state": row.get("status", ""), "began": row.get("running-at", ""), **of_log(lines)}


def of_log(lines: list[str]) -> dict[str, Any]:
    """What the lines of a run's log say: the last round, what the run waits for since then, and whom it left out."""
    found: dict[str, Any] = {"round": 0, "rounds": None, "seconds": None, "clients": 0, "line": "", "waits": ""}
    left_out, versions = [], []
    for line in lines:
        if match := _ROUND.match(line):
            found |= {"round": int(match[1]), "rounds": int(match[2]), "seconds": float(match[3])}
            found |= {"clients": int(match[4]), "line": line, "waits": ""}
            left_out += [
                {"round": found["round"], "site": row[1], "reason": row[2]} for row in _LEFT_OUT.finditer(line)
            ]
        elif line.startswith("waiting for ") or "waits for share sums of" in line:
            found["waits"] = line
        elif line.startswith("final model:"):
            found |= {"line": line, "waits": ""}
        elif _VERSIONS in line:
            versions.append(line)
    return {**found, "left_out": left_out, "versions": versions}


def site_status(folder: Path, run: str = "") -> dict[str, Any]:
    """The runs that a site took part in, from its own files, the newest or the named one in detail.

    Raises MissingFileError or SiteModelError if there is none."""
    site = p.read_party(folder).name
    try:
        runs = runs_in(folder)
    except (MissingFileError, SiteModelError) as error:
        raise DeploymentError(f"{site} has taken part in no run yet: {error}") from error
    chosen = chosen_run(runs, run)
    models = sorted(path.name for path in chosen.models.glob("*.safetensors")) if chosen.models.is_dir() else []
    return {
        "site": site,
        "run": chosen.key,
        "round": max(chosen.store.rounds("global"), default=0),
        "trained": max(chosen.store.rounds("local"), default=0),
        "written": chosen.time.isoformat(timespec="seconds"),
        "models": models,
        "runs": [each.key for each in runs],
    }


def remote_status(folder: Path, run: str = "") -> dict[str, Any]:
    """The status that a party other than the server can see. Raises DeploymentError for the authority."""
    kind = p.read_party(folder).kind
    if kind is Kind.operator:
        return operator_status(folder, run)
    if kind is Kind.site:
        return site_status(folder, run)
    raise DeploymentError(f"{folder} is of the {kind}, which sees no runs")


def remote_table(status: dict[str, Any]) -> Table:
    """The status as a table for a terminal: a row for each key that says something."""
    table = Table(show_header=False)
    for key, value in status.items():
        shown = (
            [", ".join(map(str, row.values())) if isinstance(row, dict) else str(row) for row in value]
            if isinstance(value, list)
            else [str(value)]
        )
        if value or value == 0:
            table.add_row(key.replace("_", " "), Text("\n".join(shown)))
    return table


def _flower(folder: Path, *words: str) -> str:
    """Output of Flower's command in an operator's folder."""
    command = ["/bin/sh", str(folder / p.FLWR), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeploymentError(f"{folder / p.FLWR} {words[0]} gave no answer: {error}") from error
    if done.returncode or not done.stdout.strip():
        said = " ".join(_COLOUR.sub("", done.stderr or done.stdout).split())[-500:]
        raise DeploymentError(
            f"the server gave no answer to {words[0]}: {said or 'no output'}; python -m scripts.federation preflight "
            f"{folder} looks for the cause"
        )
    return done.stdout


def _sentences(log: str) -> Iterator[str]:
    """Lines of a run's log without colours and levels."""
    for line in log.splitlines():
        yield _LEVEL.sub("", _COLOUR.sub("", line)).strip()
