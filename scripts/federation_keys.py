"""Command of `scripts.federation` that makes a federation key alone, and the choices that `init` has as well."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.core.outputs import require_folder_place
from app.deployment import parties
from scripts.federation_sites import new_federation_keys
from strategies.ciphers.keys import KeyFileError, read_key, write_key

CLIENT_FILE, SERVER_FILE = parties.FEDERATION_KEY, parties.CLOUD_KEY


class Scheme(StrEnum):
    """Ciphers that need a key."""

    kahe = "kahe"
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


def keys(
    out: Annotated[Path, typer.Option(help="Folder of the key files.")] = Path("keys"),
    cipher: Annotated[Scheme, typer.Option(help="Cipher of the federation.")] = Scheme.kahe,
    preset: Annotated[Preset, typer.Option(help="Parameters of ckks.")] = Preset.compact,
    key_holder: Annotated[KeyHolder, typer.Option(help="Of ckks: who can decrypt the sum.")] = KeyHolder.client,
    rotate: Annotated[bool, typer.Option(help="Put the present key aside and create a new one.")] = False,
) -> None:
    """Create the federation's key, readable by its owner only, and print where to copy each file."""
    check_holder(cipher, key_holder)
    require_folder_place("--out", out)  # before an existing key is put aside
    client_key, cloud = new_federation_keys(cipher, preset, key_holder)
    made = {SERVER_FILE: cloud, CLIENT_FILE: client_key} if cloud else {CLIENT_FILE: client_key}
    before = {name: _put_aside(out / name, rotate=rotate) for name in made}
    for name, key in made.items():
        write_key(key, out / name)
    print(f"key {client_key.key_id}, created {client_key.created}")
    print(f"{out / CLIENT_FILE}: to every client, and to nobody else; node config key-file=PATH, mode 600")
    if SERVER_FILE in made:
        print(f"{out / SERVER_FILE}: to the server alone; privacy.cloud_key=PATH, mode 600")
    else:
        print("the server gets no key file; privacy.key_id=" + client_key.key_id + " makes it refuse any other key")
    print("a run that has begun can be resumed with its own key only: rotate between runs")
    replaced = {name: str(path) for name, path in before.items() if path is not None}
    print(json.dumps({"key_id": client_key.key_id, "files": [str(out / name) for name in made], "put_aside": replaced}))


def _put_aside(path: Path, *, rotate: bool) -> Path | None:
    """Rename an existing key after its id; returns the new path. Raises KeyFileError without `rotate`."""
    if not path.exists():
        return None
    if not rotate:
        raise KeyFileError(f"{path} is there already; --rotate puts it aside and makes a new one")
    aside = path.with_name(f"{path.stem}-{read_key(path).key_id}{path.suffix}")
    path.rename(aside)
    return aside


def check_holder(cipher: Scheme, key_holder: KeyHolder) -> None:
    """Raise KeyFileError for a holder that the cipher does not have."""
    if key_holder is KeyHolder.cloud and cipher is not Scheme.ckks:
        raise KeyFileError("--key-holder cloud is for --cipher ckks alone")


def add_commands(app: typer.Typer) -> None:
    """Register the command with `scripts.federation`."""
    app.command()(keys)
