"""Cost of a plate reader: milliseconds of one plate, plates a second, and bytes of its encrypted update.

Run: python -m scripts.bench.plates run=outputs/plates_countries/<time>
     python -m scripts.bench.plates model.hashed=0.1

Without `run=` the network of the experiment `plates_countries` has random weights: it is as fast as a trained one. The
images are synthetic, 200 JPEG files of 188 x 56 pixels (`plates=200`). A single plate is timed on one thread, its
preprocessing (decode, scale) apart from its network. Plates a second are those of all cores, files included: of one
process with a thread a core, and of a process a core with one thread each, in batches of 1, 16 and 64, for `seconds=2`
each. The update is encrypted with `kahe` for the run's clients and precision; bytes are also given per virtual
parameter, those of the network without hashed layers.

The last line is one JSON object.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.numpy import save

from app.core.arrays import float_arrays
from app.core.limits import usable_cpus
from app.data.crops import read_image
from app.experiment.plate_run import PlateRun
from app.federation.build import max_clients
from app.federation.layout import shared_part
from app.settings.load import Settings, load_settings, settings_from
from app.tasks import make_task
from models.hashed import virtual_size
from scripts.bench.errors import BenchError
from scripts.command import command, decimal_number, split_words, whole_number
from strategies.ciphers.binding import Binding
from strategies.ciphers.kahe.client_half import KaheCipher, new_secret
from strategies.ciphers.kahe.parameters import SCHEME
from strategies.ciphers.keys import new_key

BATCHES = (1, 16, 64)
_OWN = {"run": "", "model": "", "plates": "200", "seconds": "2"}
_SHAPE = (56, 188, 3)
_WARM_UP = 10


def main(argv: Sequence[str]) -> None:
    """Print the figures as one JSON object."""
    own, words = split_words(argv, _OWN)
    plates = whole_number("plates", own["plates"], 1, 1_000_000)
    seconds = decimal_number("seconds", own["seconds"], 0, 3600)
    if own["run"]:
        run = PlateRun.open(own["run"], own["model"], ["device=cpu", *words])
    else:
        run = PlateRun.untrained(load_settings(["experiment=plates_countries", "device=cpu", *words]))
    settings = run.settings
    with tempfile.TemporaryDirectory() as folder:
        files = draw_files(Path(folder), plates)
        figures: dict[str, Any] = {"bench": "plates", "trained": run.file is not None, "plates": len(files)}
        figures |= {"one_plate": one_by_one(run, files)}
        figures |= {"plates_per_s": throughput(settings, files, seconds)}
    network = make_task(settings).build(1, settings.seed, pretrained=False)  # hashed layers as they are learnt
    figures["parameters"] = sum(parameter.numel() for parameter in network.parameters())
    figures["virtual_parameters"] = virtual_size(network)
    figures["checkpoint_bytes"] = run.file.stat().st_size if run.file else len(save(float_arrays(network)))
    figures |= upload(settings, figures["virtual_parameters"])
    print(json.dumps(figures))


def draw_files(folder: Path, count: int) -> list[Path]:
    """JPEG files of bright plates with dark strokes."""
    rng, files = np.random.default_rng(0), []
    for number in range(count):
        image = np.full(_SHAPE, rng.integers(150, 240), np.uint8)
        for left in range(12, _SHAPE[1] - 20, 24):
            cv2.line(image, (left, 8), (left + int(rng.integers(0, 16)), 46), (30, 30, 30), 4)
        files.append(folder / f"{number:05d}.jpg")
        cv2.imwrite(str(files[-1]), image)
    return files


def one_by_one(run: PlateRun, files: Sequence[Path]) -> dict[str, Any]:
    """Milliseconds of one plate on one thread: median and slowest of preprocessing, network and both."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    prepared, read = [], []
    for number in range(-_WARM_UP, len(files)):
        started = time.perf_counter()
        image = read_image(files[max(0, number)], None, run.size)
        between = time.perf_counter()
        run.read_images(image[None])
        if number >= 0:
            prepared.append(1e3 * (between - started))
            read.append(1e3 * (time.perf_counter() - between))
    torch.set_num_threads(before)
    both = [first + second for first, second in zip(prepared, read, strict=True)]
    named = {"preprocessing_ms": prepared, "network_ms": read, "both_ms": both}
    return {name: median_and_slowest(values) for name, values in named.items()}


