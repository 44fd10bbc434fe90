"""Trained plate reader, opened from a run folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from app.core.arrays import Arrays, float_arrays
from app.core.sample import Sample
from app.data.crops import Size
from app.evaluation.plate_texts import PlateReading
from app.settings.load import Settings, SettingsError, absolute
from app.settings.stored import with_overrides
from app.tasks import make_task
from app.tasks.plate_text import PlateText
from app.training.checkpoint import Checkpoint, network_of
from app.training.packaged_reader import packaged_reader


@dataclass(frozen=True)
class PlateRun:
    """The task, its network in evaluation mode with hashed layers expanded, and the settings of both.

    Args:
        file: the checkpoint; None for an untrained network and for the packaged one.
    """

    settings: Settings
    task: PlateText
    network: nn.Module
    file: Path | None

    @classmethod
    def open(cls, run: str, model: str, words: Sequence[str]) -> "PlateRun":
        """The checkpoint `model` of a run folder; for "" the global one, or the central one of a run without it.

        Raises SettingsError for a run of another task and for unknown overrides, FileNotFoundError without such a
        checkpoint."""
        folder = absolute(run)
        there = [name for name in ("global", "central") if (folder / f"{name}.safetensors").is_file()]
        model = model or (there or ["global"])[0]
        checkpoint = Checkpoint.read(folder, model)
        settings = with_overrides(checkpoint.settings, words)
        return cls._of(checkpoint.arrays, settings, folder / f"{model}.safetensors")

    @classmethod
    def packaged(cls, words: Sequence[str]) -> "PlateRun":
        """The reader that comes with the package. Raises SettingsError for unknown overrides, and as
        `packaged_reader`."""
        checkpoint = packaged_reader()
        return cls._of(checkpoint.arrays, with_overrides(checkpoint.settings, words), None)

    @classmethod
    def untrained(cls, settings: Settings) -> "PlateRun":
        """The untrained network, without a checkpoint."""
        arrays = float_arrays(make_task(settings).build(1, settings.seed, pretrained=False))
        return cls._of(arrays, settings, None)

    @classmethod
    def _of(cls, arrays: Arrays, settings: Settings, file: Path | None) -> "PlateRun":
        if settings.task != PlateText.name:
            raise SettingsError(f"the task {settings.task} reads no plates")
        task, network = network_of(arrays, settings)
        assert isinstance(task, PlateText)
        return cls(settings, task, network.eval(), file)

    @property
    def device(self) -> torch.device:
        return self.task.compute.device

    @property
    def size(self) -> Size:
        """Size of the network's input images."""
        return self.settings.model.height, self.settings.model.width

    def read(self, samples: Sequence[Sample]) -> list[PlateReading | None]:
        """As `PlateText.read`."""
        return self.task.read(self.network, samples, self.device)

    def read_images(self, images: Tensor, country: str = "") -> list[PlateReading]:
        """As `PlateText.read_images`."""
        return self.task.read_images(self.network, images, self.device, country)
