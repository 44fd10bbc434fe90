"""Checkpoints of a run at a site: the global model, the site's own just before its last upload, and its personal one.

All have the form of a run's checkpoints, so that every command reads them. A site writes them with each round and
with the final model, into `state/models/<run>/`; `python -m scripts.federation model` writes them at any time, also of
a run that was stopped or cut off.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from torch import nn

from app.core.arrays import Arrays, float_arrays, shared_layout
from app.core.global_state import GlobalModel
from app.core.node_store import NodeStore, NodeStoreError, digest_of
from app.core.run_folder import RunFolder
from app.core.site_runs import SiteModelError, SiteRun, models_folder
from app.experiment.personal_store import KIND, read_personal
from app.federation.recipe import Recipe, site_settings
from app.settings.load import Settings
from app.tasks import make_task
from app.tasks.task import Task
from app.training.checkpoint import Checkpoint, without_heads
from strategies.shared_arrays import SharedLayout, is_private

if TYPE_CHECKING:
    from app.federation.client import TaskClient

KINDS = ("global", "local")
_LOCK_SECONDS = 60.0  # a process suspended while it holds a lock must not keep the site from its rounds
_log = logging.getLogger("flwr")


@dataclass(frozen=True)
class HeldModel:
    """A model from a node store.

    Args:
        server_round: after which it is the global model, or in which it was learnt.
    """

    arrays: Arrays
    server_round: int


@dataclass(frozen=True)
class HeldPersonal(HeldModel):
    """A personal model from a node store, with the figures that it was chosen by."""

    report: dict[str, Any]


class SiteModel:
    """Reader of the models of one run in a node store; it changes nothing there.

    Args:
        network: of the task, with any number of labels; its values do not matter.
        initial: returns the initial arrays of the run, for a site that has not trained yet and keeps more arrays than
            classifiers private.
    """

    def __init__(
        self,
        store: NodeStore,
        *,
        settings: Settings,
        task: Task,
        network: nn.Module,
        layout: SharedLayout,
        initial: Callable[[], Arrays],
    ) -> None:
        self.store, self.settings, self.task, self.layout = store, settings, task, layout
        self._make_initial = initial
        self._shapes = {
            name: tuple(value.shape) for name, value in network.state_dict().items() if value.is_floating_point()
        }
        self._own = [name for name in self._shapes if name not in layout.names and not is_private(name, task.heads)]
        self.damaged: list[str] = []
        """Unusable files, each with the reason."""
        self.averaged = 0
        """Number of models in the mean that the global model last read is; 0 if it is none."""

    @classmethod
    def of_run(cls, run: SiteRun, settings_file: Path | None = None) -> tuple["SiteModel", Recipe]:
        """From the recipe in the store, or from a run's settings.json. Raises SiteModelError."""
        recipe = Recipe.from_settings_file(settings_file) if settings_file else Recipe.read(run.folder)
        settings = recipe.typed()
        task = make_task(settings)
        network = task.build(1, settings.seed, pretrained=False)
        layout = shared_layout(network, settings.federation, task.heads)
        held = next(filter(None, (_layout_of(run.store, kind) for kind in KINDS)), layout.digest)
        if layout.digest != held:
            named = settings_file or "this version of the project"
            raise SiteModelError(f"{run.folder} is of another network than the one of {named}: layout {held}")

        def initial() -> Arrays:
            return float_arrays(task.build(recipe.num_labels, settings.seed))

        made = cls(run.store, settings=settings, task=task, network=network, layout=layout, initial=initial)
        return made, recipe

    def read(self, kind: str) -> HeldModel | None:
        """The newest model of a kind, without the rows of private classifiers; None before the first one.

        A damaged file is skipped, and named in `damaged`, if an older model of the kind is there."""
        for held in reversed(self.store.rounds(kind)):
            if not held:  # the network before training
                continue
            try:
                return HeldModel(self._arrays(kind, held), held)
            except NodeStoreError as error:
                self.damaged.append(str(error))
        return None

    def _arrays(self, kind: str, server_round: int) -> Arrays:
        arrays, about = self.store.read(kind, server_round)
        vector = arrays.get("vector")
        path = f"{self.store.folder}/{kind}-{server_round:06d}.safetensors"
        if vector is None or vector.shape != (self.layout.size,) or about.get("layout") != self.layout.digest:
            raise NodeStoreError(f"{path} is of another network, or damaged")
        if "digest" in about and digest_of(arrays) != about["digest"]:
            raise NodeStoreError(f"{path} is damaged: its digest is another one")
        if kind == "global":
            model, federation = GlobalModel.of(arrays), self.settings.federation
            vector, self.averaged = model.result(federation), model.averaged(federation, server_round)
        if vector.shape != (self.layout.size,) or not np.isfinite(vector).all():
            raise NodeStoreError(f"{path} holds values that are not finite, or not those of the network")
        found: Arrays = dict(self.layout.unflatten(vector))
        return without_heads(found | self._private(kind, server_round), self.task)

    def _private(self, kind: str, server_round: int) -> Arrays:
        """Private arrays besides classifiers, as they were when the model was learnt or measured."""
        if not self._own:
            return {}
        held = self.store.rounds("private")
        if not held and kind == "global":
            return {name: self._initial[name] for name in self._own}
        # A client measures a global model with its own arrays of no later round.
        fits = [each for each in held if (each == server_round if kind == "local" else each <= server_round)]
        if not (chosen := fits or (held[:1] if kind == "global" else [])):
            raise NodeStoreError(f"{self.store.folder}: the private arrays of round {server_round} are missing")
        arrays = self.store.read("private", chosen[-1])[0]
        own = {name: arrays.get(f"array/{name}") for name in self._own}
        for name, array in own.items():
            if array is None or array.shape != self._shapes[name]:
                raise NodeStoreError(f"{self.store.folder}: private array {name!r} is missing, or of another shape")
        return {name: array for name, array in own.items() if array is not None}

    def _personal(self) -> HeldPersonal | None:
        """The newest personal model that can be used; a damaged one is skipped, and named in `damaged`."""
        with _at_rest(self.store):
            for held in reversed(self.store.rounds(KIND)):
                try:
                    if (found := read_personal(self.store, held)) is not None:
                        return HeldPersonal(found.arrays, held, found.report)
                except NodeStoreError as error:
                    self.damaged.append(str(error))
        return None

    @cached_property
    def _initial(self) -> Arrays:
        return self._make_initial()

    def write(self, folder: Path, about: Mapping[str, Any]) -> dict[str, int]:
        """Write `global.safetensors`, `local.safetensors` and `personalised.safetensors`, as far as there are such
        models; their rounds.

        Raises SiteModelError if there is neither, OSError leaving older files whole."""
        rounds: dict[str, int] = {}
        with _private_files():
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock", _LOCK_SECONDS, fallback_to_soft=False):
                for left in folder.glob(".*.tmp"):  # by a process that was killed
                    left.unlink(missing_ok=True)
                for kind in KINDS:
                    with _at_rest(self.store):
                        model = self.read(kind)
                    if model is not None:
                        Checkpoint(model.arrays, self.settings.as_dict()).write(folder, kind)
                        rounds[kind] = model.server_round
                if not rounds:
                    raise SiteModelError(_nothing(self.store, self.damaged))
                if (personal := self._personal()) is not None:
                    Checkpoint(personal.arrays, self.settings.as_dict()).write(folder, KIND)
                    rounds[KIND] = personal.server_round
                    about = {**about, KIND: personal.report}
                about = {**about, **({"averaged_models": self.averaged} if self.averaged else {})}
                run = RunFolder(folder)
                run.write_settings(self.settings.as_dict())
                run.write_summary({**about, "run_dir": str(folder), "task": self.task.name, "held_rounds": rounds})
        return rounds


