"""Speed of the trainer against a bare PyTorch loop over the same network, losses and batches.

Run: python -m scripts.bench.training [experiment=... key=value ...]
Both train the same images in turn, several times; the figure is the ratio of their best images a second.
"""

import json
import sys
import time
from collections.abc import Sequence

import torch

from app.core.arrays import home_patterns
from app.data.dataset import open_source
from app.settings.load import Settings, load_settings
from app.tasks import make_task
from app.training.trainer import train


def main(argv: Sequence[str]) -> None:
    """Print one JSON object with both speeds and their ratio."""
    print(json.dumps(measure(load_settings([*SMALL, *argv]))))


SMALL = [  # one site, whose images are quickly rendered
    "experiment=quickstart",
    "data.synthetic.sites=1",
    "data.synthetic.train_vehicles_per_site=12",
    "data.synthetic.train_pictures_max=8",
    "data.synthetic.val_vehicles_per_site=2",
    "data.synthetic.test_vehicles_per_site=2",
    "data.partition.by=none",
]


def measure(settings: Settings, *, steps: int = 12, repeats: int = 4) -> dict[str, float | str]:
    """Images a second of trainer and bare loop, alternating so that both have the same disturbances."""
    samples = open_source(settings.data, settings.seed).train()
    task = make_task(settings)
    network = task.build(task.num_labels(samples), settings.seed)
    batches = task.batches(samples, settings.seed)
    for index in range(batches.batches_per_epoch):  # decodes every image before the clock starts
        batches[index]
    best = {"trainer": 0.0, "bare": 0.0}
    for _ in range(repeats):
        started = time.perf_counter()
        report = train(
            task,
            network,
            batches,
            steps=(0, steps),
            total=steps,
            settings=settings.train,
            data=settings.data,
            compute=task.compute,
            private=home_patterns(network, settings.federation, task.heads),
        )
        best["trainer"] = max(best["trainer"], report.num_images / (time.perf_counter() - started))
        fused = True if task.compute.device.type == "cpu" else None  # as the trainer's
        optimiser = torch.optim.AdamW(network.parameters(), lr=settings.train.lr, fused=fused)
        started, images = time.perf_counter(), 0
        for index in range(steps):
            batch = batches[index].to(task.compute.device)
            loss = task.losses(network, batch)["total"]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            images += batch.num_images
        best["bare"] = max(best["bare"], images / (time.perf_counter() - started))
    ratio = best["trainer"] / best["bare"]
    return {
        "bench": "training",
        "trainer_pictures_per_s": round(best["trainer"], 1),
        "bare_pictures_per_s": round(best["bare"], 1),
        "ratio": round(ratio, 3),
        "aim": "at least 0.95",
    }


if __name__ == "__main__":
    main(sys.argv[1:])
