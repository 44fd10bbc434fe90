"""A stored network of tokens, a tiny one, as a checkpoint and as an ONNX file, with what it answers.

Run: python tests/frozen/make_tokens.py tests/frozen/tokens-1

The folder is made once and stays as it is, as those of `make.py` do. The images are theirs.
"""

import json
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "helpers")]

from frozen_files import FROZEN, embeddings_of  # noqa: E402 - after sys.path

from app.core.arrays import float_arrays  # noqa: E402
from app.core.run_folder import RunFolder  # noqa: E402
from app.settings.load import load_settings  # noqa: E402
from app.tasks import make_task  # noqa: E402
from app.training.checkpoint import Checkpoint, save_checkpoint  # noqa: E402
from app.training.onnx_file import write_onnx  # noqa: E402

WORDS = (
    "model.vehicle.backbone=test_vit model.vehicle.options={token:class,embed_dim:16,depth:2,num_heads:2} "
    "model.vehicle.image_size=32 model.plate=null model.pooling=average model.embedding_dim=8 device=cpu "
    "train.precision=float32 evaluation.embedding=vehicle"
)


def main(folder: Path) -> None:
    """Write the folder. Raises FileExistsError if it is there."""
    folder.mkdir(parents=True)
    settings = load_settings(WORDS)
    task = make_task(settings)
    with RunFolder(folder) as kept:
        save_checkpoint(kept, "vit", float_arrays(task.build(4, 7)), settings, task)
    checkpoint = Checkpoint.read(folder, "vit")
    task, network = checkpoint.network(settings)
    write_onnx(folder / "vit.onnx", task.graph(network.eval()), checkpoint.digest, checkpoint.settings)
    expected = embeddings_of(folder / "vit.safetensors", FROZEN[0])
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
