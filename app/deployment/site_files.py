"""Files of a site's start command in its state folder, written before the SuperNode starts.

    python -P -m app.deployment.site_files SITE_FOLDER NAME DATA DATA_ROOT

- `state/bin/flwr-*`: the commands that Flower finds first on PATH. Each is the client process that checks bundles, so
  that none of Flower's own commands runs a bundle unchecked. `fork_server` replaces one of them by a faster one.
- `state/node.toml`: the node config. Flower reads a file literally, but splits arguments on its command line at quotes.
"""

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.core.site_runs import NODE
from app.deployment.parties import (
    ALLOWED_APPS,
    FEDERATION_KEY,
    POLICY,
    SHARE_CERTIFICATE,
    SHARE_KEY,
    SITE_CERTIFICATE,
    SITE_KEY,
    STATE,
    DeploymentError,
    read_party,
)
from app.deployment.toml_text import toml_text
from app.federation import restored
from app.settings.overrides import override
from models.plugins import is_place
from strategies.signing import AUTHORITY_PUBLIC_KEY

COMMAND = "flwr-clientapp"
COMMANDS = (
    COMMAND,
    "flwr-agentapp",
    "flwr-connector",
    "flwr-model",
    "flwr-serverapp",
    "flwr-simulation",
)
"""Processes that a SuperNode starts for a server. A site needs the first alone, and the others refuse."""
NODE_CONFIG = "node.toml"
CHECKED = "checked-client"
"""In a site's state folder: the client process without a warm one."""


def write_site_files(site: Path, config: Mapping[str, str]) -> None:
    """Write commands and node config. Raises DeploymentError for a value that cannot be passed on literally."""
    programs = site / STATE / "bin"
    for path in (programs, Path(sys.executable)):
        if ":" in str(path):
            raise DeploymentError(f"{path}: a colon separates folders in PATH; move it to a folder without one")
    text = node_config(config)
    programs.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-P", "-m", "app.deployment.client_process", str(site)]
    for name in COMMANDS:
        write_command(programs / name, [*words, name])
    write_command(site / STATE / CHECKED, [*words, COMMAND])
    (site / STATE / NODE_CONFIG).write_text(text, encoding="utf-8")


def data_fault(data: str, root: str) -> str:
    """Why a site cannot read its images as `DATA` says; "" if it names a reader that there is."""
    from app.settings.load import SettingsError, load_settings  # half a second, which other uses need not wait for

    words = {"data": "manifest", "data.reader": data} if is_place(data) else {"data": data}
    try:
        load_settings([override(key, value) for key, value in {**words, "data.root": root}.items()])
    except SettingsError as error:
        return str(error)
    return ""


def wait_until_new(site: Path) -> None:
    """Wait until a site that was restored, and deals shares, knows that no attempt at a round is from before. Raises
    RestoredError if its record is damaged or ahead of the clock."""
    if not os.path.lexists(site / STATE / NODE / restored.FILE) or not read_party(site).deals_shares:
        return
    if seconds := restored.seconds_to_wait(site / STATE / NODE, time.time()):
        print(
            f"{site}: restored from a backup; it connects in {seconds:.0f} s, to know what is from before",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(seconds)


def write_command(path: Path, words: Sequence[str]) -> None:
    """Write a program that executes this command with its own arguments appended; the file is whole at any moment."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(b'#!/bin/sh\nexec %s "$@"\n' % shlex.join(words).encode("utf-8", "surrogateescape"))
    temporary.chmod(0o755)
    temporary.replace(path)


def node_config(config: Mapping[str, str]) -> str:
    """TOML of a node config. Raises DeploymentError for a value that is not valid UTF-8."""
    return "".join(f"{key} = {toml_text(key, value)}\n" for key, value in config.items())


def main(site: str, name: str, data: str, data_root: str) -> int:
    """Write the files; returns 2, with one line on standard error, for an unusable value."""
    here = Path(site)
    if fault := data_fault(data, data_root):
        print(f"error: DATA={data} in {here / 'site.env'}: {fault}", file=sys.stderr)
        return 2
    config = {
        "client": name,
        "data": data,
        "data-root": data_root,
        "state-dir": str(here / STATE / NODE),
        "key-file": str(here / FEDERATION_KEY),
        "policy": str(here / POLICY),
        "site-key": str(here / SITE_KEY),
        "site-cert": str(here / SITE_CERTIFICATE),
        "share-key": str(here / SHARE_KEY),
        "share-cert": str(here / SHARE_CERTIFICATE),
        "authority": str(here / AUTHORITY_PUBLIC_KEY),
    }
    if not (here / ALLOWED_APPS).exists():
        print(
            f"{here / ALLOWED_APPS} is missing: this site will refuse every run. The authority makes it with "
            "python -m scripts.federation approve",
            file=sys.stderr,
        )
    try:
        write_site_files(here, config)
        wait_until_new(here)
    except (DeploymentError, restored.RestoredError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
