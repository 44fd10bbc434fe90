"""Evaluation of a checkpoint on any data set.

Run: python -m scripts.evaluate run=outputs/two_cam/<time> data=two_cam data.eval_split=test
`model=global` (default), `central`, `local-client-0`, `personalised-client-0`, `stand_alone-client-0`, or `untrained`,
the network before training. `data=NAME` is any reader, `data.root=FOLDER` any folder of that layout.
`data.weather=rain` (night, fog, blur, glare) measures with queries in that weather against the gallery as it is;
`weather=all`, or `weather=rain,fog`, makes one table of several beside the queries as they are.
"""

import json
import sys
from collections.abc import Sequence

from app.core.arrays import float_arrays
from app.core.run_folder import format_table
from app.data.dataset import open_source
from app.evaluation.errors import EvaluationError
from app.experiment.baselines import Measures, calibration_directions, measure_arrays
from app.experiment.measurable import query_remarks
from app.experiment.weather import kinds_of, weather_rows, weather_table
from app.settings.load import SettingsError, absolute
from app.settings.stored import with_overrides
from app.tasks import make_task
from app.training.checkpoint import Checkpoint, settings_of_run, without_heads
from models.errors import FedVehicleReidError
from scripts.command import command, split_words


def main(argv: Sequence[str]) -> None:
    """Print a table, and as the last line a JSON object with mAP, rank1, rank5, mINP, queries and skipped, and of a
    task with embeddings the open-set measures of `app.evaluation.open_set`, calibrated on `data.val_split`."""
    own, words = split_words(argv, {"run": "", "model": "global", "weather": ""})
    if not own["run"]:
        raise SettingsError("run=RUN_FOLDER is missing")
    folder, model = absolute(own["run"]), own["model"]
    weathers = kinds_of(own["weather"], words)
    if model == "untrained":
        settings = with_overrides(settings_of_run(folder), words)
        task = make_task(settings)
        arrays = without_heads(float_arrays(task.build(1, settings.seed)), task)
    else:
        checkpoint = Checkpoint.read(folder, model)
        settings, arrays = with_overrides(checkpoint.settings, words), checkpoint.arrays
    source = open_source(settings.data, settings.seed)
    try:
        calibration = calibration_directions(source, settings)
        if weathers:
            rows = weather_rows(settings, arrays, source, weathers, calibration)
        else:
            directions = source.evaluation(settings.data.eval_split)
            rows = {model: measure_arrays(settings, arrays, directions, calibration)}
    except FedVehicleReidError as error:
        raise EvaluationError(f"{folder}, model {model}: {error}") from error
    print(weather_table(rows, settings.measures) if weathers else format_table(rows))
    for remark in query_remarks(rows):
        print(remark, file=sys.stderr)
    measures, *_ = rows.values()
    said: Measures = {"model": model, "data": settings.data.reader, "split": settings.data.eval_split}
    if weathers:
        said["by_weather"] = {kind: _of_all_directions(rows[kind]) for kind in weathers}
    elif settings.data.weather != "none":
        said["weather"] = settings.data.weather
    print(json.dumps({**measures, **said}))


def _of_all_directions(measures: Measures) -> Measures:
    return {name: value for name, value in measures.items() if name != "directions"}


if __name__ == "__main__":
    command(main, sys.argv[1:])
