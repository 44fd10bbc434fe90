"""Cross-validation: a federation for each fold of the vehicles, and figures over the queries of all folds.

Run: python -m scripts.cross_validate folds=4 experiment=roadscene
Figures at any time: python -m scripts.cross_validate show=outputs/roadscene-sweep/<time>
Resume: python -m scripts.cross_validate resume=outputs/roadscene-sweep/<time>

The vehicles of the whole set, whatever its own splits, are divided into folds, sequences of photographs undivided. Each
vehicle is tested once, by models that did not train on its sequence. The runs are the jobs of a sweep
(`scripts.sweep`), which may have further keys: `seed=0,1,2`. Its folder also holds `folds.md`.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from app.core.files import replacing
from app.experiment.cross_validation import FOLD, FOLDS, pooled, pooled_table
from app.experiment.local_superlink import SimulationError
from app.experiment.sweeps import Sweep
from app.settings.load import SettingsError, absolute, load_settings, text_keys
from app.settings.overrides import sweep as combinations
from app.settings.tasks import task_modules
from scripts import sweep
from scripts.command import command, split_words, whole_number

_MOST = 100
_OWN = (FOLDS, FOLD, "data.eval_split", "data.val_split")


def main(argv: Sequence[str]) -> None:
    """Run, resume or show a cross-validation; the last line is a JSON object."""
    own, words = split_words(argv, {"folds": "", "show": "", "resume": ""})
    if own["show"] or own["resume"]:
        if len(argv) > 1:
            raise SettingsError("show=FOLDER and resume=FOLDER take all else from that folder")
        found = Sweep.read(absolute(own["show"] or own["resume"]))
        pooled(found)  # before hours of training: is it one?
        if own["resume"]:
            _run(found)
        else:
            report(found.path)
        return
    folds = whole_number("folds", own["folds"] or "4", 2, _MOST)
    if given := next((word for word in words if word.partition("=")[0] in _OWN), None):
        raise SettingsError(f"{given}: this command sets {', '.join(_OWN)}; folds=K says how many")
    for job in combinations(words, text_keys()):
        task = load_settings(job).task
        if not task_modules(task).embeds:
            raise SettingsError(
                f"task={task}: a cross-validation is of queries ranked by embeddings, which this task has none of"
            )
    parts = ",".join(str(fold) for fold in range(folds))
    words = [*words, f"{FOLDS}={folds}", f"{FOLD}={parts}", "data.eval_split=fold", "data.val_split="]
    _run(sweep.prepared(words, all_needed=True))


def _run(found: Sweep) -> None:
    """Run what has not ended, and report. Raises SimulationError after the report if a job has failed."""
    try:
        sweep.run(found)
    except SimulationError as error:
        report(found.path)
        again = f"resume={found.path} runs what failed, show={found.path} prints these figures"
        raise SimulationError(f"{error}; {again}") from error
    report(found.path)


def report(path: Path) -> None:
    """Print and write the figures over the folds of a sweep that have ended."""
    rows = pooled(Sweep.read(path))
    with replacing(path / "folds.md") as temporary:
        temporary.write_text(pooled_table(rows, markdown=True) + "\n", encoding="utf-8")
    print("over the queries of all folds, in per cent:")
    print(pooled_table(rows))
    print(json.dumps({"sweep": str(path), "folds": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    command(main, sys.argv[1:])
