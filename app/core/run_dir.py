"""Folder that a run writes to: known to server and simulated clients alike, without a message."""

from pathlib import Path

from app.settings.load import Settings, absolute


def run_dir(settings: Settings, run_id: int) -> Path:
    """`run_dir` of the settings, or `outputs/<name>/run-<run id>` where a bare `flwr run .` gave none."""
    return absolute(settings.run_dir) if settings.run_dir else absolute(f"outputs/{settings.name}/run-{run_id}")
