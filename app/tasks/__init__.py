"""Tasks by name."""

from importlib import import_module

from app.settings import TASKS, Settings
from app.tasks.task import Task


def make_task(settings: Settings) -> Task:
    """The task that the settings name. Raises ValueError naming what cannot be built."""
    task: Task = import_module(TASKS[settings.task]).make_task(settings)
    return task
