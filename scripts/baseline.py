"""Train without a federation: one model on all pictures, or one model a client.

Run: python -m scripts.baseline mode=central experiment=two_cam
     python -m scripts.baseline mode=local experiment=two_cam
"""

import json
import sys
import time
from collections.abc import Sequence

from app.arrays import float_arrays
from app.comparison import checkpoint_metadata, mean_of_clients, measure, train_alone, without_classifier
from app.data.source import open_source
from app.results import RunFolder, format_table
from app.settings import SettingsError, absolute, load_settings
from scripts.command import command
from scripts.progress import Progress


def main(argv: Sequence[str]) -> None:
    """Train, measure on `data.eval_split`, write checkpoints, and print a JSON object last."""
    modes = [word.removeprefix("mode=") for word in argv if word.startswith("mode=")]
    if len(modes) != 1 or modes[0] not in ("central", "local"):
        raise SettingsError("mode must be given as mode=central or mode=local")
    words = [word for word in argv if not word.startswith("mode=")]
    settings = load_settings(words)
    if modes[0] == "central":
        settings = load_settings([*words, *settings.evaluation.central_overrides])
    folder = (
        RunFolder(absolute(settings.run_dir))
        if settings.run_dir
        else RunFolder.create(absolute("outputs"), f"{settings.name}-{modes[0]}")
    )
    folder.write_settings(settings.as_dict())
    source = open_source(settings.data, settings.seed)
    directions = source.evaluation(settings.data.eval_split)
    parts = (
        {"central": source.train()}
        if modes[0] == "central"
        else {f"client-{i}": part for i, part in enumerate(source.parts(settings.federation.num_clients))}
    )
    started, rows, reports, bad = time.monotonic(), {}, {}, {}
    with Progress(1) as progress:
        for name, samples in parts.items():
            task, network, report = train_alone(settings, samples, name, progress.step_done)
            rows[name] = measure(task, network, directions)
            reports[name] = {"pictures": report.num_pictures, "losses": report.losses, "seconds": report.seconds}
            bad |= task.bad_pictures
            arrays = without_classifier(float_arrays(network), settings)
            folder.save_arrays(name if name == "central" else f"stand_alone-{name}", arrays, checkpoint_metadata(settings))
    key = "central" if modes[0] == "central" else "stand_alone"
    models = {key: rows["central"] if key == "central" else mean_of_clients(rows)}
    summary = {
        "run_dir": str(folder.path),
        "seconds": round(time.monotonic() - started, 1),
        "training": reports,
        "bad_pictures": bad,
        "models": models,
    }
    folder.write_summary(summary)
    print(format_table(models))
    print(json.dumps(summary))


if __name__ == "__main__":
    command(main, sys.argv[1:])
