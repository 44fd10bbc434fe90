"""The sections of the settings: frozen dataclasses with their defaults, units and limits."""

from dataclasses import dataclass, field

from app.settings.checks import SettingsError, in_range, one_of, require_path
from app.settings.equalise import EqualiseSettings
from app.settings.synthetic import SyntheticSettings


@dataclass(frozen=True)
class PartitionSettings:
    """How pictures are dealt to simulated clients; "none" gives a node all it has (deployment)."""

    by: str = "identity"
    alpha: float = 0.5

    def __post_init__(self) -> None:
        one_of("data.partition.by", self.by, ("site", "identity", "camera", "dirichlet", "none"))
        in_range("data.partition.alpha", self.alpha, 1e-3)


@dataclass(frozen=True)
class MadePlatesSettings:
    """Plates that are drawn while a reader of plates trains.

    Args:
        share: of a batch; 1 for made plates alone, of which an epoch has as many as there are real ones.
        kinds: countries whose plates are made; empty for all.
    """

    share: float = 0.0
    kinds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        in_range("data.made_plates.share", self.share, 0.0, 1.0)


@dataclass(frozen=True)
class DataSettings:
    """Which pictures there are.

    Args:
        reader: a data set by name; "synthetic" makes one.
        root: its folder; for "synthetic" the folder that holds the made sets.
        holdout: share of the training vehicles kept out of training; they make the split "holdout".
        val_split: the split on which rounds are measured, "" for none.
        eval_split: the split of the final figures.
        cache_mb: decoded pictures kept in memory, MiB.
        cache_dir: folder that keeps decoded pictures from process to process, "" for none; a node has its own.
        cache_dir_mb: MiB that it may hold.
        workers: loader processes beside the training process.
    """

    reader: str
    root: str
    holdout: float = 0.0
    val_split: str = ""
    eval_split: str = "test"
    cache_mb: int = 2048
    cache_dir: str = ""
    cache_dir_mb: int = 16384
    workers: int = 0
    partition: PartitionSettings = field(default_factory=PartitionSettings)
    synthetic: SyntheticSettings = field(default_factory=SyntheticSettings)
    made_plates: MadePlatesSettings = field(default_factory=MadePlatesSettings)
    equalise: EqualiseSettings = field(default_factory=EqualiseSettings)

    def __post_init__(self) -> None:
        require_path("data.root", self.root)
        in_range("data.holdout", self.holdout, 0.0, 0.9)
        in_range("data.cache_mb", self.cache_mb, 0)
        in_range("data.cache_dir_mb", self.cache_dir_mb, 0)
        in_range("data.workers", self.workers, 0, 64)


@dataclass(frozen=True)
class AugmentSettings:
    """Online augmentation of training pictures; 0 switches a part off.

    Args:
        flip: probability of a mirrored vehicle. Plates are never mirrored and never erased.
        shift: largest translation, as a share of the side.
        rotate: largest rotation, degrees.
        zoom: largest relative change of size.
        colour: strength of brightness, contrast and saturation changes.
        grey: probability that a picture loses its colour, which an infrared one has not.
        blur: probability of a Gaussian blur.
        erase: probability of an erased rectangle.
        rain: probability of a vehicle in rain.
        night: probability of a vehicle in little light.
        plate_drop: probability that a training sample is shown without its plate.
    """

    flip: float = 0.5
    shift: float = 0.06
    rotate: float = 5.0
    zoom: float = 0.1
    colour: float = 0.25
    grey: float = 0.0
    blur: float = 0.1
    erase: float = 0.3
    rain: float = 0.0
    night: float = 0.0
    plate_drop: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "grey", "blur", "erase", "rain", "night", "plate_drop"):
            in_range(f"train.augment.{name}", getattr(self, name), 0.0, 1.0)
        for name in ("shift", "zoom", "colour"):
            in_range(f"train.augment.{name}", getattr(self, name), 0.0, 0.9)
        in_range("train.augment.rotate", self.rotate, 0.0, 180.0)


