"""The register's service under load: one guard alone, then many at once, through HTTP on loopback.

Run: python -m scripts.bench.service run=outputs/two_cam/<time> [model=global] [onnx=network.onnx]
     python -m scripts.bench.service [experiment=two_cam] [any setting]        an untrained network of these settings
`vehicles=300` are enrolled, `guards=20` send queries for `seconds=60` with photographs of `width=4000` pixels (3/4 of
that high; for a network with plates, with an image of the plate). A guard waits after an answer for `pause=5,0`
seconds, give or take a half, before the next query; each pause is a run of its own. With 0 every guard sends the next
query at once, so that all wait for one another. The service is a process of its own; it and the guards share the
processors.

`ratio` is the 95th percentile over the median of a guard alone. `parts_ms` are of one query, measured outside of the
service: reading the upload, encoding and writing it, embedding, and all the rest. The last line is one JSON object.
"""

import contextlib
import http.client
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.core.arrays import float_arrays
from app.core.limits import usable_cpus
from app.core.run_folder import RunFolder
from app.register.accounts import Accounts, Role
from app.register.detect import Framed
from app.register.embedder import sample_of
from app.register.identification import Identification
from app.register.photos import VehiclePhoto, as_stored, take_in
from app.register.records import NewView, Vectors
from app.settings.load import absolute, load_settings
from app.tasks import make_task
from app.training.checkpoint import save_checkpoint
from scripts.bench.errors import BenchError
from scripts.bench.loopback import free_port
from scripts.command import command, decimal_number, split_words, whole_number

_OWN = {
    "run": "",
    "model": "global",
    "onnx": "",
    "vehicles": "300",
    "guards": "20",
    "seconds": "60",
    "pause": "5,0",
    "width": "4000",
}
_LOOKS, _WARM_UP, _PARTS = 20, 3, 5
_START_SECONDS = 120.0
_PASSWORD = "the guards of a bench"
_BOUNDARY = "a-boundary-that-no-picture-holds"
AIM = "one query under 1.5 s on two cores; 20 guards for a minute without an error, ratio under 4"


def main(argv: Sequence[str]) -> None:
    """Print a line for each load, and the figures."""
    own, words = split_words(argv, _OWN)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), own, words)))


def measure(folder: Path, own: dict[str, str], words: Sequence[str]) -> dict[str, Any]:
    """Figures of a guard alone and of each pause."""
    guards, seconds = (
        whole_number("guards", own["guards"], 1, 10_000),
        decimal_number("seconds", own["seconds"], 0, 86_400),
    )
    run, model = (absolute(own["run"]), own["model"]) if own["run"] else (untrained(folder / "run", words), "global")
    uploads = [picture(seed, whole_number("width", own["width"], 1, 10_000)) for seed in range(guards)]
    register, load = folder / "register", os.getloadavg()[0]
    token, about = fill(
        register, run, model, own["onnx"], uploads, whole_number("vehicles", own["vehicles"], 1, 2**31 - 1)
    )
    bodies = [body(upload, plate=upload if about["plates"] else None) for upload in uploads]
    with served(register, own["onnx"]) as port:
        first = [send_query(port, token, bodies[number % guards]) for number in range(_WARM_UP + _LOOKS)]
        if not all(good for good, _ in first):
            raise BenchError("the service refuses queries: its log has the reason")
        alone = [seconds_ for _, seconds_ in first[_WARM_UP:]]
        single = float(np.median(alone))
        print(f"alone: {single:.3f} s")
        loads = []
        for pause in (decimal_number("pause", word, 0, 86_400) for word in own["pause"].split(",")):
            answers = crowd(lambda n: send_query(port, token, bodies[n]), guards, seconds, pause)
            loads.append({"pause_s": pause, **load_figures(answers, single, seconds)})
            print(", ".join(f"{name} {value}" for name, value in loads[-1].items()), flush=True)
    return {
        "bench": "service",
        **about,
        "photo_bytes": len(uploads[0]),
        "cores": usable_cpus(),
        "load_before": round(load, 1),  # other load of the machine
        "single_s": round(single, 3),
        "single_slowest_s": round(max(alone), 3),
        "guards": guards,
        "loads": loads,
        "aim": AIM,
    }


def untrained(folder: Path, words: Sequence[str]) -> Path:
    """A run folder with the network of some settings before training."""
    chosen = words if any(word.startswith("experiment=") for word in words) else ["experiment=two_cam", *words]
    settings = load_settings(list(chosen))
    task = make_task(settings)
    arrays = float_arrays(task.build(1, settings.seed, pretrained=False))
    with contextlib.closing(RunFolder(folder)) as made:
        save_checkpoint(made, "global", arrays, settings, task)
    return folder


