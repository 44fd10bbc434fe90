"""Counts of the measurable queries of an evaluation, without opening an image."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from app.core.sample import Sample
from app.data.readers.reader import Direction


class Counts(NamedTuple):
    """Of one direction.

    Args:
        matched: queries with a true match in the gallery, which alone are measured.
        cameras: of queries and gallery together.
    """

    queries: int
    gallery: int
    matched: int
    cameras: int


def count_matches(directions: Iterable[Direction]) -> dict[str, Counts]:
    """Counts of ranking directions, by name. A true match is an image of the query's vehicle from another camera."""
    return {each.name: _count(each.query, each.gallery) for each in directions}


def _count(query: Sequence[Sample], gallery: Sequence[Sample]) -> Counts:
    cameras: dict[int, set[int]] = {}
    for sample in gallery:
        cameras.setdefault(sample.pid, set()).add(sample.camid)
    matched = sum(bool(cameras.get(sample.pid, set()) - {sample.camid}) for sample in query)
    return Counts(len(query), len(gallery), matched, len({sample.camid for sample in (*query, *gallery)}))
