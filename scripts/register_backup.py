"""Commands of `scripts.register` that back a register up, and restore it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.register.backup import PICTURES, back_up
from app.register.restore import restore as restore_backup
from scripts.register_options import HERE, Folder, Url, app, open_register, operator, say


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder, best on another disk.")],
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Copy tables, images, models and calibrations to a folder, while the service runs."""
    with open_register(register, url) as held:
        manifest = back_up(held, folder, operator())
    for name in manifest.missing:
        print(f"the register names an image that is not there: {name}", file=sys.stderr)
    images = sum(place.startswith(f"{PICTURES}/") for place in manifest.files)
    size = sum(file.bytes for file in manifest.files.values())
    say({"folder": str(folder), **manifest.counts, "images": images, "bytes": size, "missing": manifest.missing})


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="A folder that `backup` wrote.")],
    replace: Annotated[bool, typer.Option("--replace", help="In place of a register that holds something.")] = False,
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Restore a backup, all of which is checked first. If this was cut off, the same command ends it."""
    manifest = restore_backup(folder, register, url, operator(), replace=replace)
    say({"register": str(register), **manifest.counts, "created": manifest.created, "missing": manifest.missing})
