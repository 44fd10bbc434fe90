"""Share of this machine that a simulation takes: processors, GPUs, and as many clients at a time as memory holds."""

import os

import psutil

from app.settings.checks import SettingsError
from app.settings.load import Settings
from app.tasks import make_task

_GIB = 2**30
_PROCESS = 1.0 * _GIB
"""Python with torch, Ray and Flower, of which processes share less than half (1.1 GB resident)."""
_BATCH = 1.0 * _GIB
"""Images and what the layers keep of a batch, roughly: 16 images of 208 px take an EfficientNet-Lite0 0.8 GB."""
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
            "(simulation.cpus, or this machine)"
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
    all. `simulation.cpus=N` is taken as it is; else no more clients train at a time than free memory holds."""
    cpus, machine = _cpus(settings), settings.simulation
    if machine.cpus:
        return cpus, ""
    at_once = cpus // machine.cpus_per_client
    network = make_task(settings).build(2, settings.seed, pretrained=False)
    each = _PROCESS + _BATCH + _BYTES_A_VALUE * sum(value.numel() for value in network.parameters())
    free = psutil.virtual_memory().available
    room = max(1, int((free - _KEPT) // each))
    if room >= min(at_once, settings.federation.num_clients):
        return cpus, ""
    return room * machine.cpus_per_client, (
        f"{room} of {at_once} clients at a time, as {free / _GIB:.0f} GiB of memory are free and one takes about "
        f"{each / _GIB:.1f}; simulation.cpus=N sets how many processors are used"
    )


def _cpus(settings: Settings) -> int:
    return settings.simulation.cpus or os.cpu_count() or 1
