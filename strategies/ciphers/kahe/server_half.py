"""The server's half of the cipher `kahe`: adds ciphertexts and tags, and hands shares on. It holds no key."""

from typing import Any

import numpy as np

from strategies.ciphers.binding import Binding, close_envelope
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe.parameters import KaheParameters
from strategies.ciphers.kahe.ring import DEGREE, Words, blocks_of
from strategies.ciphers.kahe.session import Session, proof_digest
from strategies.ciphers.kahe.tags import Tag, add_tags, read, written
from strategies.ciphers.payload import open_payload, require_new

_AT_A_TIME = 8  # polynomials: of 16, glibc gives each buffer back, which doubles the seconds


class KaheSum:
    """Implements `ServerSum`. Holds the sum, 2.7 bytes a value, and the sealed shares."""

    def __init__(self, parameters: KaheParameters, binding: Binding, key_id: str) -> None:
        self.parameters = parameters
        self.session = Session(parameters, binding, key_id)
        self._total: Words | None = None
        self._tags: dict[str, Tag] = {}
        self._coefficients: dict[str, str] = {}
        self._expected: dict[str, str] = {}
        self._shares: dict[str, tuple[bytes, bytes]] = {}  # boxes of a client, and its proof
        self._answers: dict[str, bytes] = {}
        self._payload: bytes | None = None

    def expect(self, client: str, coefficient: float) -> None:
        """Refuse a payload of this client with another coefficient."""
        self._expected[client] = float(coefficient).hex()

    def add(self, payload: bytes, client: str) -> None:
        """Add one payload; refused whole if anything about it is wrong."""
        parameters, session, ring = self.parameters, self.session, self.parameters.ring
        if self._payload is not None or self._answers:
            raise CipherError("the sum is closed: clients were asked for its shares")
        expected = {**parameters.fields(), **session.binding.fields(), "key-id": session.key_id, "client": client}
        fields, body = open_payload(payload, expected)
        if client not in session.names:
            raise CipherError(f"{client} is not in the cohort {', '.join(session.names)}")
        require_new(client, self._tags, parameters.max_clients)
        if len(body) != session.payload_bytes:
            raise CipherError(f"{len(body)} bytes for {parameters.rows} ciphertexts and their shares")
        tag, coefficient = read(fields.get("tag"), ring), _coefficient(fields.get("coefficient"))
        if self._expected.get(client, coefficient) != coefficient:
            raise CipherError(f"a coefficient of {coefficient}; it was given {self._expected[client]}")
        words, rest = body[: parameters.body_bytes], body[parameters.body_bytes :]
        ring.require_canonical(words, parameters.rows)
        total = np.empty((parameters.rows, DEGREE), np.uint64) if self._total is None else self._total
        for rows in blocks_of(parameters.rows, _AT_A_TIME):
            part = words[rows.start * ring.row_bytes : rows.stop * ring.row_bytes]
            if self._total is None:
                total[rows] = ring.unpack(part, rows.stop - rows.start)
            else:
                ring.add(total[rows], ring.unpack(part, rows.stop - rows.start))
        self._total = total
        end = len(rest) - session.threshold.proof_bytes
        self._shares[client] = bytes(rest[:end]), bytes(rest[end:])
        self._tags[client], self._coefficients[client] = tag, coefficient

    @property
    def clients(self) -> list[str]:
        """Clients of the sum, in the order of names."""
        return sorted(self._tags)

    def question(self, client: str) -> bytes:
        """What a client of the sum needs for its share sum: its box and the proof of each client."""
        session, place = self.session, self.session.names.index(client)
        box = slice(place * session.box_bytes, (place + 1) * session.box_bytes)
        return b"".join(part for name in self.clients for part in (self._shares[name][0][box], self._shares[name][1]))

    @property
    def needed(self) -> int:
        """Share sums that open the sum."""
        return self.session.threshold.needed

    def disclose(self, client: str, sealed: bytes) -> None:
        """Keep the sealed share sum of a client in the sum, for the clients to open."""
        if client not in self._tags:
            raise CipherError(f"a share sum from {client}, which is not in the sum")
        if len(sealed) != self.session.answer_bytes:
            raise CipherError(f"{len(sealed)} bytes of a share sum")
        if self._answers.setdefault(client, sealed) != sealed:
            raise CipherError(f"{client} has sent a share sum already")

    def payload(self) -> bytes:
        """The sum with its tag and share sums. It closes the sum: nothing can be added afterwards."""
        if self._payload is None:
            if self._total is None:
                raise CipherError("nothing was added")
            if len(self._answers) < self.needed:
                raise CipherError(f"{len(self._answers)} share sums where {self.needed} open the sum")
            self._payload = self._closed(self._total)
            self._total = None
        return self._payload

    def _closed(self, total: Words) -> bytes:
        ring, clients, answered = self.parameters.ring, self.clients, sorted(self._answers)
        fields = {
            **self.parameters.fields(),
            **self.session.binding.fields(),
            "key-id": self.session.key_id,
            "names": list(self.session.names),
            "clients": clients,
            "coefficients": [self._coefficients[name] for name in clients],
            "dealt": [proof_digest(self._shares[name][1]) for name in clients],
            "tag": written(add_tags(ring, *self._tags.values())),
            "answered": answered,
        }
        packed = total.reshape(-1).view(np.uint8).data[: self.parameters.body_bytes]
        for rows in blocks_of(self.parameters.rows, _AT_A_TIME):  # in place: a packed row ends before its words do
            ring.pack(total[rows].copy(), packed[rows.start * ring.row_bytes : rows.stop * ring.row_bytes])
        return close_envelope(fields, packed, *(self._answers[name] for name in answered))


def _coefficient(text: Any) -> str:
    """The coefficient of a header, as it stands there. Raises CipherError unless it is a number above 0, up to 1."""
    try:
        number = float.fromhex(text)
    except (TypeError, ValueError, OverflowError) as error:
        raise CipherError(f"a coefficient of {text!r}") from error
    if not 0 < number <= 1 or text != number.hex():
        raise CipherError(f"a coefficient of {text!r}")
    return number.hex()
