"""A party's folder on its machine, made of the authority's first archive (`app.deployment.updates`).

The machine holds no key of the authority yet. So the person there gives the fingerprint of the authority's key, which
`init` printed and which does not travel with the archive. Programs and policy are those of the version installed here.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from app.deployment import parties as p
from app.deployment import verify
from app.deployment.applying import write_content
from app.deployment.archives import ArchiveError, Update, read_members, read_update
from app.deployment.parties import DeploymentError, Kind, write_file
from app.deployment.programs import write_programs, write_unit
from app.deployment.setup import INSTALL
from strategies.signing import AUTHORITY_PUBLIC_KEY, fingerprint, public_key


def receive(archive: Path, place: Path, said: str, settings: Mapping[str, str]) -> tuple[Update, Path]:
    """Make a party's folder in `place`, whole or not at all; what the authority says of it, and the folder.

    Args:
        place: folder of the project on this machine.
        said: fingerprint of the authority's key, as the person gives it.
        settings: values for the party's `*.env`, beside the paths of this installation.

    Raises DeploymentError, ArchiveError or SigningError."""
    members = read_members(archive)
    if AUTHORITY_PUBLIC_KEY not in members:
        raise ArchiveError(
            f"{archive} holds changes alone: name the party's folder with --folder, and leave out --first"
        )
    key = public_key(members[AUTHORITY_PUBLIC_KEY], f"{AUTHORITY_PUBLIC_KEY} in {archive}")
    if _plain(said) != _plain(fingerprint(key)):
        raise ArchiveError(
            f"{archive} is of an authority with another fingerprint than {said}: ask the authority for it, and do not "
            "read it from the archive"
        )
    update, content = read_update(archive, members, key)
    if not update.whole:
        raise ArchiveError(f"{archive} holds changes alone, and no folder")
    if not INSTALL.fullmatch(str(place)):
        raise DeploymentError(f"{place}: an absolute path of letters, digits and ._/- is needed, for the service")
    folder = place / f"{update.federation}-{update.name}"
    if folder.exists():
        raise DeploymentError(f"{folder} is there already: leave out --first to change it")
    making = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(making, ignore_errors=True)  # of a process that was killed
    making.mkdir(mode=0o700)
    try:
        _fill(making, update, content, place)
        own = {"VENV": sys.prefix} | ({"PROJECT": str(place)} if update.kind is Kind.operator else {})
        set_values(making / f"{update.kind}.env", {**own, **settings})
        if wrong := verify.problems(making):
            raise ArchiveError(f"{archive} makes no folder that is in order: {wrong[0]}")
        making.replace(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return update, folder


def found_folder(archive: Path, place: Path) -> Path:
    """The folder on this machine that an archive is for: the working folder, or one in `place`. The archive's own words
    only choose among the folders here. Raises DeploymentError if there is none, or more than one."""
    here = Path.cwd()
    if (here / p.PARTY_FILE).exists():
        return here
    folders = [path.parent for path in sorted(place.glob(f"*/{p.PARTY_FILE}"))]
    said = read_members(archive)
    named = [folder for folder in folders if _is_named(said, folder)]
    if len(named) == 1:
        return named[0]
    hidden = [path for path in place.glob("*/") if not os.access(path, os.R_OK | os.X_OK)]
    if not named and hidden:
        raise DeploymentError(f"{hidden[0]} cannot be read by this user: run this as root, or give --folder")
    count = "no folder" if not named else f"{len(named)} folders"
    raise DeploymentError(
        f"{count} of this archive's party in {place}: name it with --folder, or, on a machine that has none yet, give "
        "the authority's fingerprint with --first"
    )


def set_values(path: Path, settings: Mapping[str, str]) -> None:
    """Change values in a party's `*.env`. Raises DeploymentError for a name that it does not have."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for name, value in settings.items():
        own = [number for number, line in enumerate(lines) if line.startswith(f"{name}=")]
        if not own:
            known = sorted(line.partition("=")[0] for line in lines if re.match(r"[A-Z_]+=", line))
            raise DeploymentError(f"{path.name} has no {name}; it has {', '.join(known)}")
        if "\n" in value or "\r" in value:
            raise DeploymentError(f"{name}: a value of {path.name} is one line")
        lines[own[-1]] = f"{name}={shlex.quote(value)}"
    write_file(path, ("\n".join(lines) + "\n").encode(), p.PUBLIC)


def _fill(folder: Path, update: Update, content: Mapping[str, bytes], place: Path) -> None:
    write_file(folder / p.PARTY_FILE, content[p.PARTY_FILE], p.PUBLIC)
    party = replace(p.read_party(folder), key_id=update.key_id, control_port=update.control_port)
    server = Path(party.install or place)
    if update.kind is Kind.server and place != server and (update.control_port or party.key_holder == "cloud"):
        raise ArchiveError(
            f"the authority's files name the server's folder {server / party.unit}: put the project in {server}, or "
            "let the authority make the federation with another --install"
        )
    if update.kind is not Kind.operator or not update.control_port:  # else it names the server's paths, elsewhere
        party = replace(party, install=str(place))
    if (party.federation, party.kind, party.name) != (update.federation, update.kind, update.name):
        raise ArchiveError(f"the archive's {p.PARTY_FILE} is of another party than {update.name}")
    write_content(folder, party, update, content)
    write_programs(folder)
    if update.kind is not Kind.operator:
        write_unit(party, folder, place / party.unit)


def _is_named(members: Mapping[str, bytes], folder: Path) -> bool:
    """Whether an archive, of which nothing is proven yet, names the party of a folder."""
    party = p.read_party(folder)
    words = [f'"{key}": "{value}"' for key, value in (("federation", party.federation), ("name", party.name))]
    text = next(iter(members.values())).decode("utf-8", "replace")
    return all(word in text for word in words)


def _plain(text: str) -> str:
    return re.sub(r"[\s:-]", "", text).lower()
