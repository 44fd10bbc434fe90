"""Cost of a simulation by its number of clients: seconds a round, memory and disk.

Run: python -m scripts.bench.scale [clients=4,16,64] [privacy=plain] [rounds=2]

Each client has eight images of two vehicles and a network of 100,000 values, so that the figures are of the federation
and not of training. One JSON line a number of clients, of a run in processes of its own: the seconds of the last round
and their parts on one processor, the seconds of measuring afterwards, peak memory of all processes, and bytes on disk.
"""

import contextlib
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from app.core.limits import usable_cpus
from app.core.run_folder import RunFolder
from app.settings.checks import one_of
from scripts.bench.errors import BenchError
from scripts.bench.loopback import TRAINING
from scripts.command import command, key_values, whole_number

_SETTINGS = [
    *("experiment=quickstart", "data=manifest", "data.partition.by=site", "data.val_split=", "device=cpu"),
    *("model.vehicle.backbone=test_efficientnet", "model.vehicle.image_size=32", "model.plate=null"),
    *("model.embedding_dim=16", "model.pooling=average", "train.precision=float32", "train.threads=1"),
    *("train.pids_per_batch=2", "train.images_per_pid=2", "train.keep_optimiser=false", "federation.measure_every=0"),
    *("federation.deadline=3600", "evaluation.compare=[]", "evaluation.ranked_lists=0"),
]
_VEHICLES, _IMAGES, _SIDE = 2, 4, 32
_EVERY = 0.5


def main(argv: Sequence[str]) -> None:
    """Print a JSON line for each number of clients."""
    given = key_values(argv, clients="4,16,64", privacy="plain", rounds="2")
    one_of("privacy", given["privacy"], ("plain", "kahe", "ckks"))
    rounds = whole_number("rounds", given["rounds"], 1, 1000)
    for clients in [whole_number("clients", each, 2, 100_000) for each in given["clients"].split(",")]:
        with tempfile.TemporaryDirectory() as base:
            data = write_sites(Path(base) / "data", clients)
            print(json.dumps(measure(Path(base) / "run", data, clients, given["privacy"], rounds)), flush=True)


def measure(run_dir: Path, data: Path, clients: int, privacy: str, rounds: int) -> dict[str, Any]:
    """The figures of one run. Raises BenchError with its last words if it fails."""
    words = [*_SETTINGS, f"data.root={data}", f"run_dir={run_dir}", f"federation.num_clients={clients}"]
    words += [f"privacy={privacy}", f"federation.rounds={rounds}", f"train.epochs={rounds}"]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.simulate", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with process:
        peak, output = _followed(process)
    if process.returncode:
        raise BenchError(f"{clients} clients: {(output.strip().splitlines() or ['no output'])[-1]}")
    folder = RunFolder(run_dir)
    summary, line = folder.read_summary(), next(row for row in folder.read_metrics() if row["server_round"] == rounds)
    rows = line["clients"].values()
    return {
        "bench": "scale",
        "clients": clients,
        "privacy": privacy,
        "seconds_run": round(time.monotonic() - started, 1),
        "seconds_federation": summary["seconds_federation"],
        "seconds_round": round(line["seconds"], 1),
        "milliseconds_a_client": {
            "round": round(1000 * line["seconds"] / clients, 1),
            "of_all_cores": round(1000 * line["seconds"] / clients * usable_cpus(), 1),
            "training": round(1000 * float(np.mean([sum(row[key] for key in TRAINING) for row in rows])), 1),
            "whole_reply": round(1000 * float(np.mean([row["seconds_total"] for row in rows])), 1),
        },
        "replies": len(line["clients"]),
        "kb_up_a_client": round(line["bytes_up"] / clients / 1e3, 1),
        "shared_values": summary["shared_values"],
        "peak_mb": round(peak / 1e6),
        "disk_mb": round(disk_bytes(run_dir) / 1e6, 1),
        "bytes_a_value_and_client": round(disk_bytes(run_dir) / clients / summary["shared_values"], 1),
    }


def _followed(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Peak memory of a process and its descendants, shared pages counted once, and the output."""
    peak = 0
    while True:
        peak = max(peak, _proportional(process.pid))
        with contextlib.suppress(subprocess.TimeoutExpired):
            output, _ = process.communicate(timeout=_EVERY)
            return peak, output


def _proportional(pid: int) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        for each in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += each.memory_full_info().pss
    return total


def disk_bytes(folder: Path) -> int:
    """Bytes of the files of a folder; a file of several names counts once."""
    return sum({file.stat().st_ino: file.stat().st_size for file in folder.rglob("*") if file.is_file()}.values())


def write_sites(root: Path, clients: int) -> Path:
    """A manifest set: a site for each client, and eight vehicles to measure."""
    rng = np.random.default_rng(0)
    root.mkdir()
    rows: list[list[Any]] = []
    for pid in range(_VEHICLES * clients + 8):
        colour = rng.integers(30, 226, 3)
        test = pid >= _VEHICLES * clients
        for number in range(_IMAGES):
            name = f"{pid}-{number}.jpg"
            noise = rng.integers(-12, 13, (_SIDE, _SIDE, 3))
            Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(root / name)
            split = f"test_{'query' if number < 2 else 'gallery'}" if test else "train"
            rows.append([name, pid, number % 2, split, f"site-{(0 if test else pid // _VEHICLES):05d}"])
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "pid", "camid", "split", "site"], *rows])
    return root


if __name__ == "__main__":
    command(main, sys.argv[1:])
