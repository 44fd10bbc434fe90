"""Status of a run, from its run folder: rounds, bytes, measures, and the clients that are slow or left out."""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from app.core.run_folder import RunFolder
from app.core.run_records import RunSettings, last_sign, run_state
from app.core.typed_json import require_shape
from app.federation.recorder import sharing_sentence, waiting_sentence
from models.errors import MissingFileError
from strategies.rounds import THE_SUM

_SLOW = 1.5  # times the median of the clients' seconds in a round


def read_status(path: Path) -> dict[str, Any]:
    """The status for `python -m scripts.federation status --json`.

    "waiting" are the clients without an update in the present round, "share_sums" those whose share sum is missing;
    with "final" set those that have not answered the final model, of which they may be making models of their own.
    "clients" has for each client its rounds, the number and reason of its omissions, the seconds of its last round and
    whether it was a straggler in it. "state" is "running", "ended", or "failed" with its "reason"; a server that was
    killed reports nothing, and "silent_seconds" counts from its last sign of life. Raises FileNotFoundError for a
    folder in which no run has begun, and ValueError naming a damaged file."""
    if not (path / "settings.json").exists():
        raise MissingFileError(f"no run has begun in {path}")
    folder = RunFolder(path)
    settings, lines, progress = folder.read_settings(), folder.read_rounds(), folder.read_progress()
    require_shape(path / "settings.json", RunSettings, settings)
    rounds = settings["federation"]["rounds"]
    trained = [line for line in lines if line["attempts"]]  # the last line is the final model's
    last = trained[-1] if trained else None
    state = run_state(path, progress)
    in_round = state == "running" and progress.get("server_round", 0) > (last["server_round"] if last else 0)
    return {
        "run_dir": str(path),
        "experiment": settings["name"],
        "cipher": settings["privacy"]["cipher"],
        "state": state,
        "reason": progress.get("failed", ""),
        "silent_seconds": round(max(0.0, time.time() - last_sign(path)), 1),
        "round": last["server_round"] if last else 0,
        "rounds": rounds,
        "seconds_per_round": statistics.median(line["seconds"] for line in trained) if trained else None,
        "bytes_up": sum(line["bytes_up"] for line in lines),
        "bytes_down": sum(line["bytes_down"] for line in lines),
        "measures": _latest_measures(lines),
        "waiting": progress.get("waiting", []) if in_round else [],
        "share_sums": progress.get("share_sums", []) if in_round else [],
        "final": in_round and progress.get("final", False),
        "waiting_for": _missing(progress) if state == "running" else None,
        "attempt": progress.get("attempt", 0) if in_round else 0,
        "clients": {name: _client(name, trained, last) for name in _names(trained, progress)},
    }


def status_table(status: Mapping[str, Any]) -> Table:
    """The status as a table for a terminal."""
    measures = ", ".join(f"{name} {_shown(name, value)}" for name, value in status["measures"].items())
    title = f"{status['experiment']}, {status['state']}, round {status['round']} of {status['rounds']}"
    at_work = status["share_sums"] or status["waiting"]
    if at_work:
        attempt = f", attempt {status['attempt']}" if status["attempt"] > 1 else ""
        title += " (now the final model)" if status["final"] else f" (now round {status['round'] + 1}{attempt})"
    traffic = f"{status['bytes_up'] / 1e6:.1f} MB up, {status['bytes_down'] / 1e6:.1f} MB down, {status['cipher']}"
    if status["state"] == "running":
        title += f", last sign of life {status['silent_seconds']:.0f} s ago"
    missing = status["waiting_for"]
    waits = waiting_sentence(missing, missing["seconds_left"]) if missing else ""
    shares = sharing_sentence(status["share_sums"]) if status["share_sums"] else ""
    caption = "\n".join(line for line in (waits, shares, status["reason"], traffic, measures) if line)
    table = Table(title=Text(title), caption=Text(caption))
    for heading in ("site", "now", "rounds", "pictures", "loss", "seconds", "left out", "last reason"):
        table.add_column(heading, justify="left" if heading in ("site", "now", "last reason") else "right")
    for name, row in status["clients"].items():
        now = "working" if name in at_work else "answered" if at_work else ""
        table.add_row(
            Text(name),  # text cells are not parsed as markup
            now,
            str(row["rounds"]),
            "" if row["pictures"] is None else f"{row['pictures']:.0f}",
            "" if row["loss"] is None else f"{row['loss']:.3f}",
            "" if row["seconds"] is None else f"{row['seconds']:.1f}" + (" slow" if row["straggler"] else ""),
            str(row["left_out"]),
            Text(row["last_reason"]),
        )
    return table


def _missing(progress: Mapping[str, Any]) -> dict[str, Any] | None:
    """Connected and missing sites, and the seconds left to wait for the missing ones; None if the run does not wait."""
    waiting_for = dict(progress.get("waiting_for") or {})
    if not waiting_for:
        return None
    return {**waiting_for, "seconds_left": round(max(0.0, waiting_for.pop("until") - time.time()), 1)}


def _names(trained: list[dict[str, Any]], progress: Mapping[str, Any]) -> list[str]:
    found = set(progress.get("cohort", []))
    for line in trained:
        found |= set(line["clients"]) | {row["client"] for row in line["left_out"]}
    return sorted(found - {THE_SUM})


def _client(name: str, trained: list[dict[str, Any]], last: dict[str, Any] | None) -> dict[str, Any]:
    reasons = [row["reason"] for line in trained for row in line["left_out"] if row["client"] == name]
    measures = last["clients"].get(name, {}) if last else {}
    seconds = measures.get("seconds_total")
    taken = [row.get("seconds_total") for row in last["clients"].values()] if last else []
    others = [each for each in taken if each is not None]
    return {
        "rounds": sum(name in line["clients"] for line in trained),
        "pictures": measures.get("pictures"),
        "loss": measures.get("loss_total"),
        "seconds": seconds,
        "straggler": seconds is not None and len(others) > 2 and seconds > _SLOW * statistics.median(others),
        "left_out": len(reasons),
        "last_reason": reasons[-1] if reasons else "",
    }


def _latest_measures(lines: list[dict[str, Any]]) -> dict[str, float]:
    """The latest value of each measure of the global model, and of the loss."""
    found: dict[str, float] = {}
    for line in lines:
        found |= {k: v for k, v in line["measures"].items() if k.startswith("global_") or k == "loss_total"}
    return found


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "not finite"
    if name.endswith(("_queries", "_skipped")):
        return f"{value:g}"
    return f"{100 * value:.1f} %" if name.startswith("global_") else f"{value:.3f}"
