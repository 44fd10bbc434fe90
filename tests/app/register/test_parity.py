"""Two ways of computing a network, compared."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.core.sample import Sample
from app.data.readers.reader import Direction
from app.register.parity import compare, some_vehicles

SAMPLES = [Sample(Path(f"{i}.jpg"), pid=i // 4, camid=i % 2) for i in range(24)]
DIRECTION = Direction("both", tuple(SAMPLES), tuple(SAMPLES))


def way(rows):
    """A recogniser that gives these rows (N, D) in the order of `SAMPLES`."""
    row_of = dict(zip(SAMPLES, rows, strict=True))

    def embeddings(network, samples):
        del network
        return {"vehicle": np.stack([row_of[sample] for sample in samples]).astype(np.float32)}

    task = SimpleNamespace(
        embeddings=embeddings,
        image_reader=SimpleNamespace(crops=lambda sample: sample),
        settings=SimpleNamespace(evaluation=SimpleNamespace(batch_size=5)),
    )
    return SimpleNamespace(task=task, network=None)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def rows():
    return unit(np.random.default_rng(3).standard_normal((24, 4)))


def nearest(rows, query):
    """Vehicle and similarity of the nearest picture that is not of the same vehicle in the same camera."""
    others = [i for i, s in enumerate(SAMPLES) if (s.pid, s.camid) != (SAMPLES[query].pid, SAMPLES[query].camid)]
    best = max(others, key=lambda i: float(rows[query] @ rows[i]))
    return SAMPLES[best].pid, float(rows[query] @ rows[best])


def test_what_differs_is_counted_by_definition(rows):
    """Against plain loops: a match from the mean of the best similarities on, unsure from a deviation below it."""
    changed = rows.copy()
    changed[5] = -rows[5]
    parity = compare(way(rows), way(changed), [DIRECTION])
    assert parity.largest_difference == pytest.approx(np.abs(rows - changed).max(), abs=1e-6)
    best = [nearest(rows, query)[1] for query in range(24)]
    match, unsure = np.mean(best), np.mean(best) - np.std(best)

    def decision(rows, query):
        pid, similarity = nearest(rows, query)
        if similarity >= match:
            return "match", pid
        return ("unsure", pid) if similarity >= unsure else ("unknown", None)

    ours, theirs = ([decision(each, query) for query in range(24)] for each in (rows, changed))
    outcomes = [outcome for outcome, _ in ours]
    assert parity.outcomes == {name: outcomes.count(name) for name in set(outcomes)}
    assert len(parity.outcomes) == 3
    assert parity.different == sum(a != b for a, b in zip(ours, theirs, strict=True)) > 0
    assert (parity.images, parity.decisions) == (24, 24)


def test_the_same_is_the_same(rows):
    parity = compare(way(rows), way(rows + 1e-7), [DIRECTION])
    assert parity.largest_difference < 1e-6
    assert parity.different == 0


@pytest.mark.parametrize(("most", "vehicles"), [(1, 1), (4, 1), (7, 1), (8, 2), (1000, 6)])
def test_whole_vehicles_are_taken_until_there_are_enough_pictures(most, vehicles):
    (kept,) = some_vehicles([DIRECTION], most)
    assert kept.query == kept.gallery == tuple(SAMPLES[: 4 * vehicles])
