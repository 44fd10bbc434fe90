"""Simulate a federation on this machine and compare its models.

Run: python -m scripts.simulate experiment=quickstart
Sweep: python -m scripts.simulate -m experiment=quickstart federation.num_clients=2,4 loss.distillation_weight=0,1
Resume: python -m scripts.simulate resume=outputs/quickstart/<time>
"""

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from app.arrays import require_patterns
from app.comparison import bad_pictures
from app.data.partition import table
from app.data.source import open_source
from app.model_figures import OVERRIDES_FILE, compare_models
from app.results import MEASURES, RunFolder, format_table
from app.settings import Settings, SettingsError, absolute, load_settings
from app.simulation import simulate
from app.tasks import make_task
from scripts.command import command
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
"""What the last line gives of the summary."""


def main(argv: Sequence[str]) -> None:
    """Run one federation, or with `-m` one for each combination; the last line of each is a JSON object."""
    words = [word for word in argv if word not in ("-m", "--multirun")]
    resume = [word.removeprefix("resume=") for word in words if word.startswith("resume=")]
    if resume:
        if len(words) > 1:
            raise SettingsError("resume=RUN_FOLDER takes its settings from that folder and nothing else")
        _resume(absolute(resume[0]))
        return
    jobs = [words] if len(words) == len(argv) else sweep(words)
    summaries = [_start(job) for job in jobs]
    if len(jobs) > 1:
        rows = {" ".join(job): summary["models"]["global"] for job, summary in zip(jobs, summaries, strict=True)}
        print(format_table(rows))
        print(json.dumps({"jobs": [summary["run_dir"] for summary in summaries]}))


def sweep(words: Sequence[str]) -> list[list[str]]:
    """The combinations of a Hydra multirun: `a=1,2 b=range(3)` gives six lists of overrides."""
    parsed = OverridesParser.create().parse_overrides(list(words))
    return [list(job) for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def _start(words: Sequence[str]) -> dict[str, Any]:
    settings = load_settings(words)
    check(settings)
    if settings.run_dir:
        folder = RunFolder(absolute(settings.run_dir))
    else:
        folder = RunFolder.create(absolute("outputs"), settings.name)
    overrides = shlex.join([*words, f"run_dir={folder.path}"])
    (folder.path / "summary.json").unlink(missing_ok=True)  # of an earlier run: this one has not ended
    (folder.path / OVERRIDES_FILE).write_text(overrides, encoding="utf-8")
    return _run(load_settings(overrides), folder, overrides)


def check(settings: Settings) -> None:
    """Raise what would stop every client, before anything is started or written."""
    parts = open_source(settings.data, settings.seed).parts(settings.federation.num_clients)
    task = make_task(settings)
    require_patterns(task.build(2, settings.seed, pretrained=False), settings.federation)
    if fit := next((samples for part in parts if (samples := task.learnable(part))), None):
        task.batches(fit, settings.seed)


def _resume(path: Path) -> None:
    kept = path / OVERRIDES_FILE
    if not kept.exists():
        missing = f"{OVERRIDES_FILE} is missing" if path.is_dir() else "there is no such folder"
        raise FileNotFoundError(f"no run to resume in {path}: {missing}")
    folder = RunFolder(path)
    if (path / "summary.json").exists() and "models" in (summary := folder.read_summary()):
        print(f"the run in {path} has ended; its figures again:", file=sys.stderr)
        _print_figures(summary)
        return
    overrides = kept.read_text(encoding="utf-8") + " federation.resume=true"
    _run(load_settings(overrides), folder, overrides)


def _run(settings: Settings, folder: RunFolder, overrides: str) -> dict[str, Any]:
    started = time.monotonic()
    print(f"run folder {folder.path}", file=sys.stderr)
    source = open_source(settings.data, settings.seed)  # here, so that clients do not all wait for synthetic pictures
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
