"""Tasks by name: their modules of settings and of code."""

from importlib import import_module
from typing import NamedTuple

from app.settings.checks import one_of
from app.settings.ranking import OPEN_SET_MEASURES
from models.plugins import PlugInError, is_plug_in, load, place_of


class TaskModules(NamedTuple):
    """Modules of a task.

    Args:
        settings: module of `ModelSettings`, `LossSettings`, `MEASURES` and `EMBEDS`, which a server reads without
            torch.
        task: module of `make_task`.
    """

    settings: str
    task: str

    @property
    def measures(self) -> tuple[str, ...]:
        """Measures of an evaluation, in [0, 1], in the order of the tables. The first, of which more is better, is the
        headline: it decides on convergence."""
        found: tuple[str, ...] = import_module(self.settings).MEASURES
        return found

    @property
    def embeds(self) -> bool:
        """Whether the network's outputs are embeddings, by which images can be compared."""
        return bool(import_module(self.settings).EMBEDS)


TASKS = {
    "dual_reid": TaskModules("app.settings.dual", "app.tasks.dual"),
    "cross_modal_reid": TaskModules("app.settings.cross_modal", "app.tasks.cross_modal"),
    "plate_text": TaskModules("app.settings.plate_text", "app.tasks.plate_text"),
}
"""Built-in tasks by name."""
_PLUGGED: dict[str, TaskModules] = {}  # those that this process has used


def known_tasks() -> dict[str, TaskModules]:
    """The built-in tasks, and the plug-ins that this process has used, by name."""
    return {**TASKS, **_PLUGGED}


def task_modules(name: str) -> TaskModules:
    """The modules of a task, built in or a plug-in.

    Raises SettingsError for an unknown name, PlugInError for a plug-in that is no `TaskModules` of modules with their
    contract."""
    if name in _PLUGGED:
        return _PLUGGED[name]
    if not is_plug_in("tasks", name):
        one_of("task", name, list(TASKS))
    if place_of("tasks", name, TASKS) is None:
        return TASKS[name]
    found = load("tasks", name)
    if not isinstance(found, TaskModules):
        raise PlugInError(f"task {name} must be a TaskModules of app.settings.tasks; got {type(found).__name__}")
    try:
        settings = import_module(found.settings)
    except ImportError as error:
        raise PlugInError(f"task {name}: module {found.settings} cannot be imported ({error})") from error
    needs = ("ModelSettings", "LossSettings", "MEASURES", "EMBEDS")
    if lacking := [need for need in needs if not hasattr(settings, need)]:
        raise PlugInError(f"task {name}: module {found.settings} has no {', '.join(lacking)}")
    _PLUGGED[name] = found
    return found


def measures() -> tuple[str, ...]:
    """The measures that tables show, in their order: those of every task that this process knows, and of strangers."""
    return (*dict.fromkeys(name for task in known_tasks().values() for name in task.measures), *OPEN_SET_MEASURES)
