"""Renewal of keys: the federation key and the share keys of all sites, and what expires."""

import shutil
from dataclasses import replace
from pathlib import Path

from app.deployment import parties as p
from app.deployment.approval import APPROVE
from app.deployment.certificates import Issued, new_server
from app.deployment.changes import changing, complete, in_place
from app.deployment.operator_access import check_operator_port, write_access, write_control
from app.deployment.parties import DeploymentError
from app.deployment.programs import write_programs
from app.deployment.setup import certify, write_server_certificate
from app.deployment.share_certificates import Scope, write_share_keys
from strategies.ciphers.keys import FederationKey, read_key, write_key
from strategies.signing import SIGNING_KEY


def rotate_key(root: Path, key: FederationKey, cloud: FederationKey | None = None) -> list[Path]:
    """A new federation key: in the authority's folder, and in each site's if that is still here; and new share keys for
    all sites. `cloud` is the server's key where it decrypts sums. The authority keeps the old federation key. Returns
    the files written; a call that was killed has left everything as it was, or is completed by the next command."""
    complete(root)
    authority = root / "authority"
    if authority not in p.parties_of(root):
        raise DeploymentError(f"{authority} is needed: it holds the federation key")
    with changing(root) as copy:
        files = _rotate(copy, key)
        if cloud is not None:
            (copy / "server").mkdir(exist_ok=True, mode=0o700)  # as in `renew_server`
            (copy / "server" / p.CLOUD_KEY).unlink(missing_ok=True)
            write_key(cloud, copy / "server" / p.CLOUD_KEY)
            files.append(copy / "server" / p.CLOUD_KEY)
    return in_place(files, copy, root)


def _rotate(root: Path, key: FederationKey) -> list[Path]:
    held = {folder: p.read_party(folder) for folder in p.parties_of(root)}
    old = root / "authority" / p.FEDERATION_KEY
    aside = old.with_name(f"federation-{read_key(old).key_id}.key")
    if not aside.exists():
        shutil.copy2(old, aside)
    changed = []
    for folder, party in held.items():
        if p.FEDERATION_KEY in party.files():
            (folder / p.FEDERATION_KEY).unlink(missing_ok=True)
            write_key(key, folder / p.FEDERATION_KEY)
            changed.append(folder / p.FEDERATION_KEY)
        replace(party, key_id=key.key_id).write(folder)
    return [*changed, *certify(root, key.key_id, Scope.keys)]


def renew_server(root: Path, bind: str = "") -> Path:
    """A new key and certificate for the server, signed by the same authority: sites need not change anything.

    Args:
        bind: address at which the server listens from now on; "" for the one that the authority knows."""
    complete(root)
    held = root / "authority"
    party = p.read_party(held)
    if bind:
        p.check_bind(bind)
        party = replace(party, bind=bind)
    try:
        authority = Issued((held / p.AUTHORITY_CERTIFICATE).read_bytes(), (held / p.AUTHORITY_KEY).read_bytes())
    except OSError as error:
        raise DeploymentError(f"{held} is needed to sign a certificate: {error}") from error
    with changing(root) as copy:
        (copy / "server").mkdir(exist_ok=True, mode=0o700)  # the folder may have been handed over and deleted here
        write_server_certificate(copy / "server", new_server(authority, party.host, bind=party.bind))
        if bind:
            party.write(copy / "authority")
            if party.control_port:
                write_control(copy, party)
    return root / "server" / p.SERVER_CERTIFICATE


def give_access(root: Path, port: int = 0) -> list[Path]:
    """A new certificate for the operator, who may be on another machine from now on; the files to be copied.

    Args:
        port: of the server; 0 for the one that the federation has.

    Raises DeploymentError if there is no port yet and none is given, or if a folder is missing."""
    complete(root)
    owner = p.read_party(root / "authority")
    p.read_party(root / "operator")
    chosen = port or owner.control_port
    if not chosen:
        raise DeploymentError("give --port: the server's port for the operator, for example 8444")
    check_operator_port(owner.host, chosen, owner.port)
    with changing(root) as copy:
        written = write_access(copy, chosen)
        write_programs(copy / "operator")
    return in_place(written, copy, root)


def renew_share_keys(root: Path, now: float | None = None) -> list[Path]:
    """New statements of the authority about the share keys of all sites, valid from now, and a key for each site that
    has none, as in a federation older than share keys. Returns the files written."""
    complete(root)
    party = p.read_party(root / "authority")
    if not (root / "authority" / SIGNING_KEY).exists():
        raise DeploymentError(f"{root / 'authority' / SIGNING_KEY} is missing: {APPROVE} {root} makes it")
    with changing(root) as copy:
        files = write_share_keys(copy, party.key_id, Scope.statements, now)
    return in_place(files, copy, root)
