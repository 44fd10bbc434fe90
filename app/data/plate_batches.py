"""Training batches of plates with their texts, real ones and made ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app.core.sample import Sample
from app.data.augment import Augmentation
from app.data.crops import ImageReader, Size
from app.data.readers.errors import DataSetError
from app.settings.augment import AugmentSettings
from app.synthetic.plates import MadePlate

MakePlate = Callable[[np.random.Generator], MadePlate]
_ROWS = 2  # of cells, of which a plate of one line uses the upper one


@dataclass
class PlateBatch:
    """Training images of N plates."""

    plates: Tensor  # (N, 3, H, W) uint8
    texts: list[list[int]]  # numbers of the alphabet
    frames: list[list[int]]  # the cell of each character of a rendered plate, row after row; empty where unknown
    bad: tuple[str, ...]

    @property
    def num_images(self) -> int:
        return len(self.plates)

    def to(self, device: torch.device, /) -> "PlateBatch":
        return replace(self, plates=self.plates.to(device, non_blocking=True))


class PlateBatches:
    """An endless stream of batches: of real plates each once in an epoch, in an order of its own, the last of one epoch
    beside the first of the next; of rendered plates never the same twice.

    Args:
        samples: plates with a text, at least one.
        encode: a text as numbers of the alphabet.
        columns: of the cells in which rendered plates have their characters.
        batch_size: plates in a batch.
        made_share: share of a batch that is made, in [0, 1]; with 1 the real ones only say how long an epoch is.
        make: draws a plate; None where `made_share` is 0.
        seed: not negative.

    Raises ValueError where there is no sample, or a share of rendered plates that nobody makes."""

    def __init__(
        self,
        samples: Sequence[Sample],
        image_reader: ImageReader,
        *,
        encode: Callable[[str], list[int]],
        columns: int,
        batch_size: int,
        made_share: float,
        make: MakePlate | None,
        seed: int,
        augment: AugmentSettings,
    ) -> None:
        if not samples:
            raise DataSetError("there is no plate with a text to learn from")
        self.samples = list(samples)
        self.image_reader = image_reader
        self.encode = encode
        self.columns = columns
        self.seed = seed
        self.made = round(made_share * batch_size)
        if 0 < made_share < 1:  # a little is not nothing
            self.made = min(max(self.made, 1), max(batch_size - 1, 1))
        self.real = batch_size - self.made
        if self.made and make is None:
            raise ValueError(f"{self.made} plates of a batch are to be made, and nothing makes them")
        self.make = make
        self.batches_per_epoch = -(-len(self.samples) // (self.real or batch_size))
        self.change = Augmentation(augment, plates=True)

    def __getitem__(self, index: int, /) -> PlateBatch:
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, index)))
        plates, texts, bad = [], [], []
        frames: list[list[int]] = []
        for place in self._places(index):
            sample = self.samples[place]
            image = self.image_reader.plate(sample)
            if image is None:
                bad.append(str(sample.plate_path or sample.path))
                continue
            plates.append(image)
            texts.append(self.encode(sample.plate_text or ""))
            frames.append([])
        for _ in range(self.made):
            assert self.make is not None
            made = self.make(rng)
            plates.append(sized(made.image, self._size))
            texts.append(self.encode(made.text))
            frames.append(frames_of(made, self.columns))
        if not plates:
            # Without their names, which tell plates: an error travels to the server.
            raise DataSetError(f"none of the {len(bad)} images of batch {index} can be read")
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return PlateBatch(self.change(torch.stack(plates), generator), texts, frames, tuple(bad))

    def _places(self, index: int) -> list[int]:
        """Places in `samples` of the real plates of a batch."""
        number = len(self.samples)
        positions = range(index * self.real, (index + 1) * self.real)
        orders = {epoch: self._order(epoch) for epoch in {position // number for position in positions}}
        return [int(orders[position // number][position % number]) for position in positions]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng(np.random.SeedSequence((self.seed, epoch, 1))).permutation(len(self.samples))

    @property
    def _size(self) -> Size:
        size = self.image_reader.plate_size
        assert size is not None
        return size


def sized(rendered: NDArray[np.uint8], size: Size) -> Tensor:
    """A rendered plate (h, w, 3) as input of a reader, (3, *size) uint8."""
    image = Image.fromarray(rendered)
    if (image.height, image.width) != size:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


def frames_of(plate: MadePlate, columns: int) -> list[int]:
    """The cell of each character, 0 to 2 * columns - 1, row after row; empty where the cells do not suffice.

    Cells ascend, as CTC needs it, and between two characters that are alike one is left blank. A character moves on to
    the next cell where its own is taken. Raises nothing: a plate without an alignment is still a plate."""
    cells: list[int] = []
    for index, (character, (across, _), line) in enumerate(zip(plate.text, plate.centres, plate.lines, strict=True)):
        if line >= _ROWS:
            return []
        column = min(max(int(across * columns), 0), columns - 1)
        cell = int(line) * columns + column
        if cells:
            alike = plate.text[index - 1] == character
            cell = max(cell, cells[-1] + (2 if alike else 1))
        if cell >= (int(line) + 1) * columns:
            return []
        cells.append(cell)
    return cells
