"""Baselines without a federation: one model on all images, or one model a client.

Run: python -m scripts.baseline mode=central experiment=two_cam
     python -m scripts.baseline mode=local experiment=two_cam
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.run_folder import RunFolder, format_table
from app.core.versions import record_versions
from app.data.dataset import open_source
from app.experiment.baselines import ComparisonError, Measures, by_kind, comparison_jobs, comparison_settings, run_jobs
from app.experiment.claim import claimed, run_path
from app.experiment.compare import workers
from app.experiment.measurable import query_remarks, require_measurable
from app.settings.load import SettingsError, load_settings
from app.tasks import make_task
from scripts.command import command, split_words
from scripts.progress import Progress


def main(argv: Sequence[str]) -> None:
    """Train, measure on `data.eval_split`, write checkpoints, and print a JSON object last."""
    own, words = split_words(argv, {"mode": ""})
    if (mode := own["mode"]) not in ("central", "local"):
        raise SettingsError("mode must be given as mode=central or mode=local")
    settings = load_settings(words)
    kind = "central" if mode == "central" else "stand_alone"
    settings = comparison_settings(settings, kind, words)
    started = time.monotonic()
    source, task = open_source(settings.data, settings.seed), make_task(settings)
    require_measurable(settings, source, task)
    source.require_aligned()
    parts = len(source.parts(settings.federation.num_clients))
    name = f"{settings.name}-{mode}"
    with claimed(run_path(settings, name)) as folder:
        folder.write_settings(settings.as_dict())
        record_versions(folder.path)
        jobs = comparison_jobs({kind: settings}, folder.path, parts)
        with Progress(1) as progress:
            rows = run_jobs(jobs, workers(settings), progress.step_done)
        if all("error" in row for row in rows.values()):
            raise ComparisonError(next(iter(rows.values()))["error"])
        summary = _summary(folder, rows, time.monotonic() - started, task.remarks)
        folder.write_summary(summary)
    print(format_table(summary["models"]))
    for remark in query_remarks(summary["models"]):
        print(remark, file=sys.stderr)
    print(json.dumps(summary))


def _summary(
    folder: RunFolder, rows: Mapping[str, Measures], seconds: float, remarks: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "run_dir": str(folder.path),
        "seconds": round(seconds, 1),
        "bad_pictures": {path: reason for row in rows.values() for path, reason in row.get("bad_pictures", {}).items()},
        "remarks": remarks,
        "models": by_kind(rows),
    }


if __name__ == "__main__":
    command(main, sys.argv[1:])
