"""Words or plates in LMDB databases, the form in which sets for text recognition are commonly passed on."""

from collections.abc import Sequence
from pathlib import Path

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split
from app.data.readers.plate_crops import crops
from app.data.readers.reader import Direction, each_against_its_own
from app.images.files import DATABASE, NoImagesError, database_path, files_below
from app.images.lmdb import reading

_SPLITS = ("train", "val", "test")


class WordLmdb:
    """Reader of folders of databases; it needs the package lmdb (the extra `lmdb`).

    Layout, any number of databases below each folder, or one in it; val may be missing:

        train/MJ/data.mdb  train/ST/data.mdb  val/data.mdb  test/IIIT5k/data.mdb  test/SVT/data.mdb

    Keys of a database, counted from 1:

        num-samples             a number in text
        image-000000001         an image as it is in a file
        label-000000001         its text, UTF-8

    Images stay where they are: see `app.images.files` for their paths. Texts are in capitals. pid is the text,
    site the database; every image has a camid of its own.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """What lies below train, by database and key.

        Raises FileNotFoundError without a database there, ValueError naming a database and a key that it has not or
        that cannot be understood, OSError for a broken one, ImportError without the package lmdb."""
        return self._read(["train"])

    def evaluation(self, split: str) -> list[Direction]:
        """A direction for each database, named by its folder ("test/SVT"), of "train", "val", "test" or "all".

        Every image against all. Raises ValueError for another split, and the errors of `train`."""
        present = [name for name in _SPLITS if (self.root / name).is_dir()]
        if split not in (*present, "all"):
            raise no_such_split(f"{self.root}", split, (*present, "all"))
        samples = self._read(present if split == "all" else [split])
        return each_against_its_own(samples, lambda sample: sample.site or "")

    def _read(self, splits: Sequence[str]) -> list[Sample]:
        present = [self.root / split for split in splits if (self.root / split).is_dir()]
        folders = [file.parent for place in present for file in files_below(place, lambda name: name == DATABASE)]
        if not folders:
            raise NoImagesError(f"no {DATABASE} below {' or '.join(str(self.root / split) for split in splits)}")
        return crops(
            (database_path(folder, number), text, folder.relative_to(self.root).as_posix())
            for folder in folders
            for number, text in enumerate(_texts(folder), start=1)
        )


def _texts(folder: Path) -> list[str]:
    """The text of each image. Raises ValueError for a key that is missing or cannot be understood."""
    with reading(folder) as found:

        def value(key: str) -> bytes:
            if (content := found.get(key.encode())) is None:
                raise DataSetError(f"{folder / DATABASE} has no key {key!r}")
            return bytes(content)

        def text(key: str) -> str:
            try:
                return value(key).decode()
            except UnicodeDecodeError as error:
                raise DataSetError(f"{folder / DATABASE}, {key}: not UTF-8 text: {error}") from error

        count = text("num-samples")
        if not count.isdecimal():
            raise DataSetError(f"{folder / DATABASE}, num-samples: not a number: {count!r}")
        cursor = found.cursor()
        for number in range(1, int(count) + 1):
            if not cursor.set_key(f"image-{number:09d}".encode()):
                raise DataSetError(f"{folder / DATABASE} has no key 'image-{number:09d}'")
        return [text(f"label-{number:09d}") for number in range(1, int(count) + 1)]
