"""Checks of the way from a machine to its server: name, port, TLS, clock. Each names its fault and the remedy."""

import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from app.deployment import clock
from app.deployment import parties as p
from app.deployment.certificates import names_of, reached_at
from app.deployment.parties import Kind, Party
from models.errors import FedVehicleReidError

_TIMEOUT = 10.0
_CLOCK_SECONDS = 5.0
_FOREIGN = {7, 18, 19, 20, 21}
_WRONG_NAME = {62, 64}
_EXPIRED, _NOT_YET = 10, 9
"""OpenSSL's numbers for what is wrong with a certificate."""


class FailedItemError(FedVehicleReidError, RuntimeError):
    """An item that fails, with its remedy."""

    def __init__(self, fault: str, remedy: str) -> None:
        super().__init__(fault)
        self.fault, self.remedy = fault, remedy


def check_name(host: str, port: int) -> None:
    """Raise FailedItemError for a name without an address."""
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise FailedItemError(
            f"{host} has no address: {error.strerror or error}",
            "Put the server's name into the DNS, or its address and name into /etc/hosts of this machine",
        ) from error


def check_port(party: Party, port: int) -> None:
    """Raise FailedItemError unless the server's port takes a connection."""
    try:
        socket.create_connection((party.host, port), timeout=_TIMEOUT).close()
    except OSError as error:
        raise FailedItemError(
            f"{party.host} port {port} cannot be reached: {error.strerror or 'no answer'}",
            "Start the server, and let its firewall and this machine's let the connection through",
        ) from error


def is_open(bind: str, port: str) -> bool:
    """Whether a program listens at the server's port on this machine."""
    try:
        socket.create_connection((reached_at(bind), int(port)), timeout=_TIMEOUT).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def check_own_port(bind: str, port: str, env: Path) -> None:
    """Raise FailedItemError unless a server runs at the port, or can open it."""
    if is_open(bind, port):
        return
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((bind, int(port)))
    except (OSError, ValueError, OverflowError) as error:
        raise FailedItemError(
            f"BIND={bind} PORT={port} in {env} cannot be opened: {getattr(error, 'strerror', None) or error}",
            "BIND is an address of this machine, PORT a number above 1023 that no other program has",
        ) from error


def check_tls(party: Party, port: int, folder: Path) -> None:
    """Raise FailedItemError unless the server shows a valid certificate of this federation, for its name."""
    context = _context(party, folder)
    try:
        with (
            socket.create_connection((party.host, port), timeout=_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=party.host),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        raise _certificate_fault(error, party, port) from error
    except OSError as error:
        raise FailedItemError(
            f"{party.host} port {port} does not speak TLS: {error.strerror or error}",
            "Another program listens there: see whether host and port are the server's",
        ) from error


def _context(party: Party, folder: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(folder / p.AUTHORITY_CERTIFICATE))
        if party.kind is Kind.operator and party.control_port:
            context.load_cert_chain(folder / p.OPERATOR_CERTIFICATE, folder / p.OPERATOR_KEY)
    except OSError as error:
        raise FailedItemError(f"the certificates in {folder} cannot be used: {error}", "verify names them") from error
    return context


def check_access(party: Party, port: int, folder: Path) -> None:
    """Raise FailedItemError if the server takes no runs from this machine, or not with this certificate."""
    connection = http.client.HTTPSConnection(party.host, port, timeout=_TIMEOUT, context=_context(party, folder))
    try:
        connection.request("HEAD", "/v1/control/")
        refused = connection.getresponse().status == http.HTTPStatus.FORBIDDEN
    except (OSError, http.client.HTTPException) as error:
        raise FailedItemError(f"the server gives no answer: {error}", "See the server's log, and nginx's") from error
    finally:
        connection.close()
    if refused:
        raise FailedItemError(
            f"{party.host} port {port} takes no runs from here",
            "At the authority: operator-access; its newest operator.crt belongs here, its control.conf to the server",
        )


def _certificate_fault(error: ssl.SSLCertVerificationError, party: Party, port: int) -> FailedItemError:
    renew = "python -m scripts.federation renew FOLDER --server, at the authority, and restart the server with the new"
    code = error.verify_code
    if code in (_EXPIRED, _NOT_YET):
        state = "has expired" if code == _EXPIRED else "is not yet valid"
        return FailedItemError(
            f"the server's certificate {state} by this machine's clock", f"Set the clock; else {renew}"
        )
    if code in _WRONG_NAME:
        names = ", ".join(sorted(_names_shown(party.host, port))) or "another name"
        return FailedItemError(
            f"the server's certificate is for {names} and not for {party.host}",
            f"See whether {party.host} leads to the server; else {renew}",
        )
    if code in _FOREIGN:
        return FailedItemError(
            "the server's certificate is not by the authority of this federation",
            f"See whether {party.host} port {port} is the server; else copy the authority's {p.AUTHORITY_CERTIFICATE} "
            "to server and sites",
        )
    return FailedItemError(f"the server's certificate is not valid: {error.verify_message}", f"At the server: {renew}")


def _names_shown(host: str, port: int) -> set[str]:
    """Names of a certificate that is not believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=_TIMEOUT) as plain,
            context.wrap_socket(plain) as connection,
        ):
            return names_of(x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b""))
    except (OSError, ValueError):
        return set()


def check_clock(address: str, certificate: Path, now: Callable[[], float]) -> None:
    """Raise FailedItemError if the clocks differ by more than five seconds."""
    try:
        ahead = clock.seconds_ahead(*clock.server_date(address, certificate, now))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FailedItemError(
            f"the server does not say its time: {error}", "See the server's log: it should answer with a date"
        ) from error
    if abs(ahead) > _CLOCK_SECONDS:
        where = "ahead of" if ahead > 0 else "behind"
        raise FailedItemError(
            f"this machine's clock is {abs(ahead):.0f} s {where} the server's",
            "Set the clocks of all machines by NTP: apt-get install chrony, and chronyc tracking shows the offset",
        )
