"""Metrics of a federation's server: its newest run by the records in `state/`, and the sites by Flower's database.

Counters are those of the run that showed the last sign of life; they begin anew with the next one, as after a restart.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.prometheus import counter, counters, gauge, gauges
from app.core.run_folder import RunFolder
from app.core.run_records import PROGRESS, RUNNING, STATES, RunSettings, last_sign, run_state
from app.core.site_activity import parts_of
from app.core.typed_json import require_shape
from app.deployment.remote_status import run_folders
from app.settings.tasks import measures as task_measures
from strategies.client_names import name_fault

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_REASONS = (
    ("late", "no reply before the deadline|silent still"),
    ("gone", "error 5:|the message could not be sent"),
    ("process_ended", "error 8:"),
    ("policy", "refused by the site's policy"),
    ("not_approved", "is not approved at this site"),
    ("refused", "^refused:|answers as|proves no name"),
    ("shares", "dealt bad shares|clients are needed to open their sum|share sum"),
    ("unusable_sum", "sum cannot be used|sum was altered|(sum|aggregate) of round"),
    ("error", "^error "),
)
"""Kind of a reason, and what its sentence holds; the first that fits counts."""
REASONS = (*(kind for kind, _ in _REASONS), "other")
PARTS = ("data", "training", "encryption", "measuring", "other", "waiting")
"""Of a round, for each site; together they are the round's seconds."""
SITES = ("cohort", "answered", "awaited", "share_sums_awaited", "needed", "here", "absent", "refused")
MOST_SITES = 128
_PATTERNS = [(kind, re.compile(pattern)) for kind, pattern in _REASONS]
_NEW_RUN_SECONDS = 300.0  # two runs at once must not take turns

Parts = dict[str, float]


def kind_of(reason: str) -> str:
    """The kind of the reason for which a reply was left out, of a fixed number of kinds."""
    return next((kind for kind, pattern in _PATTERNS if pattern.search(reason)), REASONS[-1])


class RunRecords:
    """Reader of the newest run below a server's `state/`; it reads what has grown."""

    def __init__(self, server: Path) -> None:
        self.server = server
        self._run = Path()
        self._lines: tuple[tuple[Path, int, int], list[dict[str, Any]]] | None = None

    def states(self) -> dict[str, int]:
        """Number of runs by state."""
        found = Counter(dict.fromkeys(STATES, 0))
        for path in run_folders(self.server):
            found[run_state(path, _progress(path))] += 1
        return dict(found)

    def newest(self) -> Path | None:
        """Folder of the run that showed the last sign of life. One that runs stays, until it has been silent beside
        another for minutes."""
        folders = run_folders(self.server)
        if not folders:
            return None
        last = folders[-1]
        runs = self._run in folders and run_state(self._run, _progress(self._run)) == RUNNING
        if not runs or last_sign(last) - last_sign(self._run) >= _NEW_RUN_SECONDS:
            self._run = last
        return self._run

    def lines(self, run: Path) -> list[dict[str, Any]]:
        """Its rounds. Raises StoredFileError naming a damaged line."""
        path = run / "metrics.jsonl"
        if not path.exists():
            return []
        about = path.stat()
        mark = (run, about.st_mtime_ns, about.st_size)
        if self._lines is None or self._lines[0] != mark:
            self._lines = (mark, RunFolder(run).read_rounds())
        return self._lines[1]


