"""Addresses that a service listens on, checked before anything else of it starts."""

import ipaddress
import socket
import ssl
from pathlib import Path

from models.errors import FedVehicleReidError


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int, error: type[FedVehicleReidError]) -> socket.socket:
    """Bind an address. Raises `error` if that fails."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as cause:
        raise error(f"cannot listen on {host}, port {port}: {cause}") from cause


def require_pair(certificate: str | Path, key: str | Path, named: str, error: type[FedVehicleReidError]) -> None:
    """Raise `error`, naming the files, unless the key is the certificate's; uvicorn's error names neither.

    Args:
        named: begins the message.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as cause:
        raise error(f"{named} cannot be used: {cause}") from cause
