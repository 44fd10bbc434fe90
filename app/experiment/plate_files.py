"""Plates in image files: detected or whole images, cut out, and read in batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from app.core.sample import Box
from app.data.crops import Size, cut_image, with_margin
from app.evaluation.plate_texts import PlateReading
from app.images.decode import open_image, upright_rgb


@dataclass(frozen=True)
class FilePlate:
    """A plate of a file.

    Args:
        box: where it is in the upright image, pixels; None for all of it.
    """

    file: Path
    box: Box | None
    reading: PlateReading


@dataclass
class PlateFiles:
    """Reads the plates of files.

    Args:
        read: texts of images (N, 3, *size) uint8.
        size: of its input images.
        batch_size: plates at once.
        find: plates in an image, best first; None for files that show a plate and nothing else.
        on_bad: called for each file that cannot be read, with the reason.
    """

    read: Callable[[Tensor], Sequence[PlateReading]]
    size: Size
    batch_size: int
    find: Callable[[Image.Image], Sequence[Box]] | None = None
    on_bad: Callable[[Path, str], None] = lambda _, __: None
    files: int = field(default=0, init=False)
    bad: int = field(default=0, init=False)
    without: int = field(default=0, init=False)  # photographs in which no plate was found

    def plates(self, files: Iterable[Path]) -> Iterator[FilePlate]:
        """The plates of all files, in the order of the files."""
        waiting: list[tuple[Path, Box | None, Tensor]] = []
        for file in files:
            waiting += self._cut_out(file)
            while len(waiting) >= self.batch_size:
                yield from self._texts(waiting[: self.batch_size])
                del waiting[: self.batch_size]
        yield from self._texts(waiting)

    def _cut_out(self, file: Path) -> list[tuple[Path, Box | None, Tensor]]:
        self.files += 1
        try:
            with open_image(file) as opened:
                image = upright_rgb(opened)
        except FileNotFoundError:
            return self._refuse(file, "not found")
        except OSError as error:
            return self._refuse(file, str(error) or type(error).__name__)
        boxes = [None] if self.find is None else self.find(image)
        self.without += not boxes
        return [(file, box, cut_image(image, box and with_margin(box), self.size)) for box in boxes]

    def _refuse(self, file: Path, reason: str) -> list[tuple[Path, Box | None, Tensor]]:
        self.bad += 1
        self.on_bad(file, reason.splitlines()[0])
        return []

    def _texts(self, plates: Sequence[tuple[Path, Box | None, Tensor]]) -> Iterator[FilePlate]:
        if plates:
            readings = self.read(torch.stack([image for _, _, image in plates]))
            for (file, box, _), reading in zip(plates, readings, strict=True):
                yield FilePlate(file, box, reading)
