"""Memory and time of the server's sum over many clients.

Run: python -m scripts.bench.aggregation params=23508032 clients=64

The sum runs in a process of its own, so that the peak memory is the sum's; replies are read one at a time.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from scripts.bench.memory import peak_bytes
from scripts.command import key_values, whole_number
from strategies.ciphers.binding import Binding
from strategies.ciphers.plain import PlainCipher, PlainSum

_BINDING = Binding("bench", "bench", 1)


def main(argv: Sequence[str]) -> None:
    """Print one JSON object; "copies": peak memory of the sum, in float32 models."""
    given = key_values(argv, params="23508032", clients="64")
    size, clients = (whole_number(key, given[key], 1, 2**31 - 1) for key in ("params", "clients"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "payload"
        update = np.full(size, 0.5, np.float32)
        path.write_bytes(PlainCipher(size).encrypt(update, 1 / clients, _BINDING, state={}, carried={}).payload)
        with ProcessPoolExecutor(1, get_context("spawn")) as server:
            seconds, used, total = server.submit(add_all, path, size, clients).result()
    assert np.allclose(PlainCipher(size).decrypt(total, 1.0, _BINDING, state={}).mean, 0.5, rtol=1e-5)
    figures = {
        "bench": "aggregation",
        "params": size,
        "clients": clients,
        "add_s_per_client": round(seconds / clients, 3),
        "copies": round(used / (4 * size), 2),
        "aim": "under 4 copies",
    }
    print(json.dumps(figures))


def add_all(path: Path, size: int, clients: int) -> tuple[float, int, bytes]:
    """Seconds of adding, peak memory in bytes above the start, and the sum."""
    before = peak_bytes()
    total, seconds = PlainSum(size), 0.0
    for number in range(clients):
        reply = path.read_bytes()
        started = time.perf_counter()
        total.add(reply, f"client-{number}")
        seconds += time.perf_counter() - started
        del reply
    payload = total.payload()
    return seconds, peak_bytes() - before, payload


if __name__ == "__main__":
    main(sys.argv[1:])
