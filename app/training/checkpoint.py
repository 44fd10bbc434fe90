"""Checkpoints of networks that embed: arrays without private classifiers, and the settings they were trained with."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from app.core.arrays import Arrays, float_arrays, load_arrays
from app.core.errors import StoredFileError
from app.core.node_store import digest_of
from app.core.run_folder import RunFolder
from app.core.site_runs import remedy
from app.settings import upgrades
from app.settings.load import Settings, SettingsError, settings_from
from app.tasks import make_task
from app.tasks.task import Task
from models.adapters import merge_adapters
from models.errors import MissingFileError
from models.hashed import expand_layers
from strategies.shared_arrays import is_private

_SETTINGS, _IDENTITY = "settings", "identity"


@dataclass(frozen=True)
class Checkpoint:
    """What a run learnt.

    Args:
        arrays: of the network, by name; those of private classifiers may be missing.
        settings: of the run, as nested dictionaries.
        identity: what the digest says of the settings, if it is not what they say now: an upgrade of their keys makes
            no other model of a checkpoint, whose embeddings and thresholds stay valid.
    """

    arrays: Arrays
    settings: dict[str, Any]
    identity: list[Any] | None = None

    @classmethod
    def read(cls, folder: Path, model: str) -> "Checkpoint":
        """`model`.safetensors of a run folder, or of a site's folder of a run, `state/models/<run>`.

        Raises FileNotFoundError saying what is there, and ValueError for a file of another kind."""
        try:
            arrays, metadata = RunFolder.existing(folder).load_arrays(model)
        except FileNotFoundError as error:
            raise MissingFileError(f"{error}{remedy(folder)}") from error
        if _SETTINGS not in metadata:
            raise StoredFileError(
                f"{folder / model}.safetensors is not a checkpoint of this project: no settings in it"
            )
        return cls(arrays, *_settings_in(folder / f"{model}.safetensors", metadata))

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits over the arrays and over what else an embedding depends on."""
        depends = [digest_of(self.arrays), *(self.identity or _identity(self.settings))]
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]

    def with_views(self, views: int) -> "Checkpoint":
        """The same network, embedding by so many views of an image (`evaluation.views`): another digest."""
        settings = {**self.settings, "evaluation": {**self.settings.get("evaluation", {}), "views": views}}
        identity = self.identity and [*self.identity[:2], *_identity(settings)[2:]]
        return replace(self, settings=settings, identity=identity)

    def network(self, settings: Settings) -> tuple[Task, nn.Module]:
        """The task and its network; see `network_of`."""
        return network_of(self.arrays, settings)

    def write(self, folder: Path, name: str) -> Path:
        """Write `name`.safetensors into a folder that is there."""
        identity = {} if self.identity is None else {_IDENTITY: self.identity}
        return RunFolder(folder).save_arrays(name, self.arrays, _metadata({**identity, **self.settings}))


def settings_of_run(folder: Path) -> dict[str, Any]:
    """The settings.json of a run folder. Raises MissingFileError, StoredFileError for a damaged one."""
    kept = RunFolder.existing(folder).read_settings()  # in today's form
    return _settings_in(folder / "settings.json", _metadata(kept))[0]


def _metadata(settings: dict[str, Any]) -> dict[str, str]:
    # One entry: safetensors writes several in any order, and the same checkpoint is to be the same bytes.
    return {_SETTINGS: json.dumps({upgrades.KEY: upgrades.RUN.version, **settings})}


def _identity(settings: dict[str, Any]) -> list[Any]:
    """What of the settings an embedding depends on: the task, the network, and views where there is more than one.

    A model of one view has the digest that it had before there were views."""
    evaluation = settings.get("evaluation")
    views = evaluation.get("views", 1) if isinstance(evaluation, dict) else 1
    return [settings.get("task"), settings.get("model"), *([] if views == 1 else [{"views": views}])]


def _settings_in(path: Path, metadata: dict[str, str]) -> tuple[dict[str, Any], list[Any] | None]:
    """The settings that a checkpoint carries, as dictionaries in today's form, and its `identity`. Raises
    StoredFileError naming the file if they are none, SettingsVersionError if they are of a newer version.

    Values that do not fit here are not damage: a weights file of another machine, a key of another version. Overrides
    can put others in their place, and whoever uses the settings names what is left."""
    text, settings, identity = metadata[_SETTINGS], dict[str, Any](), list[Any]()
    try:
        kept = json.loads(text)
        if not isinstance(kept, dict):
            raise StoredFileError(f"no JSON object but {text[:40]}")
        settings = upgrades.RUN.upgraded(path, kept.pop(upgrades.KEY, None), kept)
        identity = settings.pop(_IDENTITY, _identity(kept))
        settings_from(settings)
    except upgrades.SettingsVersionError:
        raise
    except (ValueError, RecursionError) as error:
        if not (isinstance(error, SettingsError) and _has_sections(settings)):
            raise StoredFileError(f"damaged file {path}: its settings cannot be used: {error}") from error
    return settings, identity if identity != _identity(settings) else None


def _has_sections(kept: dict[str, Any]) -> bool:
    """Whether settings have the parts that commands look into before the settings are typed."""
    return isinstance(kept.get("task"), str) and all(isinstance(kept.get(name), dict) for name in ("model", "data"))


def network_of(arrays: Arrays, settings: Settings) -> tuple[Task, nn.Module]:
    """The task and its network with these arrays, to be used and not to be trained: hashed layers are expanded and
    adapters merged. Arrays of private classifiers may be missing.

    Raises ValueError naming another array that is missing, or one too many."""
    task = make_task(settings)
    network = task.build(1, settings.seed, pretrained=False)
    _require_complete(network, arrays, task)
    load_arrays(network, arrays)
    return task, merge_adapters(expand_layers(network))


def save_checkpoint(folder: RunFolder, name: str, arrays: Arrays, settings: Settings, task: Task) -> Path:
    """Write the checkpoint `name` of a run; rows of private classifiers are left out."""
    return folder.save_arrays(name, without_heads(arrays, task), _metadata(settings.as_dict()))


def without_heads(arrays: Arrays, task: Task) -> Arrays:
    """The arrays of a checkpoint: what is needed to embed, not the rows that stand for a client's labels."""
    return {name: array for name, array in arrays.items() if not is_private(name, task.heads)}


def _require_complete(network: nn.Module, arrays: Arrays, task: Task) -> None:
    for name in float_arrays(network):
        if name not in arrays and not is_private(name, task.heads):
            raise StoredFileError(f"array {name!r} is missing: it is another network's checkpoint")
