"""The nearest vehicles by plain loops, which searches of an index are compared with."""

import numpy as np
import pytest
from registers import LIBRARIES, vectors


def dot(first, second):
    return sum(float(a) * float(b) for a, b in zip(first, second, strict=True))


def usual(row, held, without):
    """Mean of the three best similarities to vehicles but these; of fewer, of those there are."""
    best = [max(dot(row, view) for view in views) for vehicle, views in held.items() if vehicle not in without]
    best = sorted(best, reverse=True)[:3]
    return sum(best) / len(best) if best else 0.0


def slow_search(held, photographs, limit):
    """Vehicle, score and cosine from the formula of local scaling, in float64, vehicle by vehicle."""
    found = []
    for vehicle, views in held.items():
        around = [usual(row, held, {vehicle}) for row in views]
        cosine, score = 0.0, 0.0
        for photo in photographs:
            similarities = [dot(row, photo) for row in views]
            cosine += max(similarities)
            scaled = max(value - its / 2 for value, its in zip(similarities, around, strict=True))
            score += scaled - usual(photo, held, {vehicle}) / 2
        found.append((-score / len(photographs), vehicle, cosine / len(photographs)))
    return [(vehicle, -score, cosine) for score, vehicle, cosine in sorted(found)[:limit]]


def compare(index, held, rng):
    for name in LIBRARIES:
        for count in (1, 3):
            photographs = np.stack([vectors(rng)[name] for _ in range(count)])
            found = index.search(name, photographs, 4)
            wanted = slow_search(held[name], photographs.astype(np.float64), 4)
            assert [candidate.vehicle for candidate in found] == [vehicle for vehicle, _, _ in wanted]
            # dot products of up to six float32 values, and means of three of them
            assert [candidate.score for candidate in found] == pytest.approx(
                [score for _, score, _ in wanted], abs=2e-6
            )
            assert [candidate.similarity for candidate in found] == pytest.approx(
                [cosine for *_, cosine in wanted], abs=1e-6
            )