def median_and_slowest(values: Sequence[float]) -> dict[str, float]:
    """Rounded for the output."""
    return {"median": round(statistics.median(values), 2), "slowest": round(max(values), 2)}


def throughput(settings: Settings, files: Sequence[Path], seconds: float) -> dict[str, Any]:
    """Plates a second on all cores in both arrangements and each batch, and the best of them."""
    cores = usable_cpus()
    rows = []
    for processes, threads in sorted({(1, cores), (cores, 1)}):
        for batch, rate in zip(BATCHES, _rates(settings, files, processes, threads, seconds), strict=True):
            rows.append({"processes": processes, "threads": threads, "batch": batch, "plates_per_s": round(rate, 1)})
    return {"cores": cores, "best": max(rows, key=lambda row: row["plates_per_s"]), "all": rows}


def _rates(settings: Settings, files: Sequence[Path], processes: int, threads: int, seconds: float) -> list[float]:
    """Plates a second of all processes together, by batch. Raises RuntimeError if one of them ends early."""
    context = get_context("spawn")
    start, rates_of = context.Barrier(processes), context.Queue()
    words = (settings.as_dict(), [str(file) for file in files], threads, seconds, start, rates_of)
    workers = [context.Process(target=_read_for, args=words, daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    found: list[list[float]] = []
    while len(found) < processes:
        try:
            found.append(rates_of.get(timeout=1))
        except Empty:
            if any(worker.exitcode for worker in workers):
                raise BenchError("a process of the bench ended before its time") from None
    for worker in workers:
        worker.join()
    return [sum(rates) for rates in zip(*found, strict=True)]


def _read_for(
    kept: dict[str, Any], files: Sequence[str], threads: int, seconds: float, start: Any, rates_of: Any
) -> None:
    """One process: read in each batch until the time is over, in parallel with the others, and report plates a
    second."""
    run = PlateRun.untrained(settings_from(kept))  # as fast as a trained one
    torch.set_num_threads(threads)
    rates = []
    for batch in BATCHES:
        run.read_images(torch.zeros(batch, 3, *run.size, dtype=torch.uint8))
        start.wait()
        started, count = time.perf_counter(), 0
        while (passed := time.perf_counter() - started) < seconds:
            chosen = [files[(count + place) % len(files)] for place in range(batch)]
            run.read_images(torch.stack([read_image(Path(file), None, run.size) for file in chosen]))
            count += batch
        rates.append(count / passed)
    rates_of.put(rates)


def upload(settings: Settings, virtual: int) -> dict[str, Any]:
    """Bytes of one client's encrypted update of the shared part, of round 1."""
    layout, statistics_mask = shared_part(settings)
    clients = max_clients(settings)
    cipher = KaheCipher(
        new_key({SCHEME: new_secret}),
        statistics_mask,
        client="client-0",
        max_clients=clients,
        bits=settings.privacy.bits,
    )
    update = 1e-3 * np.random.default_rng(0).standard_normal(layout.size, np.float32)
    names = tuple(f"client-{index}" for index in range(clients))
    binding, seeds = Binding("0" * 16, layout.digest, 1, 1, names), dict.fromkeys(names, bytes(32))
    state = cipher.initial_state(update)
    sent = cipher.encrypt(update, 1.0, binding, state=state, carried={}, seeds=seeds).payload
    return {
        "hashed": settings.model.hashed,
        "clients": clients,
        "shared_values": layout.size,
        "bytes_up": len(sent),
        "bytes_up_per_shared_value": round(len(sent) / layout.size, 3),
        "bytes_up_per_virtual_parameter": round(len(sent) / virtual, 3),
    }


if __name__ == "__main__":
    command(main, sys.argv[1:])
