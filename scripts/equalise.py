"""Equalisation of images without training on them: enhanced images by vehicle, and labels in doubt.

Run: python -m scripts.equalise experiment=two_cam data.equalise.target=median data.equalise.model=FILE
     python -m scripts.equalise run=outputs/two_cam/<time> data.equalise.target=median

All training images of the settings, or with `client=NUMBER` those of one simulated client. With `run=` the settings
and the pre-model are those of a run folder, `model=global` (default), `central` or another of its checkpoints. Without
`data.equalise.target` no image is added, and only wrong labels are searched for.

`report.html` and `report.png` lie beside the record, in `data.equalise.folder`. They show images of vehicles: keep them
at the site. Warnings go to standard error; the last line is one JSON object. docs/equalise.md says more.
"""

import json
import logging
import sys
from collections.abc import Sequence

from app.core.errors import UnwritableError
from app.core.sample import Sample
from app.data.dataset import open_source
from app.equalise.run import require_library
from app.equalise.store import EnhancedFiles
from app.experiment.baselines import equalise_alone
from app.settings.load import Settings, SettingsError, absolute, load_settings
from app.settings.overrides import override
from app.settings.stored import with_overrides
from app.tasks import make_task
from app.training.checkpoint import Checkpoint
from scripts.command import command, split_words, whole_number


def main(argv: Sequence[str]) -> None:
    """Write record and report; print warnings, and as the last line the numbers as JSON."""
    of_run = any(word.startswith("run=") for word in argv)
    # Without a run `model=NAME` is the settings' own choice of a network.
    own, words = split_words(argv, {"client": "", **({"run": "", "model": "global"} if of_run else {})})
    settings = run_settings(own["run"], own["model"], words) if of_run else load_settings(words)
    options = settings.data.equalise
    require_library(settings, make_task(settings))  # before any image is listed
    name, samples = images_of(settings, own["client"])
    files = EnhancedFiles(absolute(options.folder))
    try:
        files.require_room()
    except OSError as error:
        raise UnwritableError(f"data.equalise.folder: {files.folder} cannot be written: {error}") from error
    logging.getLogger("flwr").addHandler(logging.NullHandler())  # logged warnings are in the record too
    found = equalise_alone(settings, samples, name, always=True)
    assert found is not None
    for warning in found.record["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    if found.folder is None:
        place = f"data.equalise.folder: {files.folder}"
        raise UnwritableError(f"{place} cannot be written, there is no folder for the report")
    report = found.folder / "report.html"
    print(json.dumps({**found.summary, "report": str(report) if report.is_file() else None}))


def run_settings(run: str, model: str, words: Sequence[str]) -> Settings:
    """The settings of a run with overrides, its checkpoint being the pre-model. Raises SettingsError and the errors of
    `Checkpoint.read`."""
    if not run:
        raise SettingsError("run=RUN_FOLDER is missing")
    folder = absolute(run)
    file = folder / f"{model}.safetensors"
    return with_overrides(Checkpoint.read(folder, model).settings, [override("data.equalise.model", file), *words])


def images_of(settings: Settings, client: str) -> tuple[str, list[Sample]]:
    """Name and images for the equalisation: a simulated client's, or for "" all of them.

    Raises SettingsError if there are none or no such client."""
    source = open_source(settings.data, settings.seed)
    if not client:
        name, samples = "central", source.union(settings.federation.num_clients)
    else:
        parts = source.parts(settings.federation.num_clients)
        number = whole_number("client", client, 0, len(parts) - 1)
        name, samples = f"client-{number}", parts[number]
    if not samples:
        raise SettingsError(f"{settings.data.reader} has no training images for {name}")
    return name, samples


if __name__ == "__main__":
    command(main, sys.argv[1:])
