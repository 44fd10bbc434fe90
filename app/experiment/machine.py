"""Share of this machine that a simulation takes: processors, GPUs, and as many clients at a time as memory holds."""

from typing import Any

from app.core import limits
from app.settings.checks import SettingsError
from app.settings.load import Settings
from app.tasks import make_task

_GIB = 2**30
_PROCESS = 1.0 * _GIB
"""Python with torch, Ray and Flower, of which processes share less than half (1.1 GB resident)."""
_BYTES_A_PIXEL = 2_500
"""What the layers keep of an image for the backward pass, in float32: EfficientNet-Lite0 1,600 bytes a pixel, ResNet50
1,700, ConvNeXt-T 2,200, OSNet 2,500."""
_USUAL_PIXELS = 224**2
_BYTES_A_VALUE = 40
"""Of a client of 25.7 million values above an idle process (docs/benchmarks.md, A federation of real processes):
values, gradients, moments, global model, update and its ciphertext."""
_KEPT = 2.0 * _GIB
"""For the server, Flower's processes and this command."""


def check_machine(settings: Settings) -> None:
    """Raise SettingsError if this machine has no room for even one simulated client."""
    machine, cpus = settings.simulation, _cpus(settings)
    if machine.cpus_per_client > cpus:
        raise SettingsError(
            f"simulation.cpus_per_client={machine.cpus_per_client} is more than the {cpus} CPUs available "
            "(simulation.cpus, or those that this process may use)"
        )
    if machine.gpus_per_client > 0:
        from torch import cuda  # a simulation without GPUs need not wait for it here

        if machine.gpus_per_client > cuda.device_count():
            raise SettingsError(
                f"simulation.gpus_per_client={machine.gpus_per_client:g} is more than the {cuda.device_count()} GPUs "
                "of this machine"
            )


def cpus_to_use(settings: Settings) -> tuple[int, str]:
    """Processors that Ray gets, `simulation.cpus_per_client` to each of its processes, and why not all of them; "" if
    all. `simulation.cpus=N` is taken as it is, and with GPUs their share decides; else no more clients train at a time
    than free memory holds."""
    cpus, machine = _cpus(settings), settings.simulation
    if machine.cpus or machine.gpus_per_client:
        return cpus, ""
    at_once = cpus // machine.cpus_per_client
    network = make_task(settings).build(2, settings.seed, pretrained=False)
    train = settings.train
    batch = (train.batch_size or train.pids_per_batch * train.images_per_pid) * _pixels(settings.model)
    each = _PROCESS + _BYTES_A_PIXEL * batch + _BYTES_A_VALUE * sum(value.numel() for value in network.parameters())
    free = limits.free_memory()
    room = max(1, int((free - _KEPT) // each))
    if room >= min(at_once, settings.federation.num_clients):
        return cpus, ""
    return room * machine.cpus_per_client, (
        f"{room} of {at_once} clients at a time, as {free / _GIB:.0f} GiB of memory are free and one takes about "
        f"{each / _GIB:.1f}; simulation.cpus=N sets how many processors are used"
    )


def _pixels(model: Any) -> int:
    """Pixels of all images of one vehicle in a batch, by the settings of a task's network."""
    branches = [branch for name in ("vehicle", "plate") if (branch := getattr(model, name, None)) is not None]
    found = [branch.image_size**2 for branch in branches if hasattr(branch, "image_size")]
    return sum(found) or getattr(model, "height", 0) * getattr(model, "width", 0) or _USUAL_PIXELS


def _cpus(settings: Settings) -> int:
    return settings.simulation.cpus or limits.usable_cpus()
