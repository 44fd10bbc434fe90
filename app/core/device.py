"""Device, precision and memory layout of a process."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.core.limits import usable_cpus
from app.settings.checks import DEVICE_REMEDY, SettingsError, require_device
from models.input_statistics import InputStatistics


@dataclass(frozen=True)
class Compute:
    """Placement and precision of a network's computation.

    Args:
        device: CPU or GPU.
        dtype: of matrix products and convolutions; parameters stay float32.
        channels_last: memory layout of convolutions.
    """

    device: torch.device
    dtype: torch.dtype
    channels_last: bool

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the network is called."""
        if self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def place(self, network: nn.Module) -> nn.Module:
        """The network on the device, in the memory layout."""
        if self.device.type == "cpu" and self.dtype is torch.bfloat16:
            _train_depthwise_in_float32(network)
        if self.channels_last:
            return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.to(self.device)

    def as_input(self, images: Tensor, statistics: InputStatistics) -> Tensor:
        """Images (N, 3, H, W) uint8 as the input of a network, on their device, in the memory layout."""
        batch = normalise(images, statistics)
        return batch.contiguous(memory_format=torch.channels_last) if self.channels_last else batch


def normalise(images: Tensor, statistics: InputStatistics) -> Tensor:
    """Images (N, 3, H, W) uint8 as float32 with the statistics that the network expects of values in [0, 1]."""
    scale = torch.tensor(statistics.std, device=images.device).view(1, 3, 1, 1) * 255
    shift = torch.tensor(statistics.mean, device=images.device).view(1, 3, 1, 1) * 255
    return (images.float() - shift) / scale


def make_compute(device: str, precision: str, channels_last: bool, threads: int) -> Compute:
    """Resolve "auto" settings for this machine. Raises SettingsError for a missing device."""
    chosen = _device(device)
    if chosen.type == "cuda":  # same seed, same machine: same numbers
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    most = threads or usable_cpus()  # PyTorch heeds affinity, but no quota
    if threads or torch.get_num_threads() > most:
        torch.set_num_threads(most)
    dtype = torch.bfloat16 if precision == "bfloat16" or (precision == "auto" and _gains(chosen)) else torch.float32
    return Compute(chosen, dtype, channels_last)


def _device(name: str) -> torch.device:
    """A device for training on this machine; PyTorch knows others, such as `meta`, which computes nothing."""
    found = require_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found["kind"] == "cuda" and int(found["number"] or 0) >= there:
        raise SettingsError(f"device={name}: the CUDA devices of this machine number {there}{DEVICE_REMEDY}")
    if found["kind"] == "mps" and not torch.backends.mps.is_available():
        raise SettingsError(f"device={name}: this machine has no MPS device{DEVICE_REMEDY}")
    return torch.device(name)


def _gains(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; emulated, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return device.type == "cpu" and has_tiles is not None and bool(has_tiles())


def _train_depthwise_in_float32(network: nn.Module) -> None:
    """Take depthwise convolutions out of autocast while training.

    On CPUs with matrix tiles the bfloat16 gradient of a depthwise convolution is several times slower than float32's:
    EfficientNet-Lite0 at 160 px trained at 14 images a second in bfloat16, 18 in float32 and 25 in this mixture.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.forward = _Float32Convolution(module)  # type: ignore[method-assign, assignment]


class _Float32Convolution:
    def __init__(self, module: nn.Conv2d) -> None:
        self.module = module
        self.plain = type(module).forward

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if not self.module.training:
            return self.plain(self.module, images)
        with torch.autocast("cpu", enabled=False):
            return self.plain(self.module, images.float())
