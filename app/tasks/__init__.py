"""Tasks by name."""

from importlib import import_module
from typing import TYPE_CHECKING

from app.settings.load import Settings
from app.settings.tasks import task_modules

if TYPE_CHECKING:  # torch, which a server does without
    from app.tasks.task import Task


def make_task(settings: Settings) -> "Task":
    """The task that the settings name. Raises ValueError naming what cannot be built."""
    task: Task = import_module(task_modules(settings.task).task).make_task(settings)
    return task
