"""Time and memory of the ranking measures at the size of VeRi-776, and of VERI-Wild (large) on request.

Run: python -m scripts.bench.ranking [veri_wild=true] [dim=512] [block=256] [seed=0]
Embeddings are random, around one centre a vehicle. The last line on standard output is one JSON object.
"""

import json
import resource
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.core.sample import Sample
from app.evaluation.distance import normalise
from app.evaluation.embed import DualEmbeddings
from app.evaluation.ids import pair_ids
from app.evaluation.measure import fused_rows
from app.evaluation.ranking import evaluate_rows
from app.settings.checks import SettingsError
from scripts.command import command, key_values, whole_number

_SIZES = {"veri776": (1678, 11579, 200), "veri_wild": (10000, 138517, 10000)}  # queries, gallery, vehicles
_NUM_CAMERAS = 20
_DEFAULTS = {"veri_wild": "false", "dim": "512", "block": "256", "seed": "0"}


def measure(name: str, *, dim: int, block: int, seed: int) -> dict[str, float | int]:
    """Seconds of one evaluation, in blocks of queries as a run measures.

    And MiB of arrays that it added to the embeddings, and of the process at its peak."""
    num_queries, num_gallery, num_pids = _SIZES[name]
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num_pids, dim), np.float32)

    def samples(count: int, kind: str) -> tuple[list[Sample], np.ndarray]:
        """Images of vehicles seen in turn, by random cameras, and their embeddings (count, dim)."""
        pids = np.arange(count) % num_pids
        embeddings = rng.standard_normal((count, dim), np.float32)
        embeddings *= 3
        embeddings += centres[pids]
        cameras = rng.integers(0, _NUM_CAMERAS, count).tolist()
        seen = enumerate(zip(pids.tolist(), cameras, strict=True))
        return [Sample(Path(f"{kind}-{number}"), pid, camid) for number, (pid, camid) in seen], embeddings

    queries, q_embeddings = samples(num_queries, "query")
    gallery, g_embeddings = samples(num_gallery, "gallery")
    vehicle = normalise(np.concatenate([q_embeddings, g_embeddings]))
    found = DualEmbeddings([*queries, *gallery], vehicle, None, np.zeros(len(vehicle), bool))
    del q_embeddings, g_embeddings
    tracemalloc.start()  # sees every numpy array; its cost is within the noise of the timing
    start = time.perf_counter()
    result = evaluate_rows(dist_rows=fused_rows(found, queries, gallery), **pair_ids(queries, gallery), block=block)
    seconds = time.perf_counter() - start
    _, added_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "queries": num_queries,
        "gallery": num_gallery,
        "seconds": round(seconds, 3),
        "added_mb": round(added_bytes / 2**20),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),  # Linux counts in KiB
        "mAP": round(result.mAP, 6),
    }


def main(argv: Sequence[str]) -> None:
    options = key_values(argv, **_DEFAULTS)
    if options["veri_wild"] not in ("true", "false"):
        raise SettingsError(f"veri_wild must be true or false, got {options['veri_wild']!r}")
    names = ["veri776", "veri_wild"] if options["veri_wild"] == "true" else ["veri776"]
    dim, block = (whole_number(key, options[key], 1, 2**31 - 1) for key in ("dim", "block"))
    seed = whole_number("seed", options["seed"], 0, 2**31 - 1)
    sizes = {name: measure(name, dim=dim, block=block, seed=seed) for name in names}
    print(json.dumps({"dim": dim, "block": block, "seed": seed, "sizes": sizes}))


if __name__ == "__main__":
    command(main, sys.argv[1:])
