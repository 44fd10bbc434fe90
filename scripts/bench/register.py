"""Queries to a large register: wait of the first one, time of each, and memory.

Run: python -m scripts.bench.register [vehicles=100000] [views=3] [dim=512] [folder=FOLDER]
Embeddings are random. The register is a SQLite file, 2.1 KB a view, in `folder`, where a later call reuses it, or in a
temporary one. The last line on standard output is one JSON object.
"""

import contextlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import insert

from app.register.database import Database
from app.register.index import make_index
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
        rng, times = np.random.default_rng(1), []
        for _ in range(_LOOKS):
            photograph = rng.standard_normal((1, dim), np.float32)
            photograph /= np.linalg.norm(photograph)
            started = time.perf_counter()
            found = index.search("vehicle", photograph, 5)
            times.append(time.perf_counter() - started)
        assert len(found) == min(5, vehicles)
        database.close()
    figures = {
        "bench": "register",
        "vehicles": vehicles,
        "views": vehicles * views,
        "dim": dim,
        "start_s": round(start_seconds, 2),
        "look_up_ms": round(1000 * float(np.median(times)), 1),
        "slowest_ms": round(1000 * max(times), 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),  # Linux counts in KiB
        "before_mb": round(before),
        "aim": "50 ms, start 5 s, 1,500 MB",
    }
    print(json.dumps(figures))


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
