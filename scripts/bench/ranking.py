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

import numpy as np

from app.evaluation.ranking import evaluate_streaming
from app.settings.checks import SettingsError
from scripts.command import command, key_values, whole_number

_SIZES = {"veri776": (1678, 11579, 200), "veri_wild": (10000, 138517, 10000)}  # queries, gallery, vehicles
_NUM_CAMERAS = 20
_DEFAULTS = {"veri_wild": "false", "dim": "512", "block": "256", "seed": "0"}


def measure(name: str, *, dim: int, block: int, seed: int) -> dict[str, float | int]:
    """Seconds of one streamed evaluation; MiB of arrays it added to the embeddings, and of the process at its peak."""
    num_queries, num_gallery, num_pids = _SIZES[name]
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num_pids, dim), np.float32)

    def pictures(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pids = np.arange(count) % num_pids
        embeddings = rng.standard_normal((count, dim), np.float32)
        embeddings *= 3
        embeddings += centres[pids]
        return embeddings, pids, rng.integers(0, _NUM_CAMERAS, count)

    q_embeddings, q_pids, q_camids = pictures(num_queries)
    g_embeddings, g_pids, g_camids = pictures(num_gallery)
    tracemalloc.start()  # sees every numpy array; its cost is within the noise of the timing
    start = time.perf_counter()
    result = evaluate_streaming(
        q_embeddings=q_embeddings,
        g_embeddings=g_embeddings,
        q_pids=q_pids,
        q_camids=q_camids,
        g_pids=g_pids,
        g_camids=g_camids,
        block=block,
    )
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
