"""Proof of a reply's sender: a certificate of its name, and its signature on the reply.

The signature covers run, node, the server's challenge and a digest of everything in the reply: a reply cannot be
replayed, sent by another node or under another name, or altered. This module defines the bytes of a reply; a `Names`
verifies the names.
"""

import hashlib
import json
from typing import Protocol

from flwr.app import ConfigRecord, RecordDict

from strategies import messages as m

_DOMAIN = b"fed-vehicle-reid reply 1\0"


class Names(Protocol):
    """Verifier of the names of nodes."""

    def proven(self, certificate: str, signature: bytes, statement: bytes) -> str:
        """The name in the certificate. Raises RefusedError unless it is valid and its key signed the statement."""


def reply_statement(node_id: int, message_type: str, asked: ConfigRecord, content: RecordDict) -> bytes:
    """The bytes that the sender of a reply signs.

    Args:
        asked: config of the answered message.
        content: of the reply; its record `messages.PROOF` is left out.
    """
    about = [str(asked.get(m.RUN_KEY, "")), node_id, str(asked.get(m.CHALLENGE, "")), message_type]
    return _DOMAIN + json.dumps([*about, _digest(content)]).encode()


def _digest(content: RecordDict) -> str:
    """SHA-256 over all records: kind, name, and length of each part stand before it, so that no two contents are one
    string of bytes."""
    total = hashlib.sha256()

    def add(data: bytes) -> None:
        total.update(len(data).to_bytes(8, "big"))
        total.update(data)

    for record in sorted(content.array_records):
        for key, array in sorted(content.array_records[record].items()):
            add(json.dumps(["array", record, key, array.dtype, list(array.shape), array.stype]).encode())
            add(array.data)
    for kind, records in (("config", content.config_records), ("metric", content.metric_records)):
        for record in sorted(records):
            if record != m.PROOF:
                add(json.dumps([kind, record, dict(records[record])], sort_keys=True, default=bytes.hex).encode())
    return total.hexdigest()
