"""Evaluation of a checkpoint on any data set.

Run: python -m scripts.evaluate run=outputs/two_cam/<time> data=two_cam data.eval_split=test
`model=global` (default), `central`, `local-client-0`, `stand_alone-client-0`, or `untrained`, the network before
training. `data=NAME` is any reader, `data.root=FOLDER` any folder of that layout.
"""

import json
import sys
from collections.abc import Sequence

from app.core.arrays import float_arrays
from app.core.run_folder import format_table
from app.data.dataset import open_source
from app.evaluation.errors import EvaluationError
from app.experiment.baselines import calibration_directions, measure_arrays
from app.settings.load import SettingsError, absolute
from app.settings.stored import with_overrides
from app.tasks import make_task
from app.training.checkpoint import Checkpoint, settings_of_run, without_heads
from models.errors import FedVehicleReidError
from scripts.command import command, split_words


def main(argv: Sequence[str]) -> None:
    """Print a table, and as the last line a JSON object with mAP, rank1, rank5, mINP, queries and skipped, and of a
    task with embeddings the open-set measures of `app.evaluation.open_set`, calibrated on `data.val_split`."""
    own, words = split_words(argv, {"run": "", "model": "global"})
    if not own["run"]:
        raise SettingsError("run=RUN_FOLDER is missing")
    folder, model = absolute(own["run"]), own["model"]
    if model == "untrained":
        settings = with_overrides(settings_of_run(folder), words)
        task = make_task(settings)
        arrays = without_heads(float_arrays(task.build(1, settings.seed)), task)
    else:
        checkpoint = Checkpoint.read(folder, model)
        settings, arrays = with_overrides(checkpoint.settings, words), checkpoint.arrays
    source = open_source(settings.data, settings.seed)
    directions = source.evaluation(settings.data.eval_split)
    try:
        measures = measure_arrays(settings, arrays, directions, calibration_directions(source, settings))
    except FedVehicleReidError as error:
        raise EvaluationError(f"{folder}, model {model}: {error}") from error
    print(format_table({model: measures}))
    print(json.dumps({**measures, "model": model, "data": settings.data.reader, "split": settings.data.eval_split}))


if __name__ == "__main__":
    command(main, sys.argv[1:])
