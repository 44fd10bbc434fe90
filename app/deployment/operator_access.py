"""Access of an operator on another machine: a certificate, and nginx's settings at the server, which take no other.

The server starts runs for its own machine alone (`app.deployment.superlink`). nginx beside it has a second port, checks
the operator's certificate there, and forwards the Control API. Only the newest certificate is taken: its serial number
stands in the settings, so that a further one ends the one before.
"""

from dataclasses import replace
from pathlib import Path

from app.deployment import parties as p
from app.deployment.certificates import Issued, is_local, new_operator, reached_at, read_certificate
from app.deployment.filling import fill
from app.deployment.parties import DeploymentError, Kind, Party, write_file


def check_operator_port(host: str, port: int, other: int) -> None:
    """Raise DeploymentError for a number that is no port, or the sites'."""
    p.check_host(host, port)
    if port == other:
        raise DeploymentError(f"port {port} is the sites' port; the operator's has to be another one")


def write_access(root: Path, port: int) -> list[Path]:
    """Certificate, key and settings in the folders of a federation; the files written."""
    authority = root / "authority"
    owner = replace(p.read_party(authority), control_port=port)
    if not owner.install:
        raise DeploymentError(
            f"{authority / p.PARTY_FILE} does not say where the server keeps the project: add "
            '"install": "/opt/fed-vehicle-reid" to it, as `init` had it'
        )
    try:
        signer = Issued((authority / p.AUTHORITY_CERTIFICATE).read_bytes(), (authority / p.AUTHORITY_KEY).read_bytes())
    except OSError as error:
        raise DeploymentError(f"{authority} is needed to sign a certificate: {error}") from error
    issued = new_operator(signer, f"{owner.federation} operator")
    operator, server = root / "operator", root / "server"
    write_file(operator / p.OPERATOR_KEY, issued.private_key, p.SECRET)
    write_file(operator / p.OPERATOR_CERTIFICATE, issued.certificate, p.PUBLIC)
    server.mkdir(exist_ok=True, mode=0o700)  # it may have been handed over and deleted here
    at_server = replace(owner, kind=Kind.server, name=Kind.server.value, bind="")
    write_control(root, owner)
    for folder, party in (
        (authority, owner),
        (server, at_server),
        (operator, replace(owner, kind=Kind.operator, name=Kind.operator.value, bind="")),
    ):
        party.write(folder)
    names = (operator / p.OPERATOR_KEY, operator / p.OPERATOR_CERTIFICATE, operator / p.PARTY_FILE)
    return [*names, operator / p.CONNECT, server / p.CONTROL, server / p.PARTY_FILE]


def write_control(root: Path, owner: Party) -> None:
    """nginx's settings into the server's folder, for the operator's certificate in the federation's.

    Args:
        owner: the authority.
    """
    own = reached_at(owner.bind or "0.0.0.0")
    fill(
        p.CONTROL,
        root / "server" / p.CONTROL,
        p.PUBLIC,
        federation=owner.federation,
        identifier=owner.federation.replace("-", "_"),
        serial=serial_of(root / "operator" / p.OPERATOR_CERTIFICATE),
        listen=f"[::]:{owner.control_port}" if ":" in owner.host else owner.control_port,
        address=f"[{own}]:{owner.port}" if ":" in own else f"{own}:{owner.port}",
        folder=Path(owner.install) / replace(owner, kind=Kind.server, name=Kind.server.value).unit,
        name="localhost" if is_local(owner.host) else owner.host,
    )


def serial_of(certificate: Path) -> str:
    """Serial number of a certificate as nginx writes it. Raises CertificateError for a file that holds none."""
    number = read_certificate(certificate).serial_number
    return number.to_bytes((number.bit_length() + 7) // 8, "big").hex().upper()
