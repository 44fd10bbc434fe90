"""Files of each party of a federation, with their modes: written by `setup` and checked by `verify`."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path

from app.core.files import replacing
from app.deployment.party_fields import HOST, NAME, check_fields, is_bind
from models.errors import FedVehicleReidError
from models.names import look
from strategies.signing import AUTHORITY_PUBLIC_KEY, SIGNING_KEY

PARTY_FILE = "party.json"
AUTHORITY_CERTIFICATE, AUTHORITY_KEY = "ca.crt", "ca.key"
SERVER_CERTIFICATE, SERVER_KEY = "server.crt", "server.key"
OPERATOR_CERTIFICATE, OPERATOR_KEY = "operator.crt", "operator.key"
"""X.509, of an operator on another machine than the server."""
CONTROL = "control.conf"
"""Settings of nginx at the server, for that operator."""
SITE_KEY, SITE_PUBLIC_KEY, SITE_CERTIFICATE = "site.key", "site.pub", "site.cert"
SHARE_KEY, SHARE_CERTIFICATE = "share.key", "share.cert"
"""X25519 key to which other sites seal shares, and the authority's statement about it (`strategies.share_keys`)."""
SHARE_END = ".share"
"""Of a copy of `share.cert` at the operator's, after the site's name."""
FEDERATION_KEY = "federation.key"
ALLOWED_APPS = "allowed-apps"
"""App bundles that sites may run, signed by the authority."""
PORTS = "ports.json"
"""Ports that sites got from the authority."""
CLOUD_KEY = "cloud.key"
"""The server's half of the federation key where the server decrypts sums (`key_holder` "cloud")."""
UPDATES = "updates.json"
"""In the authority's folder: archives made for the parties so far (`app.deployment.updates`)."""
APPLIED = "applied.json"
"""Serial number and digest of the archive that a party's folder had last (`app.deployment.applying`)."""
REPLACED = ".replaced"
"""Folder in a party's folder: files that this archive replaced, until the next one."""
START, CONNECT, REGISTER, RUN, FLWR = "start.sh", "connect.sh", "register.sh", "run.sh", "flwr.sh"
POLICY = "policy.toml"
IGNORE = ".gitignore"
STATE = "state"
"""Folder for files of a running party; nothing in it comes from `setup`."""
REFRESH = "write its start.sh anew with python -m scripts.federation refresh FOLDER"
SECRET, PUBLIC, PROGRAM = 0o600, 0o644, 0o755
_FORMAT = 1


class DeploymentError(FedVehicleReidError, ValueError):
    """A federation folder that cannot be created or used; the message names the culprit."""


class Kind(StrEnum):
    """Kind of a party."""

    authority = "authority"
    server = "server"
    operator = "operator"
    site = "site"


