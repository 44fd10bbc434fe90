"""Loader of `conf/`, the only one: Hydra composes, this module checks and returns frozen typed settings.

An unknown key, a wrong type or a value out of range stops here, with the key's name (`SettingsError`).
"""

import json
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from warnings import catch_warnings, filterwarnings

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from app.settings.checks import SettingsError, require_device, require_file_name, require_finite, require_kept_memory
from app.settings.federation import FederationSettings
from app.settings.hints import first_leaf, key_hint, keys_of, refused, unnamed_choice
from app.settings.overrides import readable
from app.settings.personalise import PersonaliseSettings
from app.settings.plug_in_names import require_declared
from app.settings.privacy import PrivacySettings, retired
from app.settings.section import settings_error
from app.settings.sections import (
    DataSettings,
    EvaluationSettings,
    SimulationSettings,
    TrainSettings,
)
from app.settings.synthetic import sites_follow
from app.settings.tasks import known_tasks, task_modules
from strategies.ciphers.limits import MAX_CLIENTS

_MAX_INT, _MAX_SEED = 2**31 - 1, 2**63 - 1
MISSING = "???"
"""Hydra's mark for a value that the user must give; the server of a real federation does not need all of them."""


@dataclass(frozen=True)
class Settings:
    """All settings of a run. `model` and `loss` have the types declared by the task."""

    name: str
    seed: int
    run_dir: str
    device: str
    task: str
    data: DataSettings
    model: Any
    loss: Any
    train: TrainSettings
    federation: FederationSettings
    privacy: PrivacySettings
    evaluation: EvaluationSettings
    simulation: SimulationSettings
    personalise: PersonaliseSettings = field(default_factory=PersonaliseSettings)

    def __post_init__(self) -> None:
        privacy, federation = self.privacy, self.federation
        encrypted = privacy.cipher != "plain"
        if encrypted and 0 < privacy.max_clients < federation.num_clients:
            raise SettingsError(f"privacy.max_clients={privacy.max_clients} is below federation.num_clients")
        if encrypted and federation.num_clients > MAX_CLIENTS:
            raise SettingsError(f"federation.num_clients is over {MAX_CLIENTS}, the most that can be encrypted for")
        if (encrypted or privacy.dp.clip) and federation.weighting == "cosine_distance":
            raise SettingsError(
                "federation.weighting=cosine_distance tells the server how far each client's features moved; it needs "
                "privacy=plain without privacy.dp"
            )
        if self.personalise.enabled and self.data.val_split in (self.data.eval_split, "train", "all"):
            raise SettingsError(
                f"data.val_split={self.data.val_split}: personal models would be chosen on images that are trained on "
                "or measured at the end; name another split, or data.val_split= to hold vehicles out"
            )
        require_kept_memory(getattr(self.loss, "memory", 0), keeps=self.train.keep_optimiser)
        if self.data.weather != "none" and not task_modules(self.task).embeds:
            raise SettingsError(f"data.weather={self.data.weather} is of vehicles; task={self.task} has none")
        equalise = self.data.equalise
        if (equalise.on or equalise.target) and not task_modules(self.task).embeds:
            raise SettingsError(f"data.equalise: the task {self.task} has no embeddings to compare images by")
        if equalise.on and equalise.from_round > federation.rounds:
            raise SettingsError(
                f"data.equalise.from_round={equalise.from_round} is after the last round (federation.rounds)"
            )
        cohort = round(federation.fraction * federation.num_clients)
        if privacy.colluding is not None and privacy.colluding > cohort - 2:
            raise SettingsError(f"privacy.colluding={privacy.colluding}: a sum of {cohort} clients has two honest ones")

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures of the task's tables; the first is the headline."""
        return task_modules(self.task).measures

    @property
    def averaged_from(self) -> int | None:
        """Version of the first global model in the mean of the last ones, which `federation.averaged_rounds` or else
        `personalise.averaged_rounds` asks for; None for no mean. The untrained model is never part of it."""
        federation, personalise = self.federation, self.personalise
        count = personalise.averaged_rounds if personalise.enabled else 0
        count = federation.averaged_rounds if federation.averages else count
        return max(1, federation.rounds - count + 1) if count else None

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, for the run folder and for checkpoints."""
        return asdict(self)


_SECTIONS = {
    "data": DataSettings,
    "train": TrainSettings,
    "federation": FederationSettings,
    "privacy": PrivacySettings,
    "evaluation": EvaluationSettings,
    "simulation": SimulationSettings,
    "personalise": PersonaliseSettings,
}
_TASK_SECTIONS = {"model": "ModelSettings", "loss": "LossSettings"}
_SCALARS = {"name": str, "seed": int, "run_dir": str, "device": str, "task": str}


def load_settings(overrides: str | Sequence[str] = "") -> Settings:
    """Compose `conf/config.yaml` with Hydra overrides, given as one string or as a list.

    Raises SettingsError naming the key that is unknown, missing, or of a wrong type or value.
    """
    return startable(settings_from(composed(overrides), stored=False))


def composed(overrides: str | Sequence[str] = "") -> dict[str, Any]:
    """The values of `load_settings` before they are checked. Raises SettingsError if Hydra cannot compose them."""
    try:
        given = shlex.split(overrides) if isinstance(overrides, str) else overrides
    except ValueError as error:
        raise SettingsError(f"the overrides {overrides!r} are not words of a shell: {error}") from error
    words = [_forced(readable(spelt_out(word), text_keys())) for word in given]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("conf", version_base="1.3"), catch_warnings():
            filterwarnings("error", "provider=.* is not available", UserWarning)  # Hydra would go on without the place
            raw = OmegaConf.to_container(compose("config", overrides=words), resolve=True)
    except UserWarning as error:
        place = str(error).partition("path=")[2].removesuffix(" is not available.")
        raise SettingsError(f"hydra.searchpath names {place!r}, where there is no folder or package") from error
    except (HydraException, OmegaConfBaseException) as error:
        message = refused(error, known_keys()) or _first_lines(error)
        raise SettingsError(message) from error
    except ValueError as error:  # a group whose choice is a number or null
        groups = [word for word in words if word.partition("=")[0].lstrip("+~") in plain_keys()]
        raise SettingsError(unnamed_choice(words, plain_keys()) or f"{' '.join(groups)}: {error}") from error
    assert isinstance(raw, dict)
    return sites_follow({str(key): value for key, value in raw.items()})


def startable(settings: Settings) -> Settings:
    """The settings of a new run. Raises SettingsError for what only stored ones may hold, and for a device's name."""
    require_file_name("name", settings.name)
    require_device(settings.device)
    dp = settings.privacy.dp
    if dp.clip and dp.noise_multiplier and settings.federation.batch_norm == "shared":
        raise SettingsError(
            "privacy.dp with noise cannot go with federation.batch_norm=shared: noise on running variances breaks the "
            "network; add federation.batch_norm=local"
        )
    return settings


