"""Export of a checkpoint's embedding network as ONNX, for a small computer with ONNX Runtime.

Run: python -m scripts.export run=outputs/two_cam/<time> out=network.onnx
     python -m scripts.export run=outputs/two_cam/<time> out=network.onnx pictures=500 data.eval_split=val

`model=global` (default) is any checkpoint of the run. Images of the run's data set, 256 of them (`pictures=256`), are
then embedded by PyTorch and by ONNX Runtime, in float32; if a value differs by more than 1e-4, no file is written.
`data=NAME data.root=FOLDER data.eval_split=SPLIT` select other images, `views=4` another number of views of an image
than the run's. The last line is one JSON object.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from app.core.errors import StoredFileError
from app.core.files import replacing
from app.core.outputs import require_file_place
from app.data.dataset import open_source
from app.register.embedder import Recogniser
from app.register.parity import compare, some_vehicles
from app.settings.checks import SettingsError
from app.settings.load import absolute
from app.settings.stored import with_overrides
from app.training.checkpoint import Checkpoint
from app.training.onnx_file import OnnxFile, write_onnx
from scripts.command import command, split_words, whole_number

MOST_DIFFERENCE, MOST_PICTURES = 1e-4, 1_000_000
_OWN = {"run": "", "model": "global", "out": "", "pictures": "256", "views": ""}


def main(argv: Sequence[str]) -> None:
    """Write the file and print the comparison. Raises ValueError, without a file, if the two do not agree."""
    own, words = split_words(argv, _OWN)
    for key in ("run", "out"):
        if not own[key]:
            raise SettingsError(f"{key}=... is missing")
    pictures = whole_number("pictures", own["pictures"], 1, MOST_PICTURES)
    out = absolute(own["out"])
    if out.suffix != ".onnx":
        raise SettingsError(f"out must end in .onnx, got {own['out']!r}")
    require_file_place("out", out)

    checkpoint = Checkpoint.read(absolute(own["run"]), own["model"])
    if own["views"]:
        checkpoint = checkpoint.with_views(whole_number("views", own["views"], 1, 4))
    settings = with_overrides(checkpoint.settings, words)
    directions = open_source(settings.data, settings.seed).evaluation(settings.data.eval_split)
    directions = some_vehicles(directions, pictures)
    recogniser = Recogniser(_plain_layout(checkpoint), "cpu")
    with replacing(out) as temporary:
        write_onnx(temporary, recogniser.task.graph(recogniser.network), checkpoint.digest, checkpoint.settings)
        parity = compare(recogniser, Recogniser(OnnxFile(temporary), "cpu"), directions)
        if not parity.largest_difference <= MOST_DIFFERENCE:  # nor is NaN
            raise StoredFileError(
                f"ONNX Runtime's embeddings differ from PyTorch's by up to {parity.largest_difference:.2g}, "
                f"more than {MOST_DIFFERENCE:g}: {own['out']} was not written"
            )
    if parity.different:
        print(f"{parity.different} of {parity.decisions} decisions differ", file=sys.stderr)
    about = {"file": str(out), "bytes": out.stat().st_size, "digest": checkpoint.digest}
    print(json.dumps({**about, **asdict(parity), "data": settings.data.reader, "split": settings.data.eval_split}))


def _plain_layout(checkpoint: Checkpoint) -> Checkpoint:
    """The settings with the default memory layout, since the graph does not depend on that of the training."""
    train = {**checkpoint.settings["train"], "channels_last": False}
    return replace(checkpoint, settings={**checkpoint.settings, "train": train})


if __name__ == "__main__":
    command(main, sys.argv[1:])
