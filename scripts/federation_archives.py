"""Commands of `scripts.federation` on a party's machine: put an archive of the authority in place, or take it out."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from app.deployment import applying, parties, receiving, verify
from app.deployment.archives import Update
from app.deployment.parties import DeploymentError, Kind
from app.deployment.service import start_service
from scripts.federation_apps import CHECKOUT


def apply(
    archives: Annotated[list[Path], typer.Argument(help="From the authority, for parties of this machine.")],
    folder: Annotated[
        Path | None, typer.Option(help="The party's; by default the working folder, or the one beside the project.")
    ] = None,
    first: Annotated[
        str, typer.Option(help="Create the folder: the fingerprint of the authority's key, as `init` printed it.")
    ] = "",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE for the new folder's *.env; may be repeated.")
    ] = None,
    start: Annotated[
        bool, typer.Option("--service", help="Start the new folder's server or site as a systemd service; by root.")
    ] = False,
) -> None:
    """Check an archive of the authority, and put its files into the party's folder, all or none."""
    if folder is not None and (first or len(archives) > 1):
        raise DeploymentError("--folder is for one archive and a folder that is there")
    if start and not first:
        raise DeploymentError("--service is for a new folder, with --first; else python -m scripts.federation service")
    if setting and (not first or len(archives) > 1):
        raise DeploymentError("--set is for one new folder, with --first; a folder that is there has its *.env")
    if first and not (CHECKOUT / "pyproject.toml").is_file():
        raise DeploymentError(
            f"{CHECKOUT} is no checkout of the project, and the folder of a party lies in one: clone it, "
            "`make .venv/.installed` there, and run this there with python -m scripts.federation"
        )
    values, rows = dict(map(_value, setting or ())), []
    for archive in archives:
        if first:
            update, made = receiving.receive(archive, CHECKOUT, first, values)
            names, where = sorted(update.files), made
            print(f"{where}: the folder of {update.name}; check it with `federation preflight {where}`")
            if start and update.kind is not Kind.operator:
                print(f"{start_service(where)}: started; journalctl -u {where.name}")
        else:
            where = folder or receiving.found_folder(archive, CHECKOUT)
            update, names = applying.apply(archive, where)
            print(f"{where}: {', '.join(names) if names else 'it has this archive already'}")
            for line in (*verify.bind_problems(where), *_next_steps(update, names)):
                print(line)
        rows.append({"folder": str(where), "party": update.name, "serial": update.serial, "changed": names})
    print(json.dumps({"applied": rows}))


def service(folder: Annotated[Path, typer.Argument(help="Of the server or a site; by root.")]) -> None:
    """Set up the systemd service of a folder, and start it."""
    print(json.dumps({"folder": str(folder), "service": start_service(folder)}))


def undo(folder: Annotated[Path, typer.Argument(help="The party's folder.")]) -> None:
    """Put back what the last archive replaced."""
    names = applying.undo(folder)
    print(f"{folder}: {', '.join(names)} as before the last archive")
    print(json.dumps({"folder": str(folder), "changed": names}))


def _next_steps(update: Update, names: Sequence[str]) -> Iterator[str]:
    """What a person has left to do after an archive."""
    if parties.SERVER_CERTIFICATE in names:
        yield "start the server again: it reads its certificate once"
    if update.kind is Kind.server and {parties.CONTROL, parties.SERVER_CERTIFICATE} & {*names} and update.control_port:
        yield f"copy {parties.CONTROL} to /etc/nginx/conf.d, if it is among them, and reload nginx"
    if update.kind is Kind.operator:
        changed = sorted(Path(name).stem for name in names if name.endswith(".pub"))
        for site in changed:
            if site in update.sites:
                yield f"{parties.REGISTER} {site}"
            else:
                yield f"{parties.FLWR} supernode unregister NUMBER, with the number that nodes.txt has for {site}"


def _value(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise DeploymentError(f"--set {word}: it is NAME=VALUE")
    return name, value


def add_commands(app: typer.Typer) -> None:
    """Register these commands with `scripts.federation`."""
    for command in (apply, undo, service):
        app.command()(command)