def settings_from(raw: Mapping[str, Any], *, stored: bool = True) -> Settings:
    """Typed settings from nested dictionaries. Raises SettingsError.

    Args:
        stored: whether they are of a file, such as a checkpoint, whose plug-ins must be declared here.
    """
    if stored:
        require_declared(raw)
    for name in raw:
        if name not in {each.name for each in fields(Settings)}:
            raise SettingsError(f"unknown key {name!r}{key_hint(first_leaf(name, raw[name]), known_keys())}")
    if remedy := retired(raw.get("privacy")):
        raise SettingsError(remedy)
    values: dict[str, Any] = {}
    for name, kind in _SCALARS.items():
        if name not in raw or type(raw[name]) is not kind:  # True is an int to isinstance
            raise SettingsError(f"{name} must be of type {kind.__name__}, got {raw.get(name)!r}")
        values[name] = raw[name]
    _refuse_huge("seed", values["seed"])
    require_finite("", raw)
    if values["seed"] < 0:
        raise SettingsError(f"seed must be at least 0; got {values['seed']}")
    task = import_module(task_modules(values["task"]).settings)
    for name, section in {**_SECTIONS, "model": task.ModelSettings, "loss": task.LossSettings}.items():
        try:
            values[name] = _typed(name, section, raw.get(name, {}))
        except SettingsError as error:
            if not str(error).startswith("unknown key"):
                raise
            hint = f", which the task {values['task']} does not have; start from an experiment of that task"
            near = key_hint(str(error).removeprefix("unknown key "), known_keys(values["task"]))
            raise SettingsError(f"{error}{hint if name in ('model', 'loss') and not near else ''}{near}") from error
    return Settings(**values)


