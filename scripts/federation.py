"""Keys of a federation.

Run: python -m scripts.federation keys --out keys
     python -m scripts.federation keys --out keys --rotate
     python -m scripts.federation keys --out keys --cipher ckks --key-holder cloud
"""

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import click
import typer

from app.checks import SettingsError
from app.federated import cloud_pair, make_secrets
from app.privacy_settings import PrivacySettings
from scripts.command import command
from strategies.ciphers.keys import FederationKey, KeyFileError, new_key, read_key, write_key

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
CLIENT_FILE, SERVER_FILE = "federation.key", "cloud.key"


class Scheme(StrEnum):
    """Ciphers that need a key."""

    packed_bfv = "packed_bfv"
    ckks = "ckks"


class Preset(StrEnum):
    """Parameters of CKKS."""

    compact = "compact"
    flare = "flare"
    tutorial = "tutorial"


class KeyHolder(StrEnum):
    """Who can decrypt the sum."""

    client = "client"
    cloud = "cloud"


@app.callback()
def _several_commands() -> None:
    """Prepare a federation on real machines."""


@app.command()
def keys(
    out: Annotated[Path, typer.Option(help="Folder of the key files.")] = Path("keys"),
    cipher: Annotated[Scheme, typer.Option(help="What the federation encrypts with.")] = Scheme.packed_bfv,
    preset: Annotated[Preset, typer.Option(help="Parameters of ckks.")] = Preset.compact,
    key_holder: Annotated[KeyHolder, typer.Option(help="Of ckks: who can decrypt the sum.")] = KeyHolder.client,
    rotate: Annotated[bool, typer.Option(help="Put the present key aside and make a new one.")] = False,
) -> None:
    """Make the federation's key, readable by its owner only, and say which file goes where."""
    if key_holder is KeyHolder.cloud and cipher is not Scheme.ckks:
        raise KeyFileError("--key-holder cloud is for --cipher ckks alone")
    privacy = PrivacySettings(cipher=cipher, ckks_preset=preset, key_holder=key_holder)
    made: dict[str, FederationKey] = {}
    if key_holder is KeyHolder.cloud:
        made[SERVER_FILE], made[CLIENT_FILE] = cloud_pair(privacy)
    else:
        made[CLIENT_FILE] = new_key(make_secrets(privacy))
    before = {name: _put_aside(out / name, rotate=rotate) for name in made}
    for name, key in made.items():
        write_key(key, out / name)
    client_key = made[CLIENT_FILE]
    print(f"key {client_key.key_id}, made {client_key.created}")
    print(f"{out / CLIENT_FILE}: to every client, and to nobody else; node config key-file=PATH, mode 600")
    if SERVER_FILE in made:
        print(f"{out / SERVER_FILE}: to the server alone; privacy.cloud_key=PATH, mode 600")
    else:
        print("the server gets no key file; privacy.key_id=" + client_key.key_id + " makes it refuse any other key")
    print("a run that has begun can be resumed with its own key only: rotate between runs")
    replaced = {name: str(path) for name, path in before.items() if path is not None}
    print(json.dumps({"key_id": client_key.key_id, "files": [str(out / name) for name in made], "put_aside": replaced}))


def _put_aside(path: Path, *, rotate: bool) -> Path | None:
    """Rename a key that is there to carry its id; its new path. Raises KeyFileError without `rotate`."""
    if not path.exists():
        return None
    if not rotate:
        raise KeyFileError(f"{path} is there already; --rotate puts it aside and makes a new one")
    aside = path.with_name(f"{path.stem}-{read_key(path).key_id}{path.suffix}")
    path.rename(aside)
    return aside


def main(argv: Sequence[str]) -> None:
    """Run one command. Raises SettingsError for an option that there is not."""
    try:
        app(args=list(argv) or ["--help"], standalone_mode=False)
    except click.UsageError as error:
        raise SettingsError(error.format_message()) from error


if __name__ == "__main__":
    command(main, sys.argv[1:])
