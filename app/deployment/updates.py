"""Archives for the parties, made by the authority with every change of a federation's folders: one file a party.

`updates/NAME.tar` holds all that changed since the party got its folder, so that the newest archive alone is needed.
`first/NAME.tar` is for a machine without the folder. The authority's `updates.json` records serial numbers and digests.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.deployment import parties as p
from app.deployment.archives import CHANGING, FIRST, Update, described, read_members, read_update, write
from app.deployment.parties import DeploymentError, Kind, Party, write_file
from strategies.signing import AUTHORITY_PUBLIC_KEY, SIGNING_KEY, SigningError, read_public_key, read_signing_key

UPDATES_FOLDER, FIRST_FOLDER = "updates", "first"
_OF_SITES = (".pub", ".cert", p.SHARE_END)


@dataclass(frozen=True)
class _Recorded:
    """A party's archives so far: digests by file, as its first folder had them and as the newest archive has."""

    serial: int
    base: Mapping[str, str]
    files: Mapping[str, str]


def write_updates(before: Path, after: Path) -> None:
    """Write archives for all parties whose files differ from those of their newest archive, and the record of it.

    Args:
        before: the federation's folder without a change, the state of parties that are not recorded yet.
        after: a copy with it. Nothing is written if it has no signing key.

    Raises DeploymentError for a damaged record."""
    authority = after / "authority"
    if not (authority / SIGNING_KEY).exists() or not (authority / p.PARTY_FILE).exists():
        return
    key, recorded, now = read_signing_key(authority / SIGNING_KEY), _read(authority), {}
    known = {party.name: party for party in _parties(before)}
    for party in _parties(after):
        content = _content(after, party)
        state = _digests(party, content, after)
        first = party.name not in recorded and party.name not in known
        if first:
            now[party.name] = _Recorded(int(time.time()), state, state)
        else:
            old = recorded.get(party.name) or _from(before, known[party.name])
            now[party.name] = _updated(after, party, content, state, old, key)
        whole = after / FIRST_FOLDER / f"{party.name}.tar"
        if first or (whole.exists() and now[party.name] != recorded.get(party.name)):
            _write_whole(whole, after, party, now[party.name].serial, key)
    for gone in recorded.keys() - now.keys():
        for folder in (UPDATES_FOLDER, FIRST_FOLDER):
            (after / folder / f"{gone}.tar").unlink(missing_ok=True)
    if now != recorded:
        rows = {name: vars(row) for name, row in sorted(now.items())}
        write_file(authority / p.UPDATES, (json.dumps(rows, indent=1) + "\n").encode(), p.PUBLIC)


def serials(root: Path) -> dict[str, int]:
    """Serial number of each party's newest archive. Raises DeploymentError for a damaged record."""
    return {name: row.serial for name, row in _read(root / "authority").items()}


def way(archive: Path, root: Path) -> str:
    """How an archive travels: one with a key that its party has to keep secret needs a safe channel."""
    update, _ = read_update(archive, read_members(archive), read_public_key(root / "authority" / AUTHORITY_PUBLIC_KEY))
    held = {name for name in update.files if name.endswith(".key")}
    return "over a safe channel" if held else "over any channel"


def _updated(
    root: Path,
    party: Party,
    content: Mapping[str, bytes],
    state: Mapping[str, str],
    old: _Recorded,
    key: Ed25519PrivateKey,
) -> _Recorded:
    if all(old.files.get(name) == digest for name, digest in state.items()):
        return old
    serial = max(old.serial + 1, int(time.time()))
    content = {**_sent_before(root, party, content, old), **content}
    state = {**{name: digest for name, digest in old.files.items() if name in content}, **state}
    sent = {name: data for name, data in content.items() if state[name] != old.base.get(name)}
    _write(root / UPDATES_FOLDER / f"{party.name}.tar", _update(root, party, serial, sent, whole=False), sent, key)
    return _Recorded(serial, old.base, {**old.files, **state})


def _sent_before(root: Path, party: Party, content: Mapping[str, bytes], old: _Recorded) -> dict[str, bytes]:
    """Files of the party's newest archive that the next one has to hold too, though no folder here has them any more,
    as after the copies were deleted. Raises DeploymentError if that archive is gone or has other files."""
    sites = _sites(party, root)
    gone = {
        name: digest
        for name, digest in old.files.items()
        if digest != old.base.get(name)
        and name not in {*content, p.PARTY_FILE}
        and (not name.startswith("sites/") or Path(name).stem in sites)  # those of sites that left are not sent again
    }
    if not gone:
        return {}
    path = root / UPDATES_FOLDER / f"{party.name}.tar"
    members = read_members(path) if path.exists() else {}
    for name, digest in gone.items():
        if name not in members or hashlib.sha256(members[name]).hexdigest() != digest:
            raise DeploymentError(
                f"{path} is needed for {name}, which nothing here holds any more: take it from a backup, or, if every "
                f"party has applied its archives, delete {root / 'authority' / p.UPDATES}"
            )
    return {name: members[name] for name in gone}


