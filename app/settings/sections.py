"""Sections of the settings: frozen dataclasses with their defaults, units and limits."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from app.settings.augment import AugmentSettings
from app.settings.checks import SettingsError
from app.settings.equalise import EqualiseSettings
from app.settings.section import AtLeastOne, Count, NotNegative, PathText, Share, part, section
from app.settings.synthetic import SyntheticSettings
from app.settings.weather import Weather


@section("data.partition")
class PartitionSettings:
    """Partition of the images over simulated clients; "none" gives a node all images (deployment)."""

    by: Annotated[str, part("partitioners", "site", "identity", "camera", "dirichlet", "none")] = "identity"
    alpha: Annotated[float, Field(ge=1e-3)] = 0.5


@section("data.made_plates")
class MadePlatesSettings:
    """Synthetic plates, rendered while a plate reader trains.

    Args:
        share: of a batch; 1 for synthetic plates only, in an epoch as many as there are real ones.
        kinds: countries of the plates; empty for all.
        photographs: share of them that are cut out of the photograph of a whole vehicle, seen worse than crops are.
    """

    share: Share = 0.0
    kinds: list[str] = field(default_factory=list)
    photographs: Share = 0.0


@section("data")
class DataSettings:
    """Data set, splits and caches.

    Args:
        reader: a data set by name; "synthetic" renders one.
        root: its folder; for "synthetic" the parent folder of the rendered sets.
        holdout: share of the training vehicles kept out of training; they form the split "holdout".
        folds: for cross-validation: the vehicles of the whole set, whatever its own splits, are divided into so many
            parts, sequences of photographs undivided; 0 for none.
        fold: the part, from 0, that is kept out of training; it forms the split "fold".
        val_split: the split on which rounds are measured, "" for none.
        eval_split: the split of the final figures.
        background: patches of each training photograph beside its vehicles that are trained on as further identities,
            where a visible and an infrared photograph are aligned pixel to pixel; see `app.data.background`.
        weather: rendered into the queries of `eval_split`; the gallery stays as it is, since vehicles are enrolled by
            day and identified in any weather.
        cache_mb: decoded images kept in memory, MiB.
        cache_dir: folder of decoded images shared by processes, "" for none; a node has its own.
        cache_dir_mb: its largest size, MiB.
        workers: loader processes beside the training process.
    """

    reader: str
    root: PathText
    holdout: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0
    folds: Annotated[int, Field(ge=0, le=1000)] = 0
    fold: Count = 0
    val_split: str = ""
    eval_split: str = "test"
    background: Annotated[int, Field(ge=0, le=100)] = 0
    weather: Literal["none", Weather] = "none"
    cache_mb: Count = 2048
    cache_dir: str = ""
    cache_dir_mb: Count = 16384
    workers: Annotated[int, Field(ge=0, le=64)] = 0
    partition: PartitionSettings = field(default_factory=PartitionSettings)
    synthetic: SyntheticSettings = field(default_factory=SyntheticSettings)
    made_plates: MadePlatesSettings = field(default_factory=MadePlatesSettings)
    equalise: EqualiseSettings = field(default_factory=EqualiseSettings)

    def __post_init__(self) -> None:
        if self.folds == 1:
            raise SettingsError("data.folds must be at least 2, or 0 for none; got 1")
        if self.fold >= max(self.folds, 1):
            limit = f"below data.folds={self.folds}" if self.folds else "0 without data.folds"
            raise SettingsError(f"data.fold must be {limit}; got {self.fold}")
        if self.background and self.equalise.on:
            raise SettingsError(
                f"data.background={self.background} and data.equalise: patches are no vehicles to be equalised; use one"
            )


@section("train")
class TrainSettings:
    """Training of one network; the schedule spans the whole federation.

    Args:
        batch_size: images in a batch of a task that does not sample by vehicle; 0 for pids_per_batch times
            images_per_pid.
        epochs: over a client's images in the whole run, all rounds together.
        optimiser: "adamw", "adam" (weight decay in the gradient) or "sgd".
        schedule: "cosine", or "steps": `lr` times `step_factor` for each of `steps` that is past.
        warm_up: share of the run in which the learning rate rises from `warm_up_from`, a share of `lr`.
        final_lr: learning rate at the end of the cosine, as a share of `lr`.
        steps: shares of the run, ascending, none in the warm-up.
        head_lr_scale: learning rate of private arrays relative to shared ones.
        head_init: "centres" sets classifier rows to the class centres of the received features, "random" leaves them.
        head_warm_up: share of the run in which only private arrays learn.
        keep_optimiser: whether a node keeps the optimiser's moments from round to round.
        clip_norm: largest gradient norm, 0 for none.
        fedprox_mu: weight of the proximal term 0.5 mu ||w - w_global||^2 (Li et al., 2020, Eq. 2).
        precision: "float32", "bfloat16", or "auto": bfloat16 where the device multiplies it in hardware.
        channels_last: memory layout of images and convolutions.
        threads: CPU threads of the process, 0 for PyTorch's own choice.
    """

    epochs: Annotated[float, Field(ge=1e-6)] = 10.0
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: NotNegative = 3e-4
    momentum: NotNegative = 0.9
    weight_decay: NotNegative = 0.05
    schedule: Literal["cosine", "steps"] = "cosine"
    warm_up: Share = 0.05
    warm_up_from: Share = 0.0
    final_lr: Share = 0.01
    steps: list[Share] = field(default_factory=list)
    step_factor: Share = 0.1
    pids_per_batch: Annotated[int, Field(ge=2)] = 8
    images_per_pid: AtLeastOne = 4
    batch_size: Count = 0
    head_lr_scale: NotNegative = 1.0
    head_init: Literal["centres", "random"] = "random"
    head_warm_up: Share = 0.0
    keep_optimiser: bool = True
    clip_norm: NotNegative = 5.0
    fedprox_mu: NotNegative = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: bool = True
    threads: Count = 0
    augment: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        if self.schedule == "steps" and not self.steps:
            raise SettingsError("train.schedule=steps needs train.steps")
        for before, step in zip([self.warm_up, *self.steps], self.steps, strict=False):
            if step < before:
                raise SettingsError(f"train.steps must ascend from train.warm_up; got {step:g} after {before:g}")


@section("evaluation")
class EvaluationSettings:
    """Evaluation of networks.

    Args:
        embedding: the library of the headline: "fused", "vehicle" or "plate".
        rerank: k-reciprocal re-ranking as a second set of figures.
        batch_size: images embedded at once.
        views: of an image, over which its embedding is averaged: 1 (as it is), 2 (mirrored too) or 4 (6 % tighter, and
            that mirrored too). It belongs to the model: a register embeds as the run was measured.
        ranked_lists: queries shown in the ranked-list image, 0 for none.
        compare: models trained for comparison: "stand_alone", "central".
        central_overrides, stand_alone_overrides: settings changed for these models, as Hydra overrides, so that each is
            compared at its own best.
    """

    embedding: Literal["fused", "vehicle", "plate"] = "fused"
    rerank: bool = False
    batch_size: AtLeastOne = 64
    views: Literal[1, 2, 4] = 1
    ranked_lists: Count = 6
    compare: list[Literal["stand_alone", "central"]] = field(default_factory=list)
    central_overrides: list[str] = field(default_factory=list)
    stand_alone_overrides: list[str] = field(default_factory=list)


@section("simulation")
class SimulationSettings:
    """Resources of a simulated client on this machine. `cpus` 0 means all that the process may use, or as many as have
    memory for their clients."""

    cpus: Count = 0
    cpus_per_client: AtLeastOne = 1
    gpus_per_client: NotNegative = 0.0
