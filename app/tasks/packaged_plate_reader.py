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
MARK = FileMark(1372460, "a85bb22d6da9ecd2d5b7734e4da8eac59604c414befa8084e7d93dda67b2c45e")


def packaged_values(path: Path = FOLDER / READER, mark: FileMark = MARK) -> Arrays:
    """Arrays of the network by name, float32. Raises as `checked_content` does."""
    return {name: array.astype(np.float32) for name, array in load(checked_content(path, mark, "plate reader")).items()}