@dataclass(frozen=True)
class TrainSettings:
    """How one network is trained; the schedule spans the whole federation.

    Args:
        batch_size: pictures in a batch of a task that does not draw them by vehicle; 0 for pids_per_batch times
            images_per_pid.
        epochs: passes over a client's pictures in the whole run, over all rounds together.
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
        channels_last: memory layout of pictures and convolutions.
        threads: CPU threads of the process, 0 for PyTorch's own choice.
    """

    epochs: float = 10.0
    optimiser: str = "adamw"
    lr: float = 3e-4
    momentum: float = 0.9
    weight_decay: float = 0.05
    schedule: str = "cosine"
    warm_up: float = 0.05
    warm_up_from: float = 0.0
    final_lr: float = 0.01
    steps: list[float] = field(default_factory=list)
    step_factor: float = 0.1
    pids_per_batch: int = 8
    images_per_pid: int = 4
    batch_size: int = 0
    head_lr_scale: float = 1.0
    head_init: str = "random"
    head_warm_up: float = 0.0
    keep_optimiser: bool = True
    clip_norm: float = 5.0
    fedprox_mu: float = 0.0
    precision: str = "auto"
    channels_last: bool = True
    threads: int = 0
    augment: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        one_of("train.optimiser", self.optimiser, ("adamw", "adam", "sgd"))
        one_of("train.schedule", self.schedule, ("cosine", "steps"))
        one_of("train.head_init", self.head_init, ("centres", "random"))
        one_of("train.precision", self.precision, ("auto", "float32", "bfloat16"))
        in_range("train.epochs", self.epochs, 1e-6)
        in_range("train.lr", self.lr, 0.0)
        for name in ("warm_up", "warm_up_from", "final_lr", "step_factor", "head_warm_up"):
            in_range(f"train.{name}", getattr(self, name), 0.0, 1.0)
        if self.schedule == "steps" and not self.steps:
            raise SettingsError("train.schedule=steps needs train.steps")
        for before, step in zip([self.warm_up, *self.steps], self.steps, strict=False):
            in_range("train.steps, which ascend from train.warm_up to 1:", step, before, 1.0)
        in_range("train.pids_per_batch", self.pids_per_batch, 2)
        in_range("train.images_per_pid", self.images_per_pid, 1)
        in_range("train.batch_size", self.batch_size, 0)
        for name in ("momentum", "weight_decay", "head_lr_scale", "clip_norm", "fedprox_mu", "threads"):
            in_range(f"train.{name}", getattr(self, name), 0.0)


@dataclass(frozen=True)
class EvaluationSettings:
    """How networks are measured.

    Args:
        embedding: the library that gives the headline: "fused", "vehicle" or "plate".
        rerank: k-reciprocal re-ranking as a second set of figures.
        batch_size: pictures embedded at once.
        ranked_lists: queries shown in the ranked-list picture, 0 for none.
        compare: models trained for comparison: "stand_alone", "central".
        central_overrides, stand_alone_overrides: settings changed for these models, as Hydra overrides: each is to be
            compared at its own best.
    """

    embedding: str = "fused"
    rerank: bool = False
    batch_size: int = 64
    ranked_lists: int = 6
    compare: list[str] = field(default_factory=list)
    central_overrides: list[str] = field(default_factory=list)
    stand_alone_overrides: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        one_of("evaluation.embedding", self.embedding, ("fused", "vehicle", "plate"))
        in_range("evaluation.batch_size", self.batch_size, 1)
        in_range("evaluation.ranked_lists", self.ranked_lists, 0)
        for name in self.compare:
            one_of("evaluation.compare", name, ("stand_alone", "central"))


@dataclass(frozen=True)
class SimulationSettings:
    """What a simulated client gets of this machine. `cpus` 0 means all cores."""

    cpus: int = 0
    cpus_per_client: int = 1
    gpus_per_client: float = 0.0

    def __post_init__(self) -> None:
        for name in ("cpus", "gpus_per_client"):
            in_range(f"simulation.{name}", getattr(self, name), 0.0)
        in_range("simulation.cpus_per_client", self.cpus_per_client, 1)
