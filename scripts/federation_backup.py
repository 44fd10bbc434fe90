"""Commands of `scripts.federation` that back a party's folder up, and restore it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from app.deployment import parties, verify
from app.deployment.parties import Kind
from app.deployment.service import control_step, unit_step
from scripts.federation_sites import complete_first


def backup(
    folder: Annotated[Path, typer.Argument(help="A party's folder; at the authority, that of the federation.")],
    file: Annotated[Path, typer.Argument(help="A new file, best on another disk. It holds private keys.")],
) -> None:
    """Copy a party's folder to one file, while the party runs."""
    from app.deployment.backup import back_up  # SQLite and psutil, which other commands do not need

    complete_first(folder)
    made = back_up(folder, file)
    size = sum(each.bytes for each in made.files.values())
    print(f"{file}: it holds private keys, so that it is kept where they may be")
    said = {"file": str(file), "party": made.name, "files": len(made.files), "bytes": size, "created": made.created}
    print(json.dumps(said))


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `backup` wrote.")],
    folder: Annotated[Path, typer.Argument(help="The folder to make; missing or empty.")],
) -> None:
    """Make a party's folder from a backup, all of which is checked first: whole or not at all."""
    from app.deployment.restoring import restore as restore_backup

    made = restore_backup(file, folder)
    manifest = made.manifest
    wrong = {str(path): verify.problems(path) for path in parties.parties_of(folder)}
    print(f"{folder}: {manifest.name} of {manifest.federation}, as it was on {manifest.created}")
    if made.owner:
        print(f"its files belong to {made.owner}: `federation service FOLDER`, or chown, gives them to their user")
    for line in _next_steps(manifest.kind, folder):
        print(line)
    for path, sentences in wrong.items():
        for sentence in sentences:
            print(f"{path}: {sentence}")
    said = {"folder": str(folder), "party": manifest.name, "files": len(manifest.files), "created": manifest.created}
    print(json.dumps({**said, "problems": sum(map(len, wrong.values()))}))


_AGAIN = {
    "kahe": "it takes part again in five minutes, which start.sh waits",
    "ckks": "before it starts let the authority `rotate`: its record of opened sums is that of the backup",
    "plain": "it takes part again at once",
}
"""When a restored site may, by the federation's cipher."""


def _next_steps(kind: Kind, folder: Path) -> Iterator[str]:
    """What a person has left to do after a restoration."""
    if kind is Kind.authority:
        yield (
            "before any archive leaves do every `approve`, `revoke`, `remove-site` and `add-site` since then again, "
            "and `rotate` (docs/deployment.md, Backups)"
        )
        return
    yield f"first apply the authority's newest archive: what was revoked or rotated since then is still in {folder}"
    if kind is Kind.site:
        yield _AGAIN[parties.read_party(folder).cipher]
        yield "its counts of unusable sums and of epsilon are those of the backup"
    if kind in (Kind.site, Kind.server) and (step := unit_step(folder)):
        yield step
    if kind is Kind.server:
        yield from control_step(folder)
        yield "a run that had not ended: run.sh with federation.resume=true and its run_dir"


def add_commands(app: typer.Typer) -> None:
    """Register these commands with `scripts.federation`."""
    for command in (backup, restore):
        app.command()(command)
