"""The client's half of the cipher `kahe`: encrypts an update, answers for its shares, and opens authenticated sums.

Ring-LWE (Lyubashevsky, Peikert and Regev, 2010), with the public polynomials a_j known to everybody:
c_j = -a_j s + e_j + Delta m_j for a secret s and errors e_j, small and fresh for each payload. The sum of ciphertexts
plus a_j times the sum of the secrets is Delta times the sum of the m_j, plus a small error.
"""

import itertools
import logging
import math
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.ciphers.binding import Binding, close_envelope
from strategies.ciphers.cipher import NO_SEEDS, Buffer, CipherError, Decrypted, Encrypted, State, Vector
from strategies.ciphers.kahe.parameters import SCHEME, KaheParameters, sum_bound
from strategies.ciphers.kahe.ring import DEGREE, Small, Words, blocks_of
from strategies.ciphers.kahe.sampling import Gaussian, Uniform
from strategies.ciphers.kahe.session import Session, close_box, open_box, proof_digest, session_of, sum_purpose
from strategies.ciphers.kahe.sharing import add_shares, checked_share, deal, lies_on, opened
from strategies.ciphers.kahe.tags import SECRET_BYTES, AlteredSumError, TagKey, add_tags, read, same_tag, written
from strategies.ciphers.keys import FederationKey
from strategies.ciphers.payload import open_sum, weighted_update
from strategies.ciphers.update_slots import DOES_NOT_OPEN, UpdateSlots
from strategies.quantise import Blocks

_AT_A_TIME = 4  # polynomials; all that is done with them stays in the processor's cache
_MOST_SUBSETS = 200  # of the share sums, tried to find one without a wrong one: of 64, three wrong ones are found
_log = logging.getLogger("flwr")
ALTERED = "the sum was altered: its tag does not fit, and nothing of it was opened"


def new_secret() -> bytes:
    """A secret of the tags for `FederationKey`."""
    return secrets.token_bytes(SECRET_BYTES)


