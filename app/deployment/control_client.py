"""Flower's command of an operator on another machine than the server: it shows the operator's certificate.

Flower 1.41's command checks the server's certificate and shows none of its own. Here the same connection shows
`operator.crt`, and the proxy of the server (`app.deployment.operator_access`) lets nobody in without it.

Run by the operator's scripts: python -P -m app.deployment.control_client OPERATOR_FOLDER ARGUMENTS OF flwr
"""

import ssl
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from app.deployment import parties as p

_CLIENT = "flwr.supercore.protobuf.client"


def show_certificate(certificate: Path, key: Path) -> None:
    """Let each connection of Flower's command show this certificate. Raises RuntimeError for another version of
    Flower, and OSError for unusable files."""
    module = import_module(_CLIENT)
    client = getattr(module, "ProtobufClient", None)
    if client is None:
        raise RuntimeError(f"this version of Flower is unknown: {_CLIENT} has no ProtobufClient")
    theirs = client.__init__
    ssl.create_default_context().load_cert_chain(certificate, key)  # named here rather than as no connection

    def ours(self: object, *words: object, verify: object = True, **named: Any) -> None:
        if isinstance(verify, ssl.SSLContext):
            verify.load_cert_chain(certificate, key)
        theirs(self, *words, verify=verify, **named)

    client.__init__ = ours


def main(folder: str, *arguments: str) -> int:
    """Do the work of `flwr` with these arguments."""
    certificate, key = Path(folder) / p.OPERATOR_CERTIFICATE, Path(folder) / p.OPERATOR_KEY
    try:
        show_certificate(certificate, key)
    except OSError as error:  # ssl.SSLError too
        print(f"error: {certificate} and {key.name} cannot be used: {error}", file=sys.stderr)
        return 2
    sys.argv = ["flwr", *arguments]
    import_module("flwr.cli.app").app()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
