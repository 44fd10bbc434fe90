"""Cost of a round besides training, in a federation of real processes on loopback with TLS and updates of 60 MB.

Run: python -m scripts.bench.deployment [rounds=5]
Two sites train ResNet50 on a few small images; every message starts a process, as on real machines. One JSON object:
seconds of each round that are not training, peak resident memory of the server's and of a client's process, and the
size of the server's database after each round.
"""

import contextlib
import csv
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from scripts.bench.errors import BenchError
from scripts.bench.loopback import TRAINING, Loopback
from scripts.command import command, key_values, whole_number

_OVERRIDES = (
    "experiment=quickstart data=manifest model.vehicle.backbone=resnet50 model.vehicle.image_size=64 model.plate=null "
    "model.embedding_dim=1024 device=cpu train.threads=1 train.pids_per_batch=4 train.images_per_pid=2 "
    "train.epochs={rounds} federation.rounds={rounds} federation.measure_every=0 "
    "evaluation.compare=[] evaluation.ranked_lists=0"
)
_COPIES = 4  # of the network in training: values, gradients and two moments
_EVERY = 0.2


def main(argv: Sequence[str]) -> None:
    """Print the figures."""
    rounds = whole_number("rounds", key_values(argv, rounds="5")["rounds"], 1, 1_000_000)
    with tempfile.TemporaryDirectory() as base:
        sites = {name: _pictures(Path(base) / name, seed) for seed, name in enumerate(("north", "south"))}
        with Loopback(Path(base), sites) as parks:
            parks.start_all()
            print(json.dumps(_measure(parks, Path(base) / "run", rounds)))


def _measure(parks: Loopback, run_dir: Path, rounds: int) -> dict[str, Any]:
    folder, process = parks.run(run_dir, _OVERRIDES.format(rounds=rounds))
    server, client = 0, 0
    database: dict[int, int] = {}
    while process.poll() is None:
        server = max(server, _resident(_server_processes(parks)))
        client = max([client, *(_resident(parks.client_processes(name)) for name in parks.sites)])
        database[folder.read_progress().get("server_round", 0)] = _database_bytes(parks)
        time.sleep(_EVERY)
    if not (run_dir / "summary.json").exists():
        raise BenchError(f"the run did not end well: {parks.last_words()}")
    lines = [line for line in folder.read_metrics() if line["server_round"] <= rounds]
    values = int(folder.read_summary()["shared_values"])
    return {
        "bench": "deployment",
        "shared_values": values,
        "mb_up_a_client": round(lines[-1]["bytes_up"] / len(lines[-1]["clients"]) / 1e6, 1),
        "seconds_besides_training": [round(_besides_training(line), 1) for line in lines],
        "server_peak_mb": round(server / 1e6),
        "client_peak_mb": round(client / 1e6),
        "of_which_network_mb": round(_COPIES * 4 * values / 1e6),
        "database_mb": [round(size / 1e6, 1) for _, size in sorted(database.items())],
        "aim": "20 s, server 1,000 MB, client 1,200 MB and the network, database no larger from round to round",
    }


def _besides_training(line: dict[str, Any]) -> float:
    """Sites train in parallel: the slowest one's training counts."""
    slowest = max(sum(row[key] for key in TRAINING) for row in line["clients"].values())
    return float(line["seconds"] - slowest)


def _server_processes(parks: Loopback) -> list[psutil.Process]:
    """Flower's process of the server's app, and its descendants."""
    children = psutil.Process(parks.processes["server"].pid).children(recursive=True)
    return [child for child in children if "flwr-serverapp" in " ".join(_words(child))]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []  # it has just ended


def _resident(processes: list[psutil.Process]) -> int:
    """The largest resident memory of one of them."""
    found = [0]
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found.append(process.memory_info().rss)
    return max(found)


def _database_bytes(parks: Loopback) -> int:
    state = parks.root / "server" / "state"
    return sum(path.stat().st_size for path in state.rglob("*.db*") if path.is_file())


def _pictures(root: Path, seed: int) -> Path:
    """A manifest set of 8 vehicles with 4 images each, of noise."""
    rng = np.random.default_rng(seed)
    root.mkdir()
    rows = []
    for number in range(32):
        name = f"{number}.jpg"
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(root / name)
        rows.append({"path": name, "pid": number // 4, "camid": number % 2, "split": "train"})
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


if __name__ == "__main__":
    command(main, sys.argv[1:])