def picture(seed: int, width: int) -> bytes:
    """A JPEG file with shapes and the noise of a camera, about as large as a photograph."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, width * 3 // 4), Image.Resampling.BICUBIC)
    noisy = np.asarray(image, np.int16) + rng.integers(-4, 5, (width * 3 // 4, width, 1), np.int16)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def fill(
    folder: Path, run: Path, model: str, onnx: str, uploads: Sequence[bytes], vehicles: int
) -> tuple[str, dict[str, Any]]:
    """Enrol the photographs of the queries, and vehicles with random embeddings; returns a token, and measures."""
    with closing(Identification(folder, device="cpu", onnx=absolute(onnx) if onnx else None)) as identification:
        identification.active_model.change_to_run(run, model, "bench")
        served_model, recogniser = identification.active_model.current()
        plates = len(served_model.libraries) > 1
        vehicle_photos = [
            VehiclePhoto(photo, plate=photo if plates else None) for photo in (take_in(data, "x") for data in uploads)
        ]
        parts = _parts(identification, uploads[0], vehicle_photos[0])
        for vehicle_photo in vehicle_photos:
            identification.enrol([vehicle_photo], account="bench")
        held = identification.register.vehicle(1).views[0]
        (vectors,) = recogniser.embed_files([sample_of(identification.photos, held)])
        dims = {library: len(row) for library, row in (vectors or {}).items()}
        rng = np.random.default_rng(0)
        for _ in range(vehicles - len(vehicle_photos)):
            view = NewView(f"{int(rng.integers(2**62)):032x}.jpg", _random(rng, dims))
            identification.register.enrol([view], model_id=served_model.id, account="bench")
        accounts = Accounts(identification.database)
        accounts.add("guard", Role.guard, _PASSWORD, "bench")
        token = accounts.new_token("guard", "bench", 1, "bench")
        kept = identification.register.counts()["vehicles"]
    return token, {
        "network": recogniser.settings.as_dict()["model"],
        "plates": plates,
        "onnx": bool(onnx),
        "vehicles": kept,
        "parts_ms": parts,
    }


def _parts(identification: Identification, upload: bytes, vehicle_photo: VehiclePhoto) -> dict[str, float]:
    """Milliseconds of the steps of one query, in this process and alone; medians."""
    times: dict[str, list[float]] = {"take_in": [], "keep": [], "embed": [], "all": []}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        done = work()
        times[name].append(1000 * (time.perf_counter() - started))
        return done

    for _ in range(_PARTS + 1):
        timed("take_in", lambda: take_in(upload, "x"))
        name = timed("keep", lambda: identification.photos.keep(as_stored(vehicle_photo.photo)))
        image = Framed(vehicle_photo, None).image
        timed("embed", partial(identification.active_model.current()[1].embed, [image]))
        timed("all", lambda: identification.identify([vehicle_photo], account="bench"))
        identification.photos.drop([name])
    parts = {name: float(np.median(values[1:])) for name, values in times.items()}
    photographs = 2 if vehicle_photo.plate else 1
    parts["keep"] *= photographs
    parts["rest"] = parts.pop("all") - parts["keep"] - parts["embed"]
    return {name: round(value, 1) for name, value in parts.items()}


def _random(rng: np.random.Generator, dims: dict[str, int]) -> Vectors:
    rows = {library: rng.standard_normal(dim).astype(np.float32) for library, dim in dims.items()}
    return {library: row / np.linalg.norm(row) for library, row in rows.items()}


@contextmanager
def served(register: Path, onnx: str) -> Iterator[int]:
    """The port of a service in a process of its own, which ends with the block. Raises RuntimeError if it does not
    start."""
    port = free_port()
    words = ["run", "--register", str(register), "--port", str(port), "--device", "cpu"]
    words += ["--onnx", str(absolute(onnx))] if onnx else []
    process = subprocess.Popen([sys.executable, "-m", "scripts.serve", *words], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(port):  # it listens before it has read the register
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError("the service did not start")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/login")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def body(upload: bytes, plate: bytes | None) -> bytes:
    """A form with a photograph, and with an image of its plate."""
    parts = []
    for field, data in (("pictures", upload), ("plate_pictures", plate)):
        if data is not None:
            head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="x.jpg"\r\n'
            parts += [head.encode(), b"Content-Type: image/jpeg\r\n\r\n", data, b"\r\n"]
    return b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])


def send_query(port: int, token: str, form: bytes) -> tuple[bool, float]:
    """Whether a query was answered, and the seconds from its first byte to the last of the answer."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", "/api/identify", form, headers)
        response = connection.getresponse()
        good = response.status == 200 and b'"decision"' in response.read()
    except (OSError, http.client.HTTPException):
        good = False
    finally:
        connection.close()
    return good, time.perf_counter() - started


def crowd(
    look: Callable[[int], tuple[bool, float]], guards: int, seconds: float, pause: float
) -> list[tuple[bool, float]]:
    """Answers to parallel queries of guards, each waiting for the answer and then for a pause of its own length.

    `look(n)` is a query of guard n. Guards start during the first pause, and send no query after `seconds`; answers to
    earlier ones are waited for and counted."""
    answers: list[tuple[bool, float]] = []
    ends = time.monotonic() + seconds

    def guard(number: int) -> None:
        rng = np.random.default_rng(number)
        time.sleep(min(seconds, rng.uniform(0, pause)))
        while time.monotonic() < ends:
            answers.append(look(number))
            time.sleep(max(0.0, min(rng.uniform(0.5, 1.5) * pause, ends - time.monotonic())))

    threads = [threading.Thread(target=guard, args=(number,), daemon=True) for number in range(guards)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def load_figures(answers: Sequence[tuple[bool, float]], single: float, seconds: float) -> dict[str, Any]:
    """Figures of a load. Times are of all queries, failed ones included."""
    times = [took for _, took in answers]
    late = float(np.quantile(times, 0.95))
    return {
        "requests": len(answers),
        "errors": sum(not good for good, _ in answers),
        "per_second": round(len(answers) / seconds, 2),
        "median_s": round(float(np.median(times)), 3),
        "p95_s": round(late, 3),
        "ratio": round(late / single, 2),
    }


if __name__ == "__main__":
    command(main, sys.argv[1:])