def _from(root: Path, party: Party) -> _Recorded:
    """The record of a party that has none, from its files before the change. Numbers go on after those of its archives
    that are left."""
    state = _digests(party, _content(root, party), root)
    return _Recorded(max(_serial(root, folder, party) for folder in (UPDATES_FOLDER, FIRST_FOLDER)), state, state)


def _serial(root: Path, folder: str, party: Party) -> int:
    """Serial number of an archive; 0 if there is none that can be read."""
    path = root / folder / f"{party.name}.tar"
    with suppress(DeploymentError, SigningError):
        key = read_public_key(root / "authority" / AUTHORITY_PUBLIC_KEY)
        return read_update(path, read_members(path), key)[0].serial
    return 0


def _write_whole(path: Path, root: Path, party: Party, serial: int, key: Ed25519PrivateKey) -> None:
    """Write the archive of a party's whole folder, or remove one that can no longer be made."""
    folder, content = _folder(root, party), _content(root, party)
    if not all((folder / name).exists() for name in FIRST[party.kind] - {p.PARTY_FILE}):
        path.unlink(missing_ok=True)
        return
    content |= {name: (folder / name).read_bytes() for name in FIRST[party.kind]}
    _write(path, _update(root, party, serial, content, whole=True), content, key)


def _write(path: Path, update: Update, content: Mapping[str, bytes], key: Ed25519PrivateKey) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write(path, update, content, key)


def _update(root: Path, party: Party, serial: int, content: Mapping[str, bytes], *, whole: bool) -> Update:
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return Update(
        federation=party.federation,
        kind=party.kind,
        name=party.name,
        serial=serial,
        date=date,
        key_id=party.key_id,
        control_port=party.control_port,
        sites=_sites(party, root),
        whole=whole,
        files=described(content),
    )


def _parties(root: Path) -> list[Party]:
    """Server, operator and all sites, whether their folders are here or were handed over."""
    if not (root / "authority" / p.PARTY_FILE).exists():
        return []
    owner = p.read_party(root / "authority")
    found = [replace(owner, kind=kind, name=kind.value) for kind in (Kind.server, Kind.operator)]
    found += [replace(owner, kind=Kind.site, name=site, control_port=0) for site in _site_names(root)]
    return found


def _site_names(root: Path) -> list[str]:
    at_operator = {path.stem for path in (root / "operator" / "sites").glob("*.pub")}
    return sorted(at_operator | {path.parent.name for path in (root / "sites").glob(f"*/{p.SITE_PUBLIC_KEY}")})


def _folder(root: Path, party: Party) -> Path:
    return root / "sites" / party.name if party.kind is Kind.site else root / party.name


def _sites(party: Party, root: Path) -> tuple[str, ...]:
    return tuple(_site_names(root)) if party.kind is Kind.operator else ()


def _content(root: Path, party: Party) -> dict[str, bytes]:
    """The party's files that changes can concern, from its folder, the authority's or the operator's."""
    folder, authority = _folder(root, party), root / "authority"
    places = {name: [folder / name] for name in CHANGING[party.kind]}
    for name in (p.ALLOWED_APPS, p.FEDERATION_KEY):
        if name in places:
            places[name].insert(0, authority / name)
    if party.kind is Kind.site:
        for name, end in ((p.SITE_CERTIFICATE, ".cert"), (p.SHARE_CERTIFICATE, p.SHARE_END)):
            places[name].insert(0, root / "operator" / "sites" / f"{party.name}{end}")
    if party.kind is Kind.operator:
        names = [f"sites/{site}{end}" for site in _site_names(root) for end in _OF_SITES]
        places |= {name: [folder / name] for name in names}
    found = {name: next((path for path in paths if path.exists()), None) for name, paths in places.items()}
    return {name: path.read_bytes() for name, path in found.items() if path is not None}


def _digests(party: Party, content: Mapping[str, bytes], root: Path) -> dict[str, str]:
    state = {p.PARTY_FILE: _state(party.key_id, party.control_port, _sites(party, root)), **content}
    return {name: hashlib.sha256(data).hexdigest() for name, data in state.items()}


def _state(key_id: str, control_port: int, sites: tuple[str, ...]) -> bytes:
    return json.dumps([key_id, control_port, sites]).encode()


def _read(authority: Path) -> dict[str, _Recorded]:
    path = authority / p.UPDATES
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(name): _Recorded(int(row["serial"]), dict(row["base"]), dict(row["files"]))
            for name, row in rows.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DeploymentError(
            f"{path} is damaged: take it from a backup, or delete it, and hand the folders over once more"
        ) from error
