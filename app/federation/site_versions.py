"""Versions of the sites' libraries in a run: recorded in its folder, and compared with the server's.

A run's own code comes with its app bundle and is the same everywhere. Its libraries are those of each site. A site is
refused where a difference changes what it sends or what its network computes:

- flwr, by its first two numbers: messages and the check of app bundles follow one minor version.
- torch, by its first number: another major version may initialise and train a network otherwise.
- timm, by its first two: the same name may mean another architecture with the same weights.
- tenseal, by its first two, under `privacy.cipher=ckks` alone: it writes the ciphertexts that the server adds. `kahe`
  is code of the bundle.

Any other difference, the installed version of the project included, is one line of the run's log.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from app.core.files import replacing
from app.core.versions import installed
from strategies import messages as m
from strategies.nodes import RefusedError

FILE = "site_versions.json"
_MATTERS = {"flwr": 2, "torch": 1, "timm": 2}
"""Numbers of a version that have to be the server's."""
_MATTERS_UNDER = {"ckks": {"tenseal": 2}}
_ROW = re.compile(r"([a-z][a-z0-9-]{0,40}) ([0-9][0-9A-Za-z.+!_-]{0,40})")
_MOST = 32  # rows that a site sends
_log = logging.getLogger("flwr")


class SiteVersions:
    """Compares each site's versions with the server's own, and keeps them in the run folder."""

    def __init__(self, folder: Path, cipher: str) -> None:
        self.path = folder / FILE
        self.own = installed()
        self.matters = {**_MATTERS, **_MATTERS_UNDER.get(cipher, {})}
        self._sites = _recorded(self.path)
        self._compared: set[str] = set()

    def __call__(self, client: str, info: Mapping[str, Any]) -> None:
        """Record and compare the versions in a client's description.

        Raises RefusedError naming what differs and matters, or for a description without versions."""
        theirs = _versions(info.get(m.VERSIONS))
        new = self._sites.get(client) != theirs
        if new:
            self._sites[client] = theirs
            self._write()
        if new or client not in self._compared:
            self._compared.add(client)
            if different := self._named(theirs, (name for name in self.own if theirs.get(name) != self.own[name])):
                _log.warning("%s has other versions than the server: %s", client, different)
        if wrong := self._named(theirs, (name for name in self.matters if not self._fits(name, theirs))):
            raise RefusedError(f"its versions do not fit the server's: {wrong}; install the same at both")

    def _fits(self, name: str, theirs: Mapping[str, str]) -> bool:
        """Whether the numbers that matter are the same; a library that the server lacks matters nothing."""
        count = self.matters[name]
        return name not in self.own or _numbers(self.own[name], count) == _numbers(theirs.get(name, ""), count)

    def _named(self, theirs: Mapping[str, str], names: Iterable[str]) -> str:
        return ", ".join(f"{name} {theirs.get(name, 'missing')} instead of {self.own[name]}" for name in names)

    def _write(self) -> None:
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(self._sites, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _recorded(path: Path) -> dict[str, dict[str, str]]:
    """Of the sites before a run was resumed; a damaged file is a note that is written anew."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(site): row for site, row in found.items()} if isinstance(found, dict) else {}


def _versions(rows: object) -> dict[str, str]:
    """Names and versions of a description. Raises RefusedError for anything else."""
    if not isinstance(rows, list) or not rows or len(rows) > _MOST:
        raise RefusedError("it does not say which versions it has")
    found = [_ROW.fullmatch(row) if isinstance(row, str) else None for row in rows]
    if not all(found):
        raise RefusedError("the versions that it sends are malformed")
    return {match[1]: match[2] for match in found if match}


def _numbers(version: str, count: int) -> list[str]:
    return re.split(r"[.+!_-]", version)[:count]
