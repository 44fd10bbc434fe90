"""Command of `scripts.federation` that checks a party's machine before it joins."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.deployment.parties import DeploymentError


def preflight(folder: Annotated[Path, typer.Argument(help="The party's folder, on its own machine.")]) -> None:
    """Check folder, installation, disk, memory, images, and the way to the server; status 2 if an item fails."""
    from app.deployment.preflight import preflight as check  # psutil and certificates, which other commands do not need

    found = check(folder)
    for row in found:
        print(row)
    count = sum(bool(row.fault) for row in found)
    print(json.dumps({"folder": str(folder), "problems": count, "items": [asdict(row) for row in found]}))
    if count:
        raise DeploymentError(
            f"{count} item{'s' if count > 1 else ''} of {folder} {'are' if count > 1 else 'is'} not in order"
        )


def add_commands(app: typer.Typer) -> None:
    """Register the command with `scripts.federation`."""
    app.command()(preflight)
