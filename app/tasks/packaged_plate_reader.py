"""Values of the plate reader that comes with the package.

`app.training.packaged_reader` makes the file and reads the whole checkpoint; a network that starts from it needs the
values alone (`model.start=packaged`).
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import load

from app.core.arrays import Arrays
from app.core.packaged_file import FileMark, checked_content

READER = "plate_reader.safetensors"
FOLDER = Path(__file__).parents[1] / "training" / "packaged"
MARK = FileMark(1372444, "8a09c26d5ec0b6282a018a7f279f0d3e8804343f713f4ffc06b28c8e691ea501")


def packaged_values(path: Path = FOLDER / READER, mark: FileMark = MARK) -> Arrays:
    """Arrays of the network by name, float32. Raises as `checked_content` does."""
    return {name: array.astype(np.float32) for name, array in load(checked_content(path, mark, "plate reader")).items()}