def known_keys(task: str = "dual_reid") -> list[str]:
    """Every key of the settings of a task."""
    module = import_module(task_modules(task).settings)
    return keys_of({**_SECTIONS, "model": module.ModelSettings, "loss": module.LossSettings}, _SCALARS)


def spelt_out(override: str) -> str:
    """`data.equalise=median`, short for `data.equalise.target=median`, in full; another override as it is."""
    key, _, value = override.partition("=")
    short = key.lstrip("+") == "data.equalise" and not value.startswith("{")
    return f"{key}.target={value}" if short else override


@cache
def plain_keys() -> frozenset[str]:
    """Keys without a dot that overrides may set: sections, groups of `conf/` and settings outside of sections."""
    return frozenset({"experiment", *_SCALARS, *_SECTIONS, *_TASK_SECTIONS})


def unknown_key(key: str) -> SettingsError:
    """The error for an unknown key, with the most similar one."""
    return SettingsError(f"unknown key {key}{key_hint(key, known_keys())}")


@cache
def text_keys() -> frozenset[str]:
    """The settings whose values are texts, of every task, as dotted keys."""
    modules = [import_module(task.settings) for task in known_tasks().values()]
    tasks = [(name, getattr(module, kind)) for module in modules for name, kind in _TASK_SECTIONS.items()]
    found = {key for name, cls in [*_SECTIONS.items(), *tasks] for key in _texts(name, cls)}
    return frozenset({*found, *(name for name, kind in _SCALARS.items() if kind is str)})


def _texts(section: str, cls: type) -> Iterator[str]:
    for name, hint in get_type_hints(cls).items():
        words = get_origin(hint) is Literal and all(isinstance(each, str) for each in get_args(hint))
        if hint is str or hint == str | None or words:
            yield f"{section}.{name}"
        for part in (hint, *get_args(hint)):
            if isinstance(part, type) and is_dataclass(part):
                yield from _texts(f"{section}.{name}", part)


def _forced(override: str) -> str:
    """An override that Hydra accepts for a key absent from all YAML files: defaults stand in the dataclasses, which
    refuse unknown keys. Group choices such as `data=two_cam` are not changed."""
    key = override.split("=", 1)[0]
    return f"++{override}" if "." in key and override[0] not in "+~" and not key.startswith("hydra.") else override


def absolute(settings_path: str) -> Path:
    """A path from the settings, absolute; relative ones count from the working folder."""
    return Path(os.path.realpath(os.path.expanduser(settings_path)))  # noqa: PTH111 - raises for no user and no loop


def _typed(section: str, cls: type, raw: Any) -> Any:
    """`raw` as an instance of the dataclass `cls`; strict: no unknown key, no text where a number belongs."""
    _refuse_huge(section, raw)
    try:
        return TypeAdapter(cls).validate_json(json.dumps(raw))  # strict mode accepts dictionaries only from JSON
    except ValidationError as error:
        raise settings_error(section, cls, error) from error


def _refuse_huge(key: str, value: Any) -> None:
    """Raise SettingsError for a number that the libraries behind a setting cannot hold."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            _refuse_huge(f"{key}.{name}", item)
    elif isinstance(value, list):
        for item in value:
            _refuse_huge(key, item)
    elif isinstance(value, int) and abs(value) > (most := _MAX_SEED if key.endswith("seed") else _MAX_INT):
        got = value if value.bit_length() < 128 else f"a number of about {value.bit_length() * 0.30103:.0f} digits"
        raise SettingsError(f"{key} must be at most {most}; got {got}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"{key} must be a finite number; got {value}")


def _first_lines(error: Exception, count: int = 15) -> str:
    text = str(error).split("Config search path:")[0]  # the rest is about Hydra, not about the mistake
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:count])
