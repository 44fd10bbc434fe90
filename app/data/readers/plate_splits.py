"""Sets of plates that come without a split: three quarters to train, a quarter to test, no plate in both."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from app.core.sample import Sample
from app.data.readers.name_lists import no_such_split
from app.data.readers.reader import Direction, each_against_all

TEST_SHARE = 0.25
SPLITS = ("train", "test", "all")


def split_by_text(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Training and test samples, each in the order given; the same on every machine and for every seed.

    A photograph with several plates goes where one of them goes, and with it all photographs of these plates."""
    texts: dict[Path, list[str]] = {}
    for sample in samples:
        texts.setdefault(sample.path, []).append(sample.plate_text or "")
    groups = connected(texts.values())
    names = sorted({min(group) for group in groups.values()})
    held = {names[i] for i in np.random.default_rng(0).permutation(len(names))[: round(TEST_SHARE * len(names))]}
    tested = [min(groups[sample.plate_text or ""]) in held for sample in samples]
    return (
        [sample for sample, test in zip(samples, tested, strict=True) if not test],
        [sample for sample, test in zip(samples, tested, strict=True) if test],
    )


class PlatePhotographs:
    """What the readers of such sets have in common; each brings `_read`, all samples in a fixed order."""

    about: str

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """Three quarters of the plates.

        Raises FileNotFoundError naming a missing folder, list or image, ValueError naming a line of another form."""
        return split_by_text(self._read())[0]

    def evaluation(self, split: str) -> list[Direction]:
        """Every image against all, of "train", "test" or "all"; made for detection and reading, not for re-ID.

        Raises ValueError for another split, and the errors of `train`."""
        if split not in SPLITS:
            raise no_such_split(self.about, split, SPLITS)
        samples = self._read()
        train, test = split_by_text(samples)
        chosen = {"train": train, "test": test, "all": samples}[split]
        return [each_against_all("each_against_all", chosen)]

    def _read(self) -> list[Sample]:
        raise NotImplementedError


def numbered(texts: Sequence[str]) -> dict[str, int]:
    """A pid for each different text, from 0 in their order."""
    return {text: pid for pid, text in enumerate(sorted(set(texts)))}


def connected(together: Iterable[Sequence[str]]) -> dict[str, set[str]]:
    """For each text those that a chain of photographs joins it with."""
    group: dict[str, set[str]] = {}
    for texts in together:
        merged = set(texts).union(*(group.get(text, set()) for text in texts))
        group.update(dict.fromkeys(merged, merged))
    return group
