"""Folder of a run, derived alike by server and simulated clients, without a message."""

from pathlib import Path

from app.settings.load import Settings, absolute


def run_dir(settings: Settings, run_id: int) -> Path:
    """`run_dir` of the settings, or `outputs/<name>/run-<run id>` if a bare `flwr run .` gave none."""
    return absolute(settings.run_dir) if settings.run_dir else absolute(f"outputs/{settings.name}/run-{run_id}")