class KaheCipher:
    """Implements `ClientCipher`.

    Args:
        statistics: (size,) bool, the BatchNorm statistics of the vector.
        client: name of the client.
        colluding: clients in league with the server that are tolerated; None for a third of each cohort.
    """

    def __init__(
        self,
        key: FederationKey,
        statistics: NDArray[np.bool_],
        *,
        client: str,
        max_clients: int,
        bits: int,
        colluding: int | None = None,
    ) -> None:
        self.blocks = Blocks(statistics)
        self.parameters = KaheParameters(self.blocks.digits, self.blocks.count, max_clients, bits, colluding)
        key.secret(SCHEME)  # raises for a key of an earlier version, before anything is trained
        self.key = key
        self.key_id = key.key_id
        self.client = client
        self._slots = UpdateSlots(self.blocks, self.parameters.plan)

    def initial_state(self, vector: Vector) -> State:
        """The scale of each block."""
        return {"exponents": self.blocks.initial_exponents(vector)}

    def encrypt(
        self,
        vector: Vector,
        coefficient: float,
        binding: Binding,
        *,
        state: Mapping[str, Any],
        carried: State,
        seeds: Mapping[str, bytes] = NO_SEEDS,
    ) -> Encrypted:
        """About 2.26 bytes a value up to 8 clients, 2.69 up to 64."""
        session = Session(self.parameters, binding, self.key_id)
        if self.client not in session.names or (missing := set(session.names) - set(seeds)):
            lacking = "itself" if self.client not in session.names else ", ".join(sorted(missing))
            raise CipherError(f"{self.client} has no key for {lacking} in the cohort {', '.join(session.names)}")
        weighted = weighted_update(vector, coefficient, carried)
        carried.clear()  # its memory is needed
        size = self.parameters.rows * DEGREE
        slots, residual = self._slots.write(weighted, binding, self.client, state, size, residual=weighted)
        secret = Gaussian().draw(DEGREE).astype(np.int64)
        dealt = deal(secret, session.threshold, session.of_dealer(self.client))
        digest, tags = proof_digest(dealt.proof), self._tags(session)
        body = bytearray(self.parameters.body_bytes)
        total = self._encrypt(slots.reshape(-1, DEGREE), secret, session, tags, body)
        tag = add_tags(self.parameters.ring, total, tags.pad(self.client, coefficient, digest))
        boxes = (
            close_box(share, seeds[name], session.context, self.client, name, dealt.proof)
            for name, share in zip(session.names, dealt.shares, strict=True)
        )
        fields = {
            **self.parameters.fields(),
            **binding.fields(),
            "key-id": self.key_id,
            "client": self.client,
            "coefficient": float(coefficient).hex(),
            "tag": written(tag),
        }
        return Encrypted(close_envelope(fields, memoryview(body), *boxes, dealt.proof), {"residual": residual})

    def _tags(self, session: Session) -> TagKey:
        return TagKey(self.key.secret(SCHEME), session.context, self.parameters.ring)

    def _encrypt(
        self, slots: NDArray[np.int64], secret: Small, session: Session, tags: TagKey, out: bytearray
    ) -> tuple[int, int]:
        """Write the ciphertexts of slots (rows, n); their hash."""
        parameters, ring = self.parameters, self.parameters.ring
        public, errors = Uniform(session.polynomial_seed, ring.modulus), Gaussian()
        negative, found = ring.spectrum(-secret), tags.hash(len(slots))
        delta, view = np.uint64(parameters.delta_bits), memoryview(out)
        for rows in blocks_of(len(slots), _AT_A_TIME):
            a = public.draw(rows.stop - rows.start, DEGREE)
            addend = slots[rows].view(np.uint64) << delta
            error = errors.draw(*a.shape).astype(np.int64)
            residue = error.view(np.uint64) + (error < 0) * np.uint64(ring.modulus)
            ring.add(addend, residue)
            words = ring.product_sum(a, negative, addend)
            found.update(rows, words)
            ring.pack(words, view[rows.start * ring.row_bytes : rows.stop * ring.row_bytes])
        return found.value

    def share_sum(self, clients: Sequence[str], data: Buffer, binding: Binding, seeds: Mapping[str, bytes]) -> bytes:
        """The sum of the shares that these clients dealt to this one, sealed under the federation key.

        The caller keeps on disk that an attempt is answered for one set (`app.federation.share_store`).

        Args:
            data: for each of the clients, in the order of names, its box for this client and its proof.

        Raises BadSharesError for shares that a client dealt or sealed wrongly, CipherError for a set that must not be
        opened."""
        session, names = Session(self.parameters, binding, self.key_id), sorted(clients)
        session.require_set(names, self.client)
        if len(data) != len(names) * session.piece_bytes:
            raise CipherError(f"{len(data)} bytes with the shares of {len(names)} clients")
        index, context = session.names.index(self.client), session.context
        shares, dealt = [], {}
        for place, name in enumerate(names):
            piece = bytes(data[place * session.piece_bytes : (place + 1) * session.piece_bytes])
            box, proof = piece[: session.box_bytes], piece[session.box_bytes :]
            share = open_box(box, seeds[name], context, name, self.client, proof)
            shares.append(checked_share(share, proof, index, session.threshold, session.of_dealer(name), name))
            dealt[name] = proof_digest(proof)
        return self.key.seal(add_shares(shares), sum_purpose(context, self.client, names, dealt))

    def decrypt(
        self, payload: Buffer, coefficient_sum: float, binding: Binding, *, state: Mapping[str, Any]
    ) -> Decrypted:
        """The weighted mean (size,), exact but for the rounding of each client.

        Raises AlteredSumError before anything is opened if the tag of the sum does not fit."""
        parameters = self.parameters
        expected = {**parameters.fields(), "key-id": self.key_id}
        fields, clients, body = open_sum(payload, coefficient_sum, binding, expected, parameters.max_clients)
        session = session_of(parameters, fields, self.key_id)
        words, answers = body[: parameters.body_bytes], body[parameters.body_bytes :]
        self._authenticate(fields, clients, coefficient_sum, session, words)
        sums = self._share_sums(fields, clients, session, answers)
        slots = self._open(session, len(clients), words, self._secret(session, len(clients), words, sums))
        total, after = self._slots.read(slots, len(clients), state)
        total /= np.float32(coefficient_sum)
        return Decrypted(total, after, clients)

    def _authenticate(
        self,
        fields: Mapping[str, Any],
        clients: Sequence[str],
        coefficient_sum: float,
        session: Session,
        words: memoryview,
    ) -> None:
        """Raise AlteredSumError unless the tag is that of this sum, of these clients with their coefficients."""
        ring, tags = self.parameters.ring, self._tags(session)
        try:
            session.require_set(clients, clients[0])
            coefficients = [float.fromhex(text) for text in fields["coefficients"]]
            dealt = list(fields["dealt"])
            if math.fsum(coefficients) != coefficient_sum:  # rounded once, as by the server
                raise ValueError("the sum of the coefficients is another")
            pads = [tags.pad(*row) for row in zip(clients, coefficients, dealt, strict=True)]
            expected, found = read(fields.get("tag"), ring), tags.hash(self.parameters.rows)
            for rows, block in self._blocks(words):
                found.update(rows, block)
        except (CipherError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise AlteredSumError(ALTERED) from error
        if not same_tag(add_tags(ring, found.value, *pads), expected):
            raise AlteredSumError(ALTERED)

    def _share_sums(
        self, fields: Mapping[str, Any], clients: Sequence[str], session: Session, answers: memoryview
    ) -> dict[int, bytes]:
        """The share sums by place of the client that answered, without those that do not open.

        Raises CipherError if too few are left: whatever one client seals, the others open the sum."""
        answered, dealt, size = fields.get("answered"), dict(zip(clients, fields["dealt"], strict=True)), 0
        if not isinstance(answered, list) or any(name not in clients for name in answered):
            raise CipherError(f"share sums of {answered!r}")
        if len(set(answered)) != len(answered) or len(answered) < session.threshold.needed:
            raise CipherError(f"{len(answered)} share sums where {session.threshold.needed} open the sum")
        if len(answers) != len(answered) * (size := session.answer_bytes):
            raise CipherError(f"{len(answers)} bytes with {len(answered)} share sums")
        found: dict[int, bytes] = {}
        closed: dict[str, CipherError] = {}
        for index, name in enumerate(answered):
            purpose = sum_purpose(session.context, name, sorted(clients), dealt)
            try:
                opening = self.key.open(answers[index * size : (index + 1) * size], purpose)
                found[session.names.index(name)] = opening
            except CipherError as error:
                closed[name] = error
        if len(found) < session.threshold.needed:
            raise next(iter(closed.values()))
        self._warn_of(closed)
        return found

    def _secret(self, session: Session, clients: int, words: memoryview, sums: Mapping[int, bytes]) -> Small:
        """The sum of the secrets: of each `needed` share sums, the first that open the first ciphertext.

        A wrong share sum makes the opened values random, so that the errors do not fit."""
        for chosen in _choices(sorted(sums), session):
            kept = {index: sums[index] for index in chosen}
            try:
                secret = opened(kept, session.threshold)
                if np.abs(secret).max() > sum_bound(clients):
                    continue
                self._open(session, clients, words[: self.parameters.ring.row_bytes], secret)
            except CipherError:
                continue
            others = {index: data for index, data in sums.items() if index not in kept}
            if others:
                right = lies_on(kept, others)
                self._warn_of(session.names[index] for index in sorted(others) if index not in right)
            return secret
        raise CipherError(
            "the share sums do not open the sum: they are wrong, or a client's secret is outside its range"
        )

    def _warn_of(self, clients: Iterable[str]) -> None:
        """Name clients with wrong share sums in the site's log."""
        if named := ", ".join(clients):
            _log.warning("%s: the share sum of %s is wrong; the others open the sum", self.client, named)

    def _open(self, session: Session, clients: int, words: memoryview, secret: Small) -> NDArray[np.int64]:
        """Slots (rows * n,) of the sum. Raises CipherError for an error beyond its bound."""
        parameters, ring = self.parameters, self.parameters.ring
        public, spectrum = Uniform(session.polynomial_seed, ring.modulus), ring.spectrum(secret)
        half, mask = 2 ** (parameters.delta_bits - 1), np.uint64(2**parameters.delta_bits - 1)
        slots = np.empty((len(words) // ring.row_bytes, DEGREE), np.int64)
        least, most = half, half
        for rows, block in self._blocks(words):
            ring.add(block, np.full((1, 1), half, np.uint64))  # errors are then from 0 to Delta - 1
            found = ring.product_sum(public.draw(*block.shape), spectrum, block)
            np.right_shift(found, np.uint64(parameters.delta_bits), out=slots[rows].view(np.uint64))
            found &= mask
            least, most = min(least, int(found.min())), max(most, int(found.max()))
        if max(half - least, most - half) > sum_bound(clients):
            raise CipherError(DOES_NOT_OPEN)
        return slots.ravel()

    def _blocks(self, words: memoryview) -> Iterator[tuple[slice, Words]]:
        """Packed ciphertexts, some at a time."""
        ring = self.parameters.ring
        for rows in blocks_of(len(words) // ring.row_bytes, _AT_A_TIME):
            size = ring.row_bytes
            yield rows, ring.unpack(words[rows.start * size : rows.stop * size], rows.stop - rows.start)

    def seal(self, data: bytes, purpose: str) -> bytes:
        """AES-GCM under the federation key."""
        return self.key.seal(data, purpose)

    def open(self, sealed: Buffer, purpose: str) -> bytes:
        """See `seal`."""
        return self.key.open(sealed, purpose)


def _choices(places: Sequence[int], session: Session) -> Iterator[tuple[int, ...]]:
    """Choices of as many of the places as open a sum, all or `_MOST_SUBSETS` at random, alike at every client.

    The first ones in order would nearly all hold the first place: one wrong share sum of many would spoil them."""
    needed = session.threshold.needed
    if math.comb(len(places), needed) <= _MOST_SUBSETS:
        yield from itertools.combinations(places, needed)
        return
    random = np.random.default_rng(np.frombuffer(session.context, np.uint32))
    for _ in range(_MOST_SUBSETS):
        yield tuple(int(place) for place in sorted(random.choice(places, needed, replace=False)))