def _progress(run: Path) -> dict[str, Any]:
    """`progress.json` unchecked; empty for a damaged one, which is named when the run is read."""
    try:
        found = json.loads((run / PROGRESS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class RunMetrics:
    """Metrics of the runs of a server. Counters never fall while a run is the newest: a round that is rolled back and
    run again counts once."""

    def __init__(self, server: Path) -> None:
        self._records = RunRecords(server)
        self._highest: dict[str, float] = {}
        self._of: Path | None = None

    def collect(self) -> Iterator["Metric"]:
        """Raises StoredFileError, OSError for records that cannot be read."""
        yield gauges("federation_server_runs", "Runs below state/ by state.", "state", self._records.states())
        run = self._records.newest()
        if run is None:
            return
        if run != self._of:
            self._of, self._highest = run, {}
        folder = RunFolder(run)
        settings, progress, lines = folder.read_settings(), folder.read_progress(), self._records.lines(run)
        require_shape(run / "settings.json", RunSettings, settings)
        state = run_state(run, progress)
        yield from self._of_run(settings, state, last_sign(run))
        yield from self._of_rounds(settings["federation"]["rounds"], lines, progress)
        yield from _of_sites(state, progress, lines)
        yield from self._by_site(lines)

    def _of_run(self, settings: Mapping[str, Any], state: str, sign: float) -> Iterator["Metric"]:
        about = gauge("federation_server_run_info", "The newest run.", labels=["experiment", "task", "cipher"])
        about.add_metric([settings["name"][:64], settings.get("task", ""), settings["privacy"]["cipher"]], 1)
        yield about
        states = {each: float(each == state) for each in STATES}
        yield gauges("federation_server_run_state", "1 for the state of the newest run.", "state", states)
        name = "federation_server_run_activity_timestamp_seconds"
        yield gauge(name, "Last sign of life of the newest run.", sign)

    def _of_rounds(self, rounds: int, lines: list[dict[str, Any]], progress: Mapping[str, Any]) -> Iterator["Metric"]:
        trained = [line for line in lines if line["attempts"]]  # the last line is the final model's
        grown, name = self._grown, "federation_server_"
        yield gauge(f"{name}rounds_planned", "Rounds of the newest run.", rounds)
        yield counter(f"{name}rounds", "Complete rounds of the newest run.", grown("rounds", len(trained)))
        begun = max(progress.get("attempts", 0), sum(line["attempts"] for line in trained))
        yield counter(f"{name}round_attempts", "Rounds begun, repeated ones included.", grown("attempts", begun))
        seconds = grown("seconds", sum(line["seconds"] for line in trained))
        yield counter(f"{name}round_seconds", "Seconds of complete rounds.", seconds)
        if trained:
            yield gauge(f"{name}last_round_seconds", "Seconds of the last complete round.", trained[-1]["seconds"])
        for way, about in (("up", "received"), ("down", "sent")):
            value = grown(about, sum(line[f"bytes_{way}"] for line in lines))
            yield counter(f"{name}{about}_bytes", f"Bytes of updates and models {about} by the server.", value)
        latest: dict[str, float] = {}
        for line in lines:
            latest |= {key: value for key, value in line["measures"].items() if value is not None}
        shares = {each: latest[f"global_{each}"] for each in task_measures() if f"global_{each}" in latest}
        yield gauges(f"{name}global_ratio", "Latest measures of the global model, of 1.", "measure", shares)
        if "loss_total" in latest:
            yield gauge(f"{name}loss", "Training loss of the last round, a mean over the sites.", latest["loss_total"])

    def _by_site(self, lines: list[dict[str, Any]]) -> Iterator["Metric"]:
        reasons = Counter(dict.fromkeys(REASONS, 0))
        left_out, replies, parts = Counter[str](), Counter[str](), dict[str, Parts]()
        for line in lines:
            for row in line["left_out"]:
                reasons[kind_of(row["reason"])] += 1
                left_out[row["client"]] += 1
            for site, row in line["clients"].items() if line["attempts"] else ():
                replies[site] += 1
                _add(parts.setdefault(site, dict.fromkeys(PARTS, 0.0)), _parts(row, line["seconds"]))
        names = _names({*left_out, *replies})
        name = "federation_server_"
        about = "Replies left out of the newest run by kind of reason."
        yield counters(f"{name}left_out", about, "reason", self._grown_by("left_out", reasons, REASONS))
        about = "Replies left out by site."
        yield counters(f"{name}site_left_out", about, "site", self._grown_by("site_left_out", left_out, names))
        about = "Updates in the sums of complete rounds by site."
        yield counters(f"{name}site_replies", about, "site", self._grown_by("replies", replies, names))
        about = "Seconds of complete rounds by site and part; waiting is for transport, other sites and the server."
        seconds = counter(f"{name}site_seconds", about, labels=["site", "part"])
        for site in names:
            for part, value in parts.get(site, {}).items():
                seconds.add_metric([site, part], self._grown(f"part {site} {part}", value))
        yield seconds

    def _grown_by(self, what: str, values: Mapping[str, float], keys: tuple[str, ...]) -> dict[str, float]:
        return {key: self._grown(f"{what} {key}", values.get(key, 0)) for key in keys}

    def _grown(self, what: str, value: float) -> float:
        self._highest[what] = max(value, self._highest.get(what, 0.0))
        return self._highest[what]


def _of_sites(state: str, progress: Mapping[str, Any], lines: list[dict[str, Any]]) -> Iterator["Metric"]:
    """Sites of the present round, and those that a run waits for."""
    done = max((line["server_round"] for line in lines if line["attempts"]), default=0)
    in_round = state == RUNNING and progress.get("server_round", 0) > done
    cohort = progress.get("cohort", []) if in_round else []
    awaited, sums = (progress.get(key, []) if in_round else [] for key in ("waiting", "share_sums"))
    missing = (progress.get("waiting_for") or {}) if state == RUNNING else {}
    absent, here = missing.get("absent", []), missing.get("here", [])
    counts = {
        "cohort": len(cohort),
        "answered": len(cohort) - len(awaited),
        "awaited": len(awaited),
        "share_sums_awaited": len(sums),
        "needed": missing.get("wanted", 0),
        "here": len(here),
        "absent": len(absent),
        "refused": len(missing.get("refused", [])),
    }
    about = "Sites of the present round, and while a run waits for sites, those needed, connected, absent and refused."
    yield gauges("federation_server_sites", about, "state", counts)
    names = _names({*cohort, *absent, *here, *(site for line in lines for site in line["clients"])})
    waits = {site: float(site in {*awaited, *sums, *absent}) for site in names}
    about = "1 for a site whose update, share sum or connection is awaited."
    yield gauges("federation_server_site_awaited", about, "site", waits)


def _parts(row: Mapping[str, Any], seconds: float) -> Parts:
    total = row.get("seconds_total") or 0.0
    return {**parts_of(row, total), "waiting": max(0.0, seconds - total)}


def _add(total: Parts, more: Parts) -> None:
    for part, value in more.items():
        total[part] += value


def _names(found: set[str]) -> tuple[str, ...]:
    """Names of sites alone: neither the server's own words nor numbers of nodes, and no more than a fixed number."""
    return tuple(sorted(name for name in found if not name_fault(name))[:MOST_SITES])
