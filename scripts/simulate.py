"""Simulation of a federation on this machine, with a comparison of its models.

Run: python -m scripts.simulate experiment=quickstart
Sweep: python -m scripts.simulate -m experiment=quickstart federation.num_clients=2,4 loss.distillation_weight=0,1
Resume: python -m scripts.simulate resume=outputs/quickstart/<time>
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.core import run_records
from app.core.arrays import require_patterns
from app.core.run_folder import MEASURES, RunFolder, format_table
from app.core.typed_json import require_shape
from app.core.versions import record_versions
from app.data.dataset import open_source
from app.data.partition import table
from app.experiment.baselines import bad_pictures
from app.experiment.claim import claimed, run_path
from app.experiment.compare import compare_models
from app.experiment.kept_overrides import OVERRIDES_FILE, read_overrides, run_overrides
from app.experiment.measurable import require_measurable
from app.experiment.simulation import SimulationError, check_machine, simulate
from app.settings.load import Settings, SettingsError, absolute, load_settings, text_keys
from app.settings.overrides import sweep
from app.tasks import make_task
from models.errors import MissingFileError
from scripts.command import command, first_line, is_users, print_traceback, split_words
from scripts.progress import Progress

_PRINTED = (
    "run_dir",
    "rounds",
    "seconds",
    "seconds_federation",
    "bytes_up",
    "bytes_down",
    "converged",
    "left_out",
    "bad_pictures",
    "remarks",
    "models",
)
"""Keys of the summary in the last line."""


def main(argv: Sequence[str]) -> None:
    """Run one federation, or with `-m` one for each combination; the last line of each is a JSON object."""
    own, given = split_words(argv, {"resume": ""})
    words = [word for word in given if word not in ("-m", "--multirun")]
    if own["resume"]:
        if len(argv) > 1:
            raise SettingsError("resume=RUN_FOLDER takes its settings from that folder and nothing else")
        _resume(absolute(own["resume"]))
        return
    if len(words) == len(given):
        settings = _checked(words)
        _start(words, run_path(settings, settings.name))
    else:
        _start_all(sweep(words, text_keys()))


def _start_all(jobs: Sequence[Sequence[str]]) -> None:
    """Run one job after the other; a failed one is named at the end and does not stop the others.

    All are checked before the first is started. Raises SimulationError at the end if any has failed."""
    print(f"{len(jobs)} jobs", file=sys.stderr)
    settings = _checked_all(jobs)
    paths = _paths_of(settings)
    rows: dict[str, Mapping[str, Any]] = {}
    folders: list[str] = []
    failed: dict[str, str] = {}
    for number, (job, kept) in enumerate(zip(jobs, settings, strict=True), start=1):
        name = " ".join(job)
        path = paths[number - 1] or run_path(kept, kept.name)
        folders.append(str(path))
        print(f"job {number} of {len(jobs)}: {name}", file=sys.stderr)
        try:
            rows[name] = _start(job, path)["models"]["global"]
        except Exception as error:
            print_traceback(error)
            rows[name], failed[name] = {}, first_line(error)
            print(f"job {number} failed: {failed[name]}", file=sys.stderr)
    print(format_table(rows))
    for name, reason in failed.items():
        print(f"{name}: failed: {reason}")
    print(json.dumps({"jobs": folders, "failed": {folders[list(rows).index(name)]: failed[name] for name in failed}}))
    if failed:
        raise SimulationError(f"{len(failed)} of {len(jobs)} jobs failed: {'; '.join(failed)}")


def _checked_all(jobs: Sequence[Sequence[str]]) -> list[Settings]:
    """The settings of all jobs. Raises SettingsError naming each job that could not be started."""
    settings, wrong = [], []
    for job in jobs:
        try:
            settings.append(_checked(job))
        except Exception as error:
            if not is_users(error):
                raise
            wrong.append(f"{' '.join(job)}: {first_line(error)}")
    if wrong:
        split = " (-m splits values at commas; one in double quotes is kept whole)" if len(jobs) > 1 else ""
        raise SettingsError(f"nothing was started, because of {'; '.join(wrong)}{split}")
    return settings


def _paths_of(settings: Sequence[Settings]) -> list[Path | None]:
    """The run folder of each job that names one; jobs with the same folder get numbered subfolders."""
    given = [absolute(each.run_dir) if each.run_dir else None for each in settings]
    paths = [path / str(i) if path and given.count(path) > 1 else path for i, path in enumerate(given)]
    for path in paths:
        if path and path.is_dir():
            RunFolder(path).refuse_earlier_run()
    return paths


def _checked(words: Sequence[str]) -> Settings:
    settings = load_settings(words)
    check_machine(settings)
    check(settings)
    return settings


def _start(words: Sequence[str], path: Path) -> dict[str, Any]:
    overrides = run_overrides(words, path)
    with claimed(path) as folder:
        (folder.path / OVERRIDES_FILE).write_text(overrides, encoding="utf-8")
        return _run(load_settings(overrides), folder, overrides)


def check(settings: Settings) -> None:
    """Raise errors that would stop every client, before anything is started or written."""
    source = open_source(settings.data, settings.seed)
    parts = source.parts(settings.federation.num_clients)
    task = make_task(settings)
    require_measurable(settings, source, task, settings.federation.num_clients)
    require_patterns(task.build(2, settings.seed, pretrained=False), settings.federation)
    if fit := next((samples for part in parts if (samples := task.learnable(part))), None):
        task.batches(fit, settings.seed)


def _resume(path: Path) -> None:
    kept = path / OVERRIDES_FILE
    if not kept.exists():
        missing = f"{OVERRIDES_FILE} is missing" if path.is_dir() else "there is no such folder"
        raise MissingFileError(f"no run to resume in {path}: {missing}")
    folder = RunFolder(path)
    if (path / "summary.json").exists() and "models" in (summary := folder.read_summary()):
        require_shape(path / "summary.json", run_records.Figures, summary)
        print(f"the run in {path} has ended; its figures again:", file=sys.stderr)
        _print_figures(summary)
        return
    with claimed(path, resume=True) as folder:
        try:
            overrides = read_overrides(path) + " federation.resume=true"
            settings = load_settings(overrides)
        except (SettingsError, UnicodeDecodeError) as error:
            raise SettingsError(f"{kept}: {first_line(error)}") from error
        _run(settings, folder, overrides)


def _run(settings: Settings, folder: RunFolder, overrides: str) -> dict[str, Any]:
    started = time.monotonic()
    print(f"run folder {folder.path}", file=sys.stderr)
    record_versions(folder.path)
    source = open_source(settings.data, settings.seed)  # here, so that not every client waits for synthetic images
    print(table(source.parts(settings.federation.num_clients)), file=sys.stderr)
    for subject, remark in make_task(settings).remarks.items():
        print(f"{subject}: {remark}", file=sys.stderr)
    print("starting Flower: the first round begins in about half a minute", file=sys.stderr)
    with Progress(settings.federation.rounds, settings.data.val_split, settings.measures[0]) as progress:
        server = simulate(folder.path, overrides, settings, on_metrics=progress.round_done)
        compared = "".join(f", and training {name} to compare with" for name in settings.evaluation.compare)
        print(f"measuring on {settings.data.eval_split}{compared}", file=sys.stderr)
        models = compare_models(settings, folder, progress.step_done)
    summary = {
        "run_dir": str(folder.path),
        "rounds": server["rounds"],
        "seconds": round(time.monotonic() - started, 1),
        "seconds_federation": round(server["seconds"], 1),
        "bytes_up": server["bytes_up"],
        "bytes_down": server["bytes_down"],
        "converged": server["converged"],
        "left_out": server["left_out"],
        "bad_pictures": bad_pictures(folder.path),
        "remarks": make_task(settings).remarks,
        "models": models,
    }
    folder.write_summary({**server, **summary})
    print(f"measured on {settings.data.eval_split}:", file=sys.stderr)
    _print_figures(summary)
    return summary


def _print_figures(summary: Mapping[str, Any]) -> None:
    print(format_table({name: row for name, row in summary["models"].items() if any(name in row for name in MEASURES)}))
    print(f"curves and ranked lists: {summary['run_dir']}")
    print(json.dumps({name: summary[name] for name in _PRINTED if name in summary}))


if __name__ == "__main__":
    command(main, sys.argv[1:])
