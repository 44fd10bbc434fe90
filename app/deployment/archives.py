"""Archives that take a party's changed files to its machine: the format, and a reader that believes nothing.

An archive is a plain tar file (POSIX.1-1988 "ustar") of one folder: first `update.json`, signed by the authority, with
the party, a serial number, and size and SHA-256 of every other file; then these files by name. Every header is one that
`write` makes, byte for byte, so that no link, device, extension, owner or mode can be said in it. The reader checks the
archive's size before it reads it, decompresses nothing, and writes nothing.
"""

import hashlib
import json
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.deployment import parties as p
from app.deployment.parties import DeploymentError, Kind, write_file
from app.deployment.party_fields import check_fields
from strategies.signing import AUTHORITY_PUBLIC_KEY, signed_text, verified_body

MANIFEST = "update.json"
PURPOSE = "party-update/1"
LARGEST = 64 * 2**20
"""Bytes of an archive; one of a site has some 10 kB, with a key of `ckks` some 100 kB."""
_MOST_FILES = 4096
_BLOCK = 512
_RECORD = 10240  # tar files end at a multiple of it
_NAME = re.compile(r"(sites/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SIZE = re.compile(rb"[0-7]{11}\0")
_OF_SITE = re.compile(r"sites/[a-z][a-z0-9-]{0,30}\.(pub|cert|share)")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK", b"\x28\xb5\x2f\xfd")
_KINDS = {b"1": "a hard link", b"2": "a link", b"3": "a device", b"4": "a device", b"5": "a folder", b"6": "a pipe"}
CHANGING = {
    Kind.site: {p.ALLOWED_APPS, p.SITE_CERTIFICATE, p.SHARE_CERTIFICATE, p.SHARE_KEY, p.FEDERATION_KEY},
    Kind.server: {p.SERVER_CERTIFICATE, p.SERVER_KEY, p.CONTROL, p.CLOUD_KEY},
    Kind.operator: {p.ALLOWED_APPS, p.OPERATOR_CERTIFICATE, p.OPERATOR_KEY},
}
"""Files that the authority's commands change, by party. An operator has those of `sites/` as well. Programs, settings,
a policy and a site's own key are never among them."""
_OF_ALL = {p.PARTY_FILE, AUTHORITY_PUBLIC_KEY, p.AUTHORITY_CERTIFICATE}
FIRST = {
    Kind.site: {*_OF_ALL, p.SITE_KEY, p.SITE_PUBLIC_KEY, "site.env"},
    Kind.server: {*_OF_ALL, "server.env"},
    Kind.operator: {*_OF_ALL, "operator.env"},
}
"""Further files for a machine without the party's folder. Its programs and policy are those of its installation."""


class ArchiveError(DeploymentError):
    """An archive that is not used; the message names it and the reason."""


@dataclass(frozen=True)
class Update:
    """What the authority says of an archive.

    Args:
        name: of the site; of the others their kind.
        serial: a later archive of the same party has a larger one.
        key_id, control_port: as in the party's `party.json`, from now on.
        sites: all sites of the federation, for the operator; else empty.
        whole: for a machine without the party's folder; the archive then holds a site's own key and settings too.
        files: size in bytes and SHA-256, by name.
    """

    federation: str
    kind: Kind
    name: str
    serial: int
    date: str
    key_id: str
    control_port: int
    sites: tuple[str, ...]
    whole: bool
    files: Mapping[str, tuple[int, str]]

    @property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def write(path: Path, update: Update, content: Mapping[str, bytes], key: Ed25519PrivateKey) -> None:
    """Write an archive for its owner alone."""
    manifest = signed_text(asdict(update), PURPOSE, key).encode()
    members = {MANIFEST: manifest, **dict(sorted(content.items()))}
    body = b"".join(_header(name, len(data)) + data + bytes(-len(data) % _BLOCK) for name, data in members.items())
    body += bytes(2 * _BLOCK)
    write_file(path, body + bytes(-len(body) % _RECORD), p.SECRET)


def described(content: Mapping[str, bytes]) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each file."""
    return {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in content.items()}


def read_members(path: Path) -> dict[str, bytes]:
    """The files of an archive, of which nothing is proven yet. Raises ArchiveError for a file that is no such archive,
    or has a name, kind or size that none has."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ArchiveError(f"{path} is no file")
        if found.st_size > LARGEST:
            raise ArchiveError(f"{path} has {found.st_size} bytes; an archive has at most {LARGEST}")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise ArchiveError(f"cannot read {path}: {error.strerror}") from error
    if data.startswith(_COMPRESSED):
        raise ArchiveError(f"{path} is compressed; archives of `federation` are not: give it as the authority made it")
    if len(data) > LARGEST:
        raise ArchiveError(f"{path} grows while it is read")
    members: dict[str, bytes] = {}
    for name, content in _members(memoryview(data), path):
        if name in members:
            raise ArchiveError(f"{path} holds {name} twice")
        if len(members) > _MOST_FILES:
            raise ArchiveError(f"{path} holds more than {_MOST_FILES} files")
        members[name] = content
    if next(iter(members), None) != MANIFEST:
        raise ArchiveError(f"{path} does not begin with {MANIFEST}: it is no archive of `federation`")
    return members


def read_update(path: Path, members: dict[str, bytes], key: Ed25519PublicKey) -> tuple[Update, dict[str, bytes]]:
    """What the authority with this key says of an archive, and its other files, which are those that it names.

    Raises SigningError or ArchiveError unless the authority signed it and every file is as it says."""
    content = {name: data for name, data in members.items() if name != MANIFEST}
    update = _update(verified_body(members[MANIFEST], PURPOSE, key, path), path)
    if missing := sorted(update.files.keys() - content.keys()):
        raise ArchiveError(f"{path} is cut short or was changed: {missing[0]} is missing")
    if further := sorted(content.keys() - update.files.keys()):
        raise ArchiveError(f"{path} was changed: the authority did not put {further[0]} in")
    for name, (size, digest) in update.files.items():
        if (len(content[name]), hashlib.sha256(content[name]).hexdigest()) != (size, digest):
            raise ArchiveError(f"{path} was changed: {name} is not as the authority put it in")
        if not _may_hold(update, name):
            raise ArchiveError(f"{path} holds {name}, which no archive of a {update.kind} has")
    return update, content


def _may_hold(update: Update, name: str) -> bool:
    if update.kind is Kind.operator and _OF_SITE.fullmatch(name):
        return True
    if not update.whole:
        return name in CHANGING[update.kind]
    return name in CHANGING[update.kind] | FIRST[update.kind]


def _members(data: memoryview, path: Path) -> Iterator[tuple[str, bytes]]:
    place = 0
    while True:
        block = bytes(data[place : place + _BLOCK])
        if len(block) < _BLOCK:
            raise ArchiveError(f"{path} is cut short, or no archive of `federation`")
        if not any(block):
            break
        name, size = _described(block, path)
        place += _BLOCK
        if size > len(data) - place:
            raise ArchiveError(f"{path} is cut short: {name} has {size} bytes, {len(data) - place} are left")
        yield name, bytes(data[place : place + size])
        padding = bytes(data[place + size : place + size + -size % _BLOCK])
        place += size + len(padding)
        if any(padding):
            raise ArchiveError(f"{path} holds bytes between its files")
    if any(data[place:]) or len(data) % _RECORD or len(data) - place > _RECORD + 2 * _BLOCK:
        raise ArchiveError(f"{path} goes on after its end, or is cut short there")


def _described(block: bytes, path: Path) -> tuple[str, int]:
    """Name and size of a header. Raises ArchiveError, with the reason, for one that `write` does not make."""
    shown = block[:100].rstrip(b"\0").decode("ascii", "backslashreplace")
    kind = block[156:157]
    if kind != tarfile.REGTYPE:
        said = _KINDS.get(kind, "neither a file nor a folder")
        raise ArchiveError(f"{path} holds {shown!r}, which is {said}; an archive holds files alone")
    if not _NAME.fullmatch(shown):
        raise ArchiveError(f"{path} holds a file with the name {shown!r}, which no party's folder has")
    if not _SIZE.fullmatch(block[124:136]):
        raise ArchiveError(f"{path}: the size of {shown} is no number of an archive")
    size = int(block[124:135], 8)
    if size > LARGEST:
        raise ArchiveError(f"{path}: {shown} has {size} bytes; an archive has at most {LARGEST}")
    if block != _header(shown, size):
        raise ArchiveError(f"{path}: the header of {shown} is not one that `federation` writes")
    return shown, size


def _header(name: str, size: int) -> bytes:
    about = tarfile.TarInfo(name)
    about.size, about.mode, about.mtime = size, p.SECRET, 0
    return about.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _update(body: dict[str, Any], path: Path) -> Update:
    try:
        files = {name: _file(*about) for name, about in body["files"].items()}
        update = Update(**{**body, "kind": Kind(body["kind"]), "sites": tuple(body["sites"]), "files": files})
        check_fields(vars(update))
        if update.kind not in CHANGING or (update.sites and update.kind is not Kind.operator):
            raise ValueError(f"kind {str(update.kind)!r}, sites {list(update.sites)}")
    except ValueError as error:
        raise ArchiveError(f"{path} is signed and no update of a party: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{path} is signed and no update of a party: a field of another name or type") from error
    return update


def _file(size: object, digest: object) -> tuple[int, str]:
    if type(size) is not int or not isinstance(digest, str):
        raise ValueError(f"a file with {size!r} bytes and digest {digest!r}")
    return size, digest
