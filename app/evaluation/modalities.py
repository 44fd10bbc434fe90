"""Directions from one modality to the other."""

from collections.abc import Sequence

from app.data.readers.reader import Direction, both_ways


def across_modalities(directions: Sequence[Direction]) -> list[Direction]:
    """Infrared queries against the visible gallery, and the reverse, of each direction that has both sides.

    A direction with queries of one modality and a gallery of the other is kept; any other is split into
    "<name>/infrared_to_visible" and "<name>/visible_to_infrared", or those names alone if there is but one direction.
    Those without queries or without a gallery are left out."""
    found = []
    for direction in directions:
        if not direction.query or not direction.gallery:
            continue
        ways = both_ways(direction.query, direction.gallery)
        if any((direction.query, direction.gallery) == (way.query, way.gallery) for way in ways):
            found.append(direction)
            continue
        prefix = f"{direction.name}/" if len(directions) > 1 else ""
        found += [Direction(f"{prefix}{w.name}", w.query, w.gallery) for w in ways if w.query and w.gallery]
    return found
