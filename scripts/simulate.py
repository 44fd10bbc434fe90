"""Simulation of a federation on this machine, with a comparison of its models.

Run: python -m scripts.simulate experiment=quickstart
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
from app.core.run_folder import RunFolder, format_table
from app.core.typed_json import require_shape
from app.core.versions import record_versions
from app.data.dataset import open_source
from app.data.partition import table
from app.experiment.averaged import averaged_remarks
from app.experiment.baselines import bad_pictures
from app.experiment.claim import claimed, run_path
from app.experiment.client_table import client_figures, client_text, write_client_csv
from app.experiment.compare import compare_models, node_stores
from app.experiment.held_out import chosen_by
from app.experiment.kept_overrides import OVERRIDES_FILE, read_overrides, run_overrides
from app.experiment.local_superlink import LocalSuperLink
from app.experiment.machine import check_machine
from app.experiment.measurable import query_remarks, require_measurable
from app.experiment.simulation import simulate
from app.federation.client_state import drop_moments
from app.settings.load import Settings, SettingsError, absolute, load_settings
from app.settings.tasks import measures
from app.tasks import make_task
from models.errors import MissingFileError
from scripts.command import command, first_line, split_words
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
    """Run one federation, or with `-m` a sweep (`scripts.sweep`); the last line is a JSON object."""
    own, words = split_words(argv, {"resume": ""})
    if own["resume"]:
        if len(argv) > 1:
            raise SettingsError("resume=RUN_FOLDER takes its settings from that folder and nothing else")
        resume(absolute(own["resume"]))
    elif "-m" in words or "--multirun" in words:
        from scripts import sweep  # which is built on this command

        sweep.main(words)
    else:
        settings = checked(words)
        start(words, run_path(settings, settings.name))


def checked(words: Sequence[str]) -> Settings:
    """The settings of a run that could be started here."""
    settings = load_settings(words)
    check_machine(settings)
    check(settings)
    return settings


def start(words: Sequence[str], path: Path, superlink: LocalSuperLink | None = None) -> dict[str, Any]:
    """Run a federation in a folder, with a SuperLink of its own or with that of several runs; its figures."""
    overrides = run_overrides(words, path)
    with claimed(path) as folder:
        (folder.path / OVERRIDES_FILE).write_text(overrides, encoding="utf-8")
        return _run(load_settings(overrides), folder, overrides, superlink)


def check(settings: Settings) -> None:
    """Raise errors that would stop every client, before anything is started or written."""
    source = open_source(settings.data, settings.seed)
    parts = source.parts(settings.federation.num_clients)
    task = make_task(settings)
    require_measurable(settings, source, task, settings.federation.num_clients)
    source.require_aligned()
    require_patterns(task.build(2, settings.seed, pretrained=False), settings.federation)
    if fit := next((samples for part in parts if (samples := task.learnable(part))), None):
        task.batches(fit, settings.seed)


def resume(path: Path, superlink: LocalSuperLink | None = None) -> None:
    """Go on with the run in a folder; of one that has ended the figures are printed again."""
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
        _run(settings, folder, overrides, superlink)


def _run(settings: Settings, folder: RunFolder, overrides: str, superlink: LocalSuperLink | None) -> dict[str, Any]:
    started = time.monotonic()
    print(f"run folder {folder.path}", file=sys.stderr)
    record_versions(folder.path)
    source = open_source(settings.data, settings.seed)  # here, so that not every client waits for synthetic images
    print(table(source.parts(settings.federation.num_clients)), file=sys.stderr)
    if said := chosen_by(settings, source, overrides):
        print(said, file=sys.stderr)
    for subject, remark in make_task(settings).remarks.items():
        print(f"{subject}: {remark}", file=sys.stderr)
    print("starting Flower: the first round begins in about half a minute", file=sys.stderr)
    with Progress(settings.federation.rounds, settings.data.val_split, settings.measures[0]) as progress:
        server = simulate(folder.path, overrides, settings, on_metrics=progress.round_done, superlink=superlink)
        compared = "".join(f", and training {name} to compare with" for name in settings.evaluation.compare)
        print(f"measuring on {settings.data.eval_split}{compared}", file=sys.stderr)
        models = compare_models(settings, folder, progress.step_done)
    remarks = averaged_remarks(settings, folder)
    for subject, remark in remarks.items():
        print(f"{subject}: {remark}", file=sys.stderr)
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
        "remarks": {**make_task(settings).remarks, **remarks},
        "models": models,
    }
    if figures := client_figures(models, settings.measures[0]):
        summary["clients"] = figures
        write_client_csv(figures, folder.path / "clients.csv")
    folder.write_summary({**server, **summary})
    print(f"measured on {settings.data.eval_split}:", file=sys.stderr)
    _print_figures(summary)
    for store in node_stores(folder).values():  # from here on the run cannot be resumed
        drop_moments(store)
    return summary


def _print_figures(summary: Mapping[str, Any]) -> None:
    shown = {model: row for model, row in summary["models"].items() if any(name in row for name in measures())}
    print(format_table(shown))
    for remark in query_remarks(shown):
        print(remark, file=sys.stderr)
    if summary.get("clients"):
        print(client_text(summary["clients"]))
    print(f"curves and ranked lists: {summary['run_dir']}")
    print(json.dumps({name: summary[name] for name in _PRINTED if name in summary}))


if __name__ == "__main__":
    command(main, sys.argv[1:])