@dataclass(frozen=True)
class Party:
    """Owner of a folder. It holds no secret.

    Args:
        name: of the site; of the others their kind.
        key_id: of the federation key that sites hold.
        install: folder of the project on the parties' machines; "" in folders older than this field.
        control_port: of the server, for an operator on another machine; 0 if there is none. Written for server,
            operator and authority alone.
        cipher, ckks_preset, key_holder: as in `privacy`.
        bind: address at which the server listens, for its certificate; "" for all, or loopback. The authority's alone.
    """

    federation: str
    kind: Kind
    name: str
    host: str
    port: int
    key_id: str
    install: str = ""
    control_port: int = 0
    cipher: str = "kahe"
    ckks_preset: str = "compact"
    key_holder: str = "client"
    bind: str = ""

    @property
    def unit(self) -> str:
        """Name of the systemd service."""
        return f"{self.federation}-{self.name}"

    @property
    def deals_shares(self) -> bool:
        """Whether it deals shares of keys for each attempt at a round, and answers one question about them."""
        return self.kind is Kind.site and self.cipher == "kahe"

    def files(self) -> dict[str, int]:
        """Files of the folder, with modes. It must hold no other secret."""
        common = {PARTY_FILE: PUBLIC, IGNORE: PUBLIC, AUTHORITY_CERTIFICATE: PUBLIC, AUTHORITY_PUBLIC_KEY: PUBLIC}
        service = {START: PROGRAM, f"{self.unit}.service": PUBLIC}
        remote = self.control_port > 0
        own = {
            Kind.authority: {
                AUTHORITY_KEY: SECRET,
                SIGNING_KEY: SECRET,
                FEDERATION_KEY: SECRET,
                ALLOWED_APPS: PUBLIC,
                PORTS: PUBLIC,
                UPDATES: PUBLIC,
            },
            Kind.server: {SERVER_CERTIFICATE: PUBLIC, SERVER_KEY: SECRET, "server.env": PUBLIC, **service}
            | ({CONTROL: PUBLIC} if remote else {})
            | ({CLOUD_KEY: SECRET} if self.key_holder == "cloud" else {}),
            Kind.operator: {
                "operator.env": PUBLIC,
                CONNECT: PROGRAM,
                REGISTER: PROGRAM,
                RUN: PROGRAM,
                FLWR: PROGRAM,
                ALLOWED_APPS: PUBLIC,
            }
            | ({OPERATOR_CERTIFICATE: PUBLIC, OPERATOR_KEY: SECRET} if remote else {}),
            Kind.site: {
                SITE_KEY: SECRET,
                SITE_PUBLIC_KEY: PUBLIC,
                SITE_CERTIFICATE: PUBLIC,
                SHARE_KEY: SECRET,
                SHARE_CERTIFICATE: PUBLIC,
                FEDERATION_KEY: SECRET,
                POLICY: PUBLIC,
                ALLOWED_APPS: PUBLIC,
                "site.env": PUBLIC,
                **service,
            },
        }
        return common | own[self.kind]

    def write(self, folder: Path) -> None:
        """Into the folder's `party.json`."""
        default = {each.name: each.default for each in fields(Party)}
        written = asdict(self)
        for name in ("control_port", "cipher", "ckks_preset", "key_holder", "bind"):
            if written[name] == default[name]:  # as before this field
                del written[name]
        text = json.dumps({"format": _FORMAT, **written}, indent=1) + "\n"
        write_file(folder / PARTY_FILE, text.encode(), PUBLIC)
        write_file(folder / IGNORE, b"*\n", PUBLIC)  # folders lie in a checkout, and some hold secrets


def read_party(folder: Path) -> Party:
    """Raises DeploymentError for a folder of no party, and for a field that no party has."""
    path = folder / PARTY_FILE
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if read.pop("format") != _FORMAT:
            raise DeploymentError(f"{path} has another format")
        read["kind"] = Kind(read["kind"])
        party = Party(**read)
        check_fields(vars(party))
        return party
    except DeploymentError:
        raise
    except OSError as error:
        raise DeploymentError(f"{folder} is no party's folder: {PARTY_FILE} cannot be read") from error
    except ValueError as error:
        raise DeploymentError(f"{path} is damaged ({error}): take it from a backup") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise DeploymentError(f"{path} is damaged (a field of another name or type): take it from a backup") from error


def parties_of(root: Path) -> list[Path]:
    """Folders of the parties in a federation's folder, or the folder itself if it is a party's."""
    if (root / PARTY_FILE).exists():
        return [root]
    found = [root / kind for kind in ("authority", "server", "operator")] + sorted((root / "sites").glob("*/"))
    return [folder for folder in found if (folder / PARTY_FILE).exists()]


def check_name(what: str, name: str) -> None:
    """Raise DeploymentError unless the name can stand in paths, certificates and service names."""
    if not NAME.fullmatch(name):
        raise DeploymentError(f"{what} {name!r}: lower-case letters, digits and hyphens, at most 31, first a letter")


def check_other_look(site: str, others: Iterable[str]) -> None:
    """Raise DeploymentError if the name of a new site looks like that of another one, as `site-1` and `site-l` do."""
    for other in others:
        if other != site and look(other) == look(site):
            raise DeploymentError(f"site {site!r} looks like {other!r}; choose another name")


def check_host(host: str, port: int) -> None:
    """Raise DeploymentError for an invalid host name or address, or an invalid port."""
    if not HOST.fullmatch(host):
        raise DeploymentError(f"host {host!r} is no DNS name and no IP address")
    if not 1 <= port <= 65535:
        raise DeploymentError(f"port {port} is not between 1 and 65535")


def check_bind(bind: str) -> None:
    """Raise DeploymentError for what no server listens at."""
    if not is_bind(bind):
        raise DeploymentError(f"bind address {bind!r} is no IP address and no DNS name of the server's machine")


def write_file(path: Path, data: bytes, mode: int) -> None:
    """Write a file that never, not even for a moment, has a wider mode. Replaces an existing one."""
    with replacing(path) as temporary:
        for left in path.parent.glob(f".{path.name}.*.tmp"):  # by a process that was killed: no secret is left behind
            left.unlink()
        temporary.touch(mode=mode & 0o700, exist_ok=False)
        temporary.write_bytes(data)
        temporary.chmod(mode)
