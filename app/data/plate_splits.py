"""Sets of plates that come without a split: three quarters to train, a quarter to test, no plate in both."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from app.data.name_lists import no_such_split
from app.data.reader import Direction, each_against_all
from app.data.sample import Sample

TEST_SHARE = 0.25
SPLITS = ("train", "test", "all")


def split_by_text(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Training and test samples, each in the order given; the same on every machine and for every seed.

    A photograph with several plates goes where one of them goes, and with it all photographs of these plates."""
    texts: dict[Path, list[str]] = {}
    for sample in samples:
        texts.setdefault(sample.path, []).append(sample.plate_text or "")
    groups = _connected(texts.values())
    names = sorted({min(group) for group in groups.values()})
    held = {names[i] for i in np.random.default_rng(0).permutation(len(names))[: round(TEST_SHARE * len(names))]}
    tested = [min(groups[sample.plate_text or ""]) in held for sample in samples]
    return (
        [sample for sample, test in zip(samples, tested, strict=True) if not test],
        [sample for sample, test in zip(samples, tested, strict=True) if test],
    )


def plate_direction(samples: Sequence[Sample], split: str, about: str) -> list[Direction]:
    """Every picture of a split against all. Raises ValueError for another split."""
    if split not in SPLITS:
        raise no_such_split(about, split, SPLITS)
    train, test = split_by_text(samples)
    chosen = {"train": train, "test": test, "all": list(samples)}[split]
    return [each_against_all("each_against_all", chosen)]


def numbered(texts: Sequence[str]) -> dict[str, int]:
    """A pid for each different text, from 0 in their order."""
    return {text: pid for pid, text in enumerate(sorted(set(texts)))}


def _connected(together: Iterable[Sequence[str]]) -> dict[str, set[str]]:
    """For each text those that a chain of photographs joins it with."""
    group: dict[str, set[str]] = {}
    for texts in together:
        merged = set(texts).union(*(group.get(text, set()) for text in texts))
        group.update(dict.fromkeys(merged, merged))
    return group
