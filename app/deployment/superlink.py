"""Flower's SuperLink for sites: other machines reach its Fleet API, and only this one starts runs.

Flower 1.41 serves the sites' Fleet API, the Control API, which starts runs and registers sites, and the Runtime API of
its own processes at one port, and its open edition has no accounts. So requests that are not a site's are answered only
if they come from this machine. An operator elsewhere goes through a proxy here that checks the operator's certificate
(`app.deployment.operator_access`).

Run by the server's start.sh: python -P -m app.deployment.superlink ARGUMENTS OF flower-superlink
"""

import ipaddress
import itertools
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from app.deployment import certificates
from app.deployment.certificates import CertificateError

_FLEET = "/v1/fleet/"
_EXTENSIONS = "flwr.superlink.extensions"
_HOOK = "get_middleware"
_MAIN = "flwr.superlink.main"
REFUSAL = (
    "this server takes runs and registrations from its own machine, and from an operator with a certificate: "
    "docs/deployment.md, 'Who may start runs'"
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class LocalControl:
    """ASGI middleware: requests of other machines reach the Fleet API and nothing else."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with status 403."""
        if scope["type"] == "lifespan" or scope["path"].startswith(_FLEET) or is_of_this_machine(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            body = b'{"detail": "%s"}' % REFUSAL.encode()
            head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": head})
            await send({"type": "http.response.body", "body": body})
        else:
            await send({"type": "websocket.close", "code": 1008})


def is_of_this_machine(scope: Scope) -> bool:
    """Whether a request came from this machine: over loopback, or from the address at which it arrived.

    A forwarder on this machine, as a container engine can run one, makes other machines look like this one."""
    client, server = scope.get("client"), scope.get("server")
    if not client:
        return False
    try:
        peer = _address(client[0])
        return peer.is_loopback or (server is not None and peer == _address(server[0]))
    except ValueError:
        return False


def guard() -> None:
    """Let the SuperLink of this process answer other machines at the Fleet API alone.

    Raises RuntimeError for another version of Flower."""
    extensions = import_module(_EXTENSIONS)
    middleware = import_module("starlette.middleware").Middleware
    theirs = getattr(extensions, _HOOK, None)
    if not callable(theirs):
        raise RuntimeError(f"this version of Flower is unknown: {_EXTENSIONS} has no {_HOOK}")

    def ours() -> tuple[Any, ...]:
        return (middleware(LocalControl), *theirs())

    setattr(extensions, _HOOK, ours)
    first = import_module(_MAIN)._get_middleware()[0]
    if first.cls is not LocalControl:
        raise RuntimeError(f"this version of Flower is unknown: {_MAIN} puts another middleware first")
    os.environ["FORWARDED_ALLOW_IPS"] = ""  # uvicorn: no header says where a request comes from
    for name in ("FLWR_INTERNAL_GRPC_CONTROL_API", "FLWR_INTERNAL_GRPC_FLEET_API"):  # the same at further ports
        os.environ.pop(name, None)


def bind_fault(words: Sequence[str]) -> str:
    """Why no run would begin with these arguments; "" if nothing is known against them."""
    given = dict(itertools.pairwise(words))
    if "--ssl-certfile" not in given:
        return ""
    try:
        return certificates.bind_fault(Path(given["--ssl-certfile"]), given.get("--host", ""))
    except CertificateError as error:
        return str(error)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    found = ipaddress.ip_address(text)
    return getattr(found, "ipv4_mapped", None) or found


def main() -> int:
    """Do the work of `flower-superlink` with this process's arguments; 2, with one line on standard error, where no run
    could begin."""
    if fault := bind_fault(sys.argv[1:]):
        print(f"error: {fault}", file=sys.stderr)
        return 2
    guard()
    sys.argv[0] = "flower-superlink"
    import_module("flwr.superlink.cli").flower_superlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
