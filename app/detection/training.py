"""Training a detector: AdamW with warm-up and a cosine, on photographs and rendered scenes."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from app.core.device import Compute
from app.detection.stream import DetectionBatches
from app.settings.sections import TrainSettings
from app.training.optimiser import make_optimiser, set_learning_rate
from app.training.trainer import TrainingError
from models.detector import Detector

_CLIP = 10.0


def train_detector(
    detector: Detector,
    batches: DetectionBatches,
    *,
    steps: int,
    lr: float,
    compute: Compute,
    size: int | None = None,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Train in place, from step 0 to `steps`.

    Args:
        size: longer side that images are brought to, pixels, in place of the detector's own.

    Raises TrainingError naming the step if the loss is not finite."""
    settings = TrainSettings(lr=lr, weight_decay=0.05, warm_up=0.05)
    engine = make_optimiser(detector, settings, [])
    parameters = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    transform: Any = detector.network.transform
    own = transform.min_size, transform.max_size
    if size is not None:
        transform.min_size, transform.max_size = (size,), size
    detector.train()
    for step in range(steps):
        images, targets = batches[step]
        moved = [{name: value.to(compute.device) for name, value in target.items()} for target in targets]
        rate = set_learning_rate(engine, step, steps, settings)
        losses = detector.losses([image.to(compute.device) for image in images], moved)
        total = torch.stack(list(losses.values())).sum()
        if not math.isfinite(total.item()):
            raise TrainingError(
                f"training diverged, the loss is not finite at step {step} (steps 0 to {steps - 1}, learning rate "
                f"{rate:g}); lower lr"
            )
        engine.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(parameters, _CLIP)
        engine.step()
        if progress is not None:
            progress(step + 1, {name: float(value.detach()) for name, value in losses.items()})
    transform.min_size, transform.max_size = own
    detector.eval()
