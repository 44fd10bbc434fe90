"""Runs in a site's state folder, by the names and times of their files.

    state/node/<run>/      arrays by round, and `recipe.json` (`app.federation.recipe`)
    state/models/<run>/ checkpoints of them (`app.federation.site_model`)

A simulated client's folder, `outputs/<name>/<time>/nodes/client-0`, is read in the same way.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.core.node_store import NodeStore
from models.errors import FedVehicleReidError, MissingFileError

NODE, MODELS = "node", "models"
_RUN = re.compile(r"[0-9a-f]{16}")
_LISTED = 6


class SiteModelError(FedVehicleReidError, ValueError):
    """A model that cannot be built from a site's files; the message names the culprit and the remedy."""


@dataclass(frozen=True)
class SiteRun:
    """A run with arrays at a site.

    Args:
        folder: of its node store.
        models: folder of its checkpoints.
    """

    folder: Path
    models: Path

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def store(self) -> NodeStore:
        return NodeStore(self.folder)

    @property
    def rounds(self) -> int:
        """Rounds of the newest model that the site holds, global or its own; 0 before the first."""
        return max((*self.store.rounds("global"), *self.store.rounds("local")), default=0)

    @property
    def time(self) -> datetime:
        """Time of the last written array."""
        written = [path.stat().st_mtime for path in self.folder.glob("*.safetensors")]
        return datetime.fromtimestamp(max(written, default=0.0)).astimezone()

    def __str__(self) -> str:
        rounds = f"{self.rounds} round{'' if self.rounds == 1 else 's'}"
        return f"{self.key} ({self.time:%Y-%m-%d %H:%M}, {rounds if self.rounds else 'nothing learnt yet'})"


def models_folder(node: Path) -> Path:
    """Folder of the checkpoints for a node's folder: beside `state/node`, below any other folder."""
    return node.parent / MODELS if node.name == NODE else node / MODELS


def runs_in(state: Path) -> list[SiteRun]:
    """The runs of a site, newest first, from its folder, its state folder, its node's folder, or that of one run.

    Raises FileNotFoundError if there is no such folder, SiteModelError naming its content if it holds no run."""
    state = state.resolve()
    if not state.is_dir():
        raise MissingFileError(f"there is no folder {state}")
    if _is_run(state):
        return [SiteRun(state, models_folder(state.parent) / state.name)]
    for node in (state, state / NODE, state / "state" / NODE):
        stores = [path for path in node.iterdir() if _is_run(path)] if node.is_dir() else []
        if stores:
            runs = [SiteRun(path, models_folder(node) / path.name) for path in stores]
            return sorted(runs, key=lambda run: (run.rounds > 0, run.time), reverse=True)
    raise SiteModelError(
        f"{state} holds no run of a site: it is to be the folder `state` that a site's start.sh writes, after a first "
        f"run; there {_what_is_in(state)}"
    )


def chosen_run(runs: list[SiteRun], key: str = "") -> SiteRun:
    """The run whose key begins with `key`; without one the newest with a model.

    Raises SiteModelError naming the runs there are."""
    found = [run for run in runs if run.key.startswith(key)]
    if key and len(found) != 1:
        raise SiteModelError(f"{'no' if not found else 'more than one'} run {key!r}; there are {listed(runs)}")
    return found[0]


def listed(runs: list[SiteRun]) -> str:
    """The runs with times and rounds, for a message."""
    more = f", and {len(runs) - _LISTED} more" if len(runs) > _LISTED else ""
    return ", ".join(map(str, runs[:_LISTED])) + more


def remedy(folder: Path) -> str:
    """Hint for a folder in which a checkpoint was not found; "" without one."""
    if _is_run(folder):
        return (
            f"; it is a site's node store, from which `python -m scripts.federation model {folder}` makes a checkpoint"
        )
    if (folder / "server.safetensors").is_file() and not any(folder.glob("*global*.safetensors")):
        return (
            "; it is the server's folder of a run, which holds sums and no model: a simulation is ended by "
            f"`python -m scripts.simulate resume={folder}`, a site has the model in its state/{MODELS}"
        )
    for inside in (folder, folder / MODELS, folder / "state" / MODELS):
        if made := sorted({path.parent for path in inside.glob("*/*.safetensors") if _RUN.fullmatch(path.parent.name)}):
            return f"; a site's checkpoints lie in {', '.join(map(str, made[:_LISTED]))}"
    try:
        runs = runs_in(folder)
    except (OSError, SiteModelError):
        return ""
    return f"; `python -m scripts.federation model {folder}` makes a checkpoint of its runs: {listed(runs)}"


def _is_run(folder: Path) -> bool:
    """Whether a folder is the node store of a run."""
    return bool(_RUN.fullmatch(folder.name)) and any(folder.glob("global-*.safetensors"))


def _what_is_in(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"lie {', '.join(names[:_LISTED])}{more}" if names else "lies nothing"
