"""Ports of the sites' own processes: sites on one machine, for a trial, must not share one.

The authority's folder records every number given out (`ports.json`), because a site's folder may have been handed over
and deleted. A number is never used again, so that a site that has left and still runs disturbs no other.
"""

import json
import re
from pathlib import Path

from app.deployment import parties as p
from app.deployment.parties import DeploymentError, write_file

_FIRST = 9094
_LAST = 65535
_UNKNOWN = 100
"""Numbers skipped in a federation older than this file, for sites whose folder is not here."""
_LINE = re.compile(r"^RUNTIME_PORT=['\"]?(\d+)", re.MULTILINE)


def assign_port(root: Path, site: str, *, taken: int) -> int:
    """A new number for a site, recorded; `taken`: the server's port.

    Raises DeploymentError if the file is damaged or there is no number left."""
    path = root / "authority" / p.PORTS
    given, in_use = _given(path), _in_folders(root)
    lowest = max([*given.values(), _FIRST - 1]) + 1
    known = {key.partition("#")[0] for key in given}
    unknown = {key.stem for key in (root / "operator" / "sites").glob("*.pub")} - known - in_use.keys()
    if unknown:
        lowest = max([lowest, *in_use.values()]) + _UNKNOWN
    port = lowest
    while port in {taken, *in_use.values()}:
        port += 1
    if port > _LAST:
        raise DeploymentError(f"{path}: no port is left below {_LAST}")
    name = site if site not in given else f"{site}#{port}"  # a site that left and came back
    write_file(path, (json.dumps({**given, name: port}, indent=1) + "\n").encode(), p.PUBLIC)
    return port


def _given(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(site): int(port) for site, port in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DeploymentError(f"{path} is damaged: it holds an object of sites and their ports") from error


def _in_folders(root: Path) -> dict[str, int]:
    """Ports in the folders present here, which their owners may have changed."""
    found = {}
    for path in (root / "sites").glob("*/site.env"):
        if match := _LINE.search(path.read_text(encoding="utf-8", errors="replace")):
            found[path.parent.name] = int(match[1])
    return found
