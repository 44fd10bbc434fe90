"""Queries to a large register: wait of the first one, time of each, cold and warm, and memory.

Run: python -m scripts.bench.register [vehicles=100000] [views=3] [dim=512] [folder=FOLDER]
Embeddings are random. The register is a SQLite file, 2.1 KB a view, in `folder`, where a later call reuses it, or in a
temporary one. A cold query needs densities that nobody has asked for (`cold_ms`); a warm one (`look_up_ms`) finds them
known, and is compared with the cosines alone (`scaling_percent`). `enrol_ms` is what following one enrolment costs, and
`warm_hours` how long finding all densities beforehand takes, half of the time at rest. The last line on standard output
is one JSON object.
"""

import contextlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert

from app.register.database import Database
from app.register.index import make_index
from app.register.memory_index import Library, MemoryIndex
from app.register.model_versions import Models
from app.register.schema import Change, Embedding, Vehicle, View
from scripts.command import command, key_values, whole_number

_LOOKS = 30
_CHUNK = 10_000
_DEFAULTS = {"vehicles": "100000", "views": "3", "dim": "512", "folder": ""}


def fill(database: Database, vehicles: int, views: int, dim: int) -> None:
    """Enrol vehicles with random embeddings, without images."""
    rng = np.random.default_rng(0)
    model = Models(database).add("0" * 16, ["vehicle"], "bench", "bench")
    for start in range(1, vehicles + 1, _CHUNK):
        numbers = range(start, min(start + _CHUNK, vehicles + 1))
        pictures = [(number, (number - 1) * views + view + 1) for number in numbers for view in range(views)]
        rows = rng.standard_normal((len(pictures), dim), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        with database.writing() as session:
            session.execute(insert(Vehicle), [{"id": number} for number in numbers])
            session.execute(
                insert(View), [{"id": view, "vehicle_id": n, "picture": f"{view:032x}.jpg"} for n, view in pictures]
            )
            session.execute(
                insert(Embedding),
                [
                    {"model_id": model.id, "library": "vehicle", "view_id": view, "vector": row}
                    for (_, view), row in zip(pictures, rows, strict=True)
                ],
            )
            session.execute(insert(Change), [{"vehicle_id": numbers[-1]}])


def main(argv: Sequence[str]) -> None:
    """Print the figures."""
    options = key_values(argv, **_DEFAULTS)
    vehicles, views, dim = (whole_number(name, options[name], 1, 2**31 - 1) for name in ("vehicles", "views", "dim"))
    with _folder(options["folder"]) as folder:
        database = Database(f"sqlite:///{folder / 'register.sqlite'}")
        if Models(database).active() is None:
            fill(database, vehicles, views, dim)
        model = Models(database).active()
        assert model is not None
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        started = time.perf_counter()
        index = make_index(database, model.id)
        index.prepare()
        start_seconds = time.perf_counter() - started
        assert isinstance(index, MemoryIndex)
        rng = np.random.default_rng(1)
        photographs = rng.standard_normal((_LOOKS, 1, dim), np.float32)
        photographs /= np.linalg.norm(photographs, axis=-1, keepdims=True)
        library, times, bare = index.libraries["vehicle"], [], []
        cold = [_seconds(index.search, "vehicle", photograph, 5) for photograph in photographs]
        for photograph in photographs:
            times.append(_seconds(index.search, "vehicle", photograph, 5))
            bare.append(_seconds(_by_cosine, library, photograph))
        before_warming = int(library.known.sum())
        warm_seconds = _seconds(index.warm)
        warmed = max(1, int(library.known.sum()) - before_warming)
        new = range(2**30, 2**30 + _LOOKS)
        enrolled = [_seconds(library.extend, [n], [n], p) for n, p in zip(new, photographs, strict=True)]
        database.close()
    figures = {
        "bench": "register",
        "vehicles": vehicles,
        "views": vehicles * views,
        "dim": dim,
        "start_s": round(start_seconds, 2),
        "look_up_ms": round(1000 * float(np.median(times)), 1),
        "slowest_ms": round(1000 * max(times), 1),
        "cold_ms": round(1000 * float(np.median(cold)), 1),
        "cold_to_warm": round(float(np.median(cold) / np.median(times)), 1),
        "scaling_percent": round(100 * (float(np.median(times) / np.median(bare)) - 1), 1),
        "enrol_ms": round(1000 * float(np.median(enrolled)), 1),
        "warm_hours": round(2 * warm_seconds / warmed * vehicles * views / 3600, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),  # Linux counts in KiB
        "before_mb": round(before),
        "aim": "50 ms, start 5 s, 1,500 MB",
    }
    print(json.dumps(figures))


def _seconds(work: Callable[..., object], *given: object) -> float:
    started = time.perf_counter()
    work(*given)
    return time.perf_counter() - started


def _by_cosine(library: Library, photograph: NDArray[np.float32]) -> NDArray[np.intp]:
    """The nearest vehicles by cosine alone."""
    best = np.full(len(library.vehicle_ids), -np.inf, np.float32)
    np.maximum.at(best, library.row_slot[: library.size], library.similarities(photograph)[0])
    count = min(5, len(best))
    return np.argpartition(-best, count - 1)[:count]


@contextlib.contextmanager
def _folder(given: str) -> Iterator[Path]:
    if given:
        Path(given).mkdir(parents=True, exist_ok=True)
        yield Path(given)
    else:
        with tempfile.TemporaryDirectory() as made:
            yield Path(made)


if __name__ == "__main__":
    command(main, sys.argv[1:])
