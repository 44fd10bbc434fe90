"""Training batches of plates with their texts, real ones and made ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app.data.pictures import Pictures
from app.data.sample import Sample
from app.data.transforms import Augmentation
from app.sections import AugmentSettings

MakePlate = Callable[[np.random.Generator], tuple[NDArray[np.uint8], str]]
"""Gives a picture (H, W, 3), R, G, B, and the text on it."""


@dataclass
class PlateBatch:
    """Training pictures of N plates."""

    plates: Tensor  # (N, 3, H, W) uint8
    texts: list[list[int]]  # numbers of the alphabet
    bad: tuple[str, ...]

    @property
    def num_pictures(self) -> int:
        return len(self.plates)

    def to(self, device: torch.device, /) -> "PlateBatch":
        return PlateBatch(self.plates.to(device, non_blocking=True), self.texts, self.bad)


class PlateBatches:
    """An endless stream of batches: of real plates each once in an epoch, in an order of its own, the last of one epoch
    beside the first of the next; of made plates never the same twice.

    Args:
        samples: plates with a text, at least one.
        encode: a text as numbers of the alphabet.
        batch_size: plates in a batch.
        made_share: share of a batch that is made, in [0, 1]; with 1 the real ones only say how long an epoch is.
        make: draws a plate; None where `made_share` is 0.
        seed: not negative.

    Raises ValueError where there is no sample, or a share of made plates that nobody makes."""

    def __init__(
        self,
        samples: Sequence[Sample],
        pictures: Pictures,
        *,
        encode: Callable[[str], list[int]],
        batch_size: int,
        made_share: float,
        make: MakePlate | None,
        seed: int,
        augment: AugmentSettings,
    ) -> None:
        if not samples:
            raise ValueError("there is no plate with a text to learn from")
        self.samples = list(samples)
        self.pictures = pictures
        self.encode = encode
        self.seed = seed
        self.made = round(made_share * batch_size)
        if 0 < made_share < 1:  # a little is not nothing
            self.made = min(max(self.made, 1), max(batch_size - 1, 1))
        self.real = batch_size - self.made
        if self.made and make is None:
            raise ValueError(f"{self.made} plates of a batch are to be made, and nothing makes them")
        self.make = make
        self.batches_per_epoch = -(-len(self.samples) // (self.real or batch_size))
        parts = {name: getattr(augment, name) for name in ("shift", "rotate", "zoom", "colour", "grey", "blur")}
        self.change = Augmentation(**parts, flip=0.0, erase=0.0)  # another character, or a missing one

    def __getitem__(self, index: int, /) -> PlateBatch:
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, index)))
        plates, texts, bad = [], [], []
        for place in self._places(index):
            sample = self.samples[place]
            picture = self.pictures.plate(sample)
            if picture is None:
                bad.append(str(sample.plate_path or sample.path))
                continue
            plates.append(picture)
            texts.append(self.encode(sample.plate_text or ""))
        for _ in range(self.made):
            assert self.make is not None
            drawn, text = self.make(rng)
            plates.append(self._sized(drawn))
            texts.append(self.encode(text))
        if not plates:
            # Without their names, which tell plates: an error travels to the server.
            raise ValueError(f"none of the {len(bad)} pictures of batch {index} can be read")
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return PlateBatch(self.change(torch.stack(plates), generator), texts, tuple(bad))

    def _places(self, index: int) -> list[int]:
        """Places in `samples` of the real plates of a batch."""
        number = len(self.samples)
        positions = range(index * self.real, (index + 1) * self.real)
        orders = {epoch: self._order(epoch) for epoch in {position // number for position in positions}}
        return [int(orders[position // number][position % number]) for position in positions]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng(np.random.SeedSequence((self.seed, epoch, 1))).permutation(len(self.samples))

    def _sized(self, drawn: NDArray[np.uint8]) -> Tensor:
        size = self.pictures.plate_size
        assert size is not None
        image = Image.fromarray(drawn)
        if (image.height, image.width) != size:
            image = image.resize(size[::-1], Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())
