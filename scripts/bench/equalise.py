"""Value of data equalisation: mAP with and without each of its steps, and the share of wrong labels it finds.

Run: python -m scripts.bench.equalise set=synthetic
     python -m scripts.bench.equalise set=two_cam seeds=0,1,2 variants=off,fill key=value ...

`set=synthetic` renders sites whose vehicles have 1 to 60 images; four more of each vehicle, one a camera, are held out.
`set=two_cam` holds out one of the two images of half of the vehicles of train.txt. One network is trained on all
images. Measured are the test split ("test": vehicles outside of training) and the held-out images: each against all
other held-out ones (synthetic) or against the training images (two_cam), for vehicles of at most three images (two_cam:
one) as "tail" and for the others as "head". Variants are `VARIANTS` below. With `flip=0.1` a tenth of the labels is
replaced by other vehicles of the site, and the row has precision and recall of the suspects.

A line a model, and as the last line one JSON object with means over seeds.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from app.core.arrays import float_arrays
from app.core.sample import Sample
from app.data.dataset import Source, open_source
from app.data.readers.reader import Direction
from app.experiment.baselines import equalise_alone, measure
from app.experiment.training_alone import train_alone
from app.settings.load import Settings, SettingsError, load_settings
from app.tasks.task import Task
from app.training.checkpoint import without_heads
from scripts.command import command, decimal_number, split_words, whole_number

_OWN = {"set": "synthetic", "seeds": "0,1,2", "variants": "off,down,fill,both,online", "flip": "0", "jobs": "2"}
_KEPT_OUT = 4  # images of each synthetic vehicle
SETS = {
    "synthetic": [
        "experiment=quickstart",
        "model.plate=null",
        "evaluation.embedding=vehicle",
        "data.synthetic.train_vehicles_per_site=40",
        "data.synthetic.train_pictures_min=5",
        "data.synthetic.train_pictures_max=64",
        "train.lr=2e-3",
        "train.pids_per_batch=16",
    ],
    "two_cam": ["experiment=two_cam", "train.lr=1.2e-3", "train.pids_per_batch=16"],
}
_TAIL = {"synthetic": 3, "two_cam": 1}  # images of a vehicle, at most
VARIANTS: dict[str, list[str]] = {
    "off": [],
    "down": ["data.equalise.fill=false"],  # vehicles above the target are downsampled to it in each epoch
    "fill": ["data.equalise.sample_down=false"],  # those below it are filled with enhanced images
    "both": [],
    "online": ["train.augment.rain=0.1", "train.augment.night=0.1"],
    "leave_out": ["data.equalise.suspects=leave_out"],  # and nothing else
}
_TARGET = {"synthetic": "median", "two_cam": "2"}


def main(argv: Sequence[str]) -> None:
    """Train each variant with each seed; print rows and their means."""
    own, words = split_words(argv, _OWN)
    if own["set"] not in SETS:
        raise SettingsError(f"set must be one of {', '.join(SETS)}; got {own['set']!r}")
    variants = own["variants"].split(",")
    if unknown := [variant for variant in variants if variant not in VARIANTS]:
        raise SettingsError(f"unknown variant {unknown[0]!r}; known: {', '.join(VARIANTS)}")
    seeds = [whole_number("seeds", seed, 0, 2**31 - 1) for seed in own["seeds"].split(",")]
    flip, jobs = decimal_number("flip", own["flip"], 0, 1), whole_number("jobs", own["jobs"], 1, 1024)
    for seed in seeds:  # renders synthetic images before two processes would
        open_source(settings_of(own["set"], "off", seed, words).data, seed).train()
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool,
    ):
        # One pre-model a seed, not one a variant.
        made = [(own["set"], seed, flip, words, f"{folder}/{seed}.safetensors") for seed in seeds]
        models = dict(zip(seeds, pool.map(pre_model, *zip(*made, strict=True)), strict=True))
        tasks = [(own["set"], variant, seed, flip, words, models[seed]) for seed in seeds for variant in variants]
        for row in pool.map(run, *zip(*tasks, strict=True)):
            rows.append(row)
            print(json.dumps(row), flush=True)
    means = {}
    for variant in variants:
        mine = [row for row in rows if row["variant"] == variant]
        names = [n for n, value in mine[0].items() if isinstance(value, float) and all(n in row for row in mine)]
        means[variant] = {name: round(float(np.mean([row[name] for row in mine])), 4) for name in names}
    print(json.dumps({"bench": "equalise", "set": own["set"], "seeds": seeds, "flip": flip, "means": means}))


def settings_of(name: str, variant: str, seed: int, words: Sequence[str]) -> Settings:
    """The settings of one variant and seed. Raises SettingsError."""
    target = "''" if variant in ("off", "online", "leave_out") else _TARGET[name]
    site = [f"data.synthetic.seed={seed}"] if name == "synthetic" else []
    given = [word for word in words if word.startswith("data.equalise.target=") and target != "''"]
    own = [f"data.equalise.target={target}", *given, *VARIANTS[variant]]
    return load_settings([*SETS[name], f"seed={seed}", *site, "train.threads=1", *words, *own])


def pre_model(name: str, seed: int, flip: float, words: Sequence[str], path: str) -> str:
    """Train a network for a third of the epochs, with the labels of the variants, and write it."""
    settings = settings_of(name, "off", seed, words)
    train, _, _ = images_of(name, settings, seed, flip)
    short = replace(settings, train=replace(settings.train, epochs=settings.train.epochs / 3))
    task, network, _ = train_alone(short, train, "central")
    save_file(without_heads(float_arrays(network), task), path)
    return path


def images_of(name: str, settings: Settings, seed: int, flip: float) -> tuple[list[Sample], Direction, set[int]]:
    """Training images, held-out images, and the places of wrong labels."""
    train, kept_out = SPLITS[name](open_source(settings.data, seed), seed)
    flipped: set[int] = set()
    if flip:
        train, flipped = with_wrong_labels(train, flip, seed)
    return train, kept_out, flipped


def run(name: str, variant: str, seed: int, flip: float, words: Sequence[str], model: str) -> dict[str, Any]:
    """Train one variant and measure it."""
    started = time.monotonic()
    settings = settings_of(name, variant, seed, [f"data.equalise.model={model}", *words])
    source = open_source(settings.data, seed)
    train, kept_out, flipped = images_of(name, settings, seed, flip)
    equalised = equalise_alone(settings, train, "central")
    task, network, _ = train_alone(settings, equalised.samples if equalised else train, "central")
    row: dict[str, Any] = {"variant": variant, "seed": seed, "pictures": len(train)}
    row["test"] = float(measure(task, network, source.evaluation("test"))["mAP"])
    counts = Counter(sample.pid for sample in train)
    tail = {pid for pid, count in counts.items() if count <= _TAIL[name]}
    row |= halves(task, network, kept_out, tail)
    if equalised:
        record = equalised.record
        row |= {"kept": len(record["kept"]), "target": record["target"], "step_seconds": record["seconds"]}
        if flip:
            found = {suspect["place"] for suspect in record["suspects"]}
            row["precision"] = len(found & flipped) / max(1, len(found))
            row["recall"] = len(found & flipped) / len(flipped)
    return {**row, "seconds": round(time.monotonic() - started, 1)}


def halves(task: Task, network: torch.nn.Module, kept_out: Direction, tail: set[int]) -> dict[str, float]:
    """mAP of the held-out images of tail and head vehicles; both share one gallery."""
    rows = {}
    for part, is_tail in (("tail", True), ("head", False)):
        query = tuple(sample for sample in kept_out.query if (sample.pid in tail) == is_tail)
        if query:
            rows[part] = float(measure(task, network, [Direction(part, query, kept_out.gallery)])["mAP"])
    return rows


def _synthetic(source: Source, seed: int) -> tuple[list[Sample], Direction]:
    """Hold out the first images of each vehicle, which are of different cameras."""
    del seed
    seen: Counter[int] = Counter()
    train: list[Sample] = []
    out: list[Sample] = []
    for sample in source.train():
        (out if seen[sample.pid] < _KEPT_OUT else train).append(sample)
        seen[sample.pid] += 1
    return train, Direction("kept_out", tuple(out), tuple(out))


def _two_cam(source: Source, seed: int) -> tuple[list[Sample], Direction]:
    """Hold out one image of half of the vehicles, as queries against the training images."""
    rng = np.random.default_rng((seed, 4))
    samples = source.train()
    tail = set(rng.permutation(sorted({sample.pid for sample in samples}))[::2].tolist())
    camera = {pid: int(rng.integers(2)) for pid in sorted(tail)}
    out = tuple(sample for sample in samples if camera.get(sample.pid) == sample.camid)
    train = [sample for sample in samples if camera.get(sample.pid) != sample.camid]
    return train, Direction("kept_out", out, tuple(train))


SPLITS = {"synthetic": _synthetic, "two_cam": _two_cam}


def with_wrong_labels(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], set[int]]:
    """Samples with a share of labels replaced by another vehicle of the site, and the places of these. A vehicle never
    loses its last image."""
    rng = np.random.default_rng((seed, 5))
    changed, places = list(samples), set[int]()
    left = Counter(sample.pid for sample in samples)
    of_site: dict[str | None, list[int]] = {}
    for sample in samples:
        of_site.setdefault(sample.site, []).append(sample.pid)
    for place in rng.permutation(len(samples)).tolist():
        if len(places) == round(share * len(samples)):
            break
        sample = samples[place]
        others = sorted(set(of_site[sample.site]) - {sample.pid})
        if left[sample.pid] < 2 or not others:
            continue
        left[sample.pid] -= 1
        changed[place] = replace(sample, pid=int(rng.choice(others)))
        places.add(place)
    return changed, places


if __name__ == "__main__":
    command(main, sys.argv[1:])
