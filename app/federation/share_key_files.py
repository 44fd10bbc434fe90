"""Share keys of a client in files: at a real site those from the authority, in a simulation those of its run folder."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from app.core.files import replacing
from app.federation.refusals import IdentityError
from app.settings.checks import SettingsError
from app.settings.load import absolute
from strategies.ciphers.keys import KeyFileError
from strategies.share_keys import LONGEST_STATEMENT, ShareKeyRules, ShareKeys, new_share_keys
from strategies.signing import (
    AUTHORITY_PUBLIC_KEY,
    SigningError,
    new_signing_key,
    private_pem,
    public_pem,
    read_private_key,
    read_public_key,
    read_signing_key,
    write_new_secret,
    write_signing_key,
)

SIMULATION = "simulation"
"""Federation in the statements of a simulation."""
_NODE_CONFIG = ("share-key", "share-cert", "authority")
_log = logging.getLogger("flwr")


def share_key_pem(key: X25519PrivateKey) -> bytes:
    """Content of `share.key`."""
    return private_pem(key)


def read_share_key(path: Path) -> X25519PrivateKey:
    """The private key of a file. Raises KeyFileError, which names the file, if it is missing, damaged, readable by
    others or of another kind."""
    key = read_private_key(path, "share key", KeyFileError)
    if not isinstance(key, X25519PrivateKey):
        raise KeyFileError(f"share key {path} is of another kind than X25519")
    return key


def read_statement(path: Path) -> str:
    """Text of a `share.cert`, as far as one can be long. Raises OSError or ValueError."""
    with path.open("rb") as file:
        return file.read(LONGEST_STATEMENT + 1).decode()


def read_share_keys(site: str, config: Mapping[str, str], key_id: str) -> ShareKeys:
    """The share key of a real node, from its config.

    Raises SettingsError naming a missing key of the config, and IdentityError for files that cannot be used; the site's
    log names file, reason and remedy."""
    if missing := [key for key in _NODE_CONFIG if key not in config]:
        raise SettingsError(f"{site}: shares for other sites need the node config {', '.join(missing)}")
    key, statement, authority = (absolute(config[name]) for name in _NODE_CONFIG)
    try:
        text = read_statement(statement)
        rules = ShareKeyRules(read_public_key(authority), key_id)
        own = rules.statement(text, time.time())
        return ShareKeys(site, read_share_key(key), text, replace(rules, federation=own.federation))
    except (OSError, ValueError) as error:  # SigningError, KeyFileError and ShareKeyError among them
        remedy = "python -m scripts.federation renew FOLDER --sites makes it, at the authority"
        _log.error("%s: cannot use its share key with %s: %s. %s", site, statement, error, remedy)
        raise IdentityError(f"{site}: it cannot use its share key; the site's own log says why") from None


def simulated_share_keys(run_folder: Path, site: str, key_id: str) -> ShareKeys:
    """The share key of a simulated client, by the authority of the run. Both are created in the run folder if missing:
    the clients start at once, and one of them wins."""
    authority, own = simulated_authority(run_folder), run_folder / "keys" / f"share-{site}.key"
    if not own.exists():
        with suppress(FileExistsError):
            write_new_secret(share_key_pem(X25519PrivateKey.generate()), own)
    return new_share_keys(SIMULATION, site, key_id, authority, now=time.time(), key=read_share_key(own))


def simulated_authority(run_folder: Path) -> Ed25519PrivateKey:
    """The authority of a simulation, created in the run folder by whichever client needs it first; with its public half
    beside it, for the server, which opens no key. A public half that is damaged or of another key is replaced."""
    path = run_folder / "keys" / "authority.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with suppress(FileExistsError):
            write_signing_key(new_signing_key(), path)
    authority = read_signing_key(path)
    public, pem = path.with_name(AUTHORITY_PUBLIC_KEY), public_pem(authority)
    if not public.exists() or public.read_bytes() != pem:
        with replacing(public) as temporary:
            temporary.write_bytes(pem)
    return authority


def simulated_authority_public(run_folder: Path) -> Ed25519PublicKey:
    """The public half that a client of the simulation left. Raises SigningError, with the remedy, if there is none, or
    a damaged one."""
    try:
        return read_public_key(run_folder / "keys" / AUTHORITY_PUBLIC_KEY)
    except SigningError as error:
        remedy = "resume the run (federation.resume=true), and its clients write the file again"
        raise SigningError(f"{error}: {remedy}") from error