def keep_recipe(client: "TaskClient") -> bool:
    """Write the recipe of a client's network beside its arrays; returns whether it is new there."""
    return Recipe.of(client.settings, client=client.name, num_labels=client.num_labels).write(client.store.folder)


def keep_models(client: "TaskClient", state: Path) -> None:
    """Update a site's checkpoints from its node store. An error is logged at the site: the run continues, and the
    command can write them later.

    Args:
        state: the node's folder, in which the store lies.
    """
    folder = models_folder(state) / client.store.folder.name
    model = SiteModel(
        client.store,
        settings=site_settings(client.settings),
        task=client.task,
        network=client.network,
        layout=client.layout,
        initial=client.initial_arrays,
    )
    try:
        model.write(folder, {"run": client.run_key, "client": client.name})
    except Exception as error:  # a by-product: the trained update must not be lost over it
        known = isinstance(error, (OSError, NodeStoreError, SiteModelError))
        _log.warning("%s: no checkpoint in %s: %s", client.name, folder, error, exc_info=not known)


def model_of(run: SiteRun, folder: Path | None = None, settings_file: Path | None = None) -> dict[str, Any]:
    """Write the checkpoints of a run, by default into the site's own folder; returns their description.

    For an administrator it runs as the owner of the store, who will write there again.

    Raises SiteModelError naming the missing part and the remedy."""
    # As the calling user: the owner may not be able to read Python's modules.
    model, recipe = SiteModel.of_run(run, settings_file)
    where = folder or run.models
    with nullcontext() if folder else _as_owner_of(run.folder):
        rounds = model.write(where, {"run": run.key, "client": recipe.client})
    files = {kind: str(where / f"{kind}.safetensors") for kind in rounds}
    summary = {"run": run.key, "client": recipe.client, "task": model.task.name, "name": model.settings.name}
    return {**summary, "folder": str(where), "models": files, "rounds": rounds, "damaged": model.damaged}


def _layout_of(store: NodeStore, kind: str) -> str | None:
    for held in reversed(store.rounds(kind)):
        try:
            return store.metadata(kind, held)["layout"]
        except (NodeStoreError, KeyError):
            continue
    return None


def _nothing(store: NodeStore, damaged: list[str]) -> str:
    if damaged:
        return f"{store.folder} holds no model that can be used: {'; '.join(damaged)}"
    return (
        f"nothing has been learnt in {store.folder}: it holds the network before the first round; a model is there "
        "after this site's first round"
    )


@contextmanager
def _at_rest(store: NodeStore) -> Iterator[None]:
    """Hold the lock of a store, so that no client writes. A missing lock is not created: the store may be another
    user's."""
    lock = store.folder / ".lock"
    with FileLock(lock, _LOCK_SECONDS, fallback_to_soft=False) if lock.exists() else nullcontext():
        yield


@contextmanager
def _private_files() -> Iterator[None]:
    """Files created in the block are readable by their owner only, like the node store."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _as_owner_of(folder: Path) -> Iterator[None]:
    """Act as the owner of the folder, if this process may change its user."""
    owner = folder.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    group = os.getegid()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
