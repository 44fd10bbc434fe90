"""Sums of `kahe` that a server altered or forged: refused before anything of them is opened."""

import numpy as np
import pytest
from encrypted_payloads import fields_of, relabelled, with_body
from kahe_rounds import KEY, Round

from strategies.ciphers.binding import close_envelope, open_envelope
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe import client_half
from strategies.ciphers.kahe.client_half import ALTERED, KaheCipher
from strategies.ciphers.kahe.tags import AlteredSumError


def nothing_opens(monkeypatch):
    """From now on, opening anything fails the test."""

    def opened(*_, **__):
        raise AssertionError("something was opened before the tag was checked")

    for name in ("_share_sums", "_secret", "_open"):
        monkeypatch.setattr(KaheCipher, name, opened)
    monkeypatch.setattr(type(KEY), "open", opened)


def refused(attempt, payload, share=1.0):
    with pytest.raises(AlteredSumError, match=ALTERED):
        attempt[0].decrypt(payload, share, attempt.binding, state=attempt.state)


def test_whatever_a_server_changes_in_a_sum_is_refused_before_it_is_opened(monkeypatch):
    attempt, again = Round(4), Round(4, attempt=2)
    total = attempt.ask(attempt.added())
    payload, other = total.payload(), again.ask(again.added()).payload()
    smaller = attempt.ask(attempt.added(0, 1, 2)).payload()
    fields, body = open_envelope(payload, {})
    tags, shares = fields["tag"], fields["coefficients"]
    nothing_opens(monkeypatch)
    for change in [
        {"tag": [tags[0], tags[0]]},
        {"tag": [tags[1], tags[0]]},
        {"tag": ["0", "0"]},
        {"tag": None},
        {"tag": fields_of(other)["tag"]},
        {"attempt": 2},
        {"nonce": "another"},
        {"names": attempt.names[:3]},
        {"names": [*attempt.names, "client-04"]},
        {"clients": attempt.names[:3], "coefficients": shares[:3], "dealt": fields["dealt"][:3]},
        {"clients": attempt.names[::-1]},
        {"clients": [*attempt.names[:3], "client-04"]},
        {"coefficients": [shares[0], shares[0], (0.125).hex(), (0.375).hex()]},
        {"coefficients": shares[:3]},
        {"coefficients": ["x"] * 4},
        {"coefficients": None},
        {"dealt": fields["dealt"][::-1]},
        {"dealt": fields_of(other)["dealt"]},
        {"dealt": [["list"]] * 4},
    ]:
        refused(attempt, close_envelope({**fields, **change}, body))
    refused(attempt, payload, 0.9)  # another share for the mean
    refused(attempt, with_body(payload, lambda _: bytes(open_envelope(other, {})[1])))
    refused(attempt, with_body(payload, lambda _: bytes(open_envelope(smaller, {})[1])))
    refused(attempt, with_body(payload, lambda data: b"\xff" * len(data)))  # not below q


def test_a_ciphertext_added_twice_or_left_out_is_refused(monkeypatch):
    """By a server that does the arithmetic itself, tags included, and names any clients it likes."""
    attempt = Round(4)
    payloads = [attempt.payload(index) for index in range(4)]
    total = attempt.total()
    for index, payload in enumerate(payloads):
        total.add(payload, attempt.names[index])
    attempt.ask(total)
    names = dict(total._tags)
    honest = total.payload()
    assert attempt.opened(honest).clients == tuple(attempt.names)
    fields = fields_of(honest)
    ring, size = attempt[0].parameters.ring, attempt[0].parameters.body_bytes

    def forged(counts, claimed):
        words = np.zeros((attempt[0].parameters.rows, 4096), np.uint64)
        tags = [0, 0]
        for index, times in enumerate(counts):
            for _ in range(times):
                ring.add(words, ring.unpack(open_envelope(payloads[index], {})[1][:size], len(words)))
                tags = [(a + b) % ring.modulus for a, b in zip(tags, names[attempt.names[index]], strict=True)]
        data = bytearray(size)
        ring.pack(words, memoryview(data))
        kept = [attempt.names.index(name) for name in claimed]
        change = {"tag": [f"{tag:x}" for tag in tags], "clients": claimed}
        change |= {key: [fields[key][index] for index in kept] for key in ("coefficients", "dealt")}
        return close_envelope({**fields, **change}, data, open_envelope(honest, {})[1][size:])

    assert attempt.opened(forged([1, 1, 1, 1], attempt.names)).clients == tuple(attempt.names), "the test does it right"
    nothing_opens(monkeypatch)
    refused(attempt, forged([2, 1, 1, 0], attempt.names))
    refused(attempt, forged([2, 1, 1, 1], attempt.names))
    refused(attempt, forged([0, 0, 0, 4], attempt.names))
    refused(attempt, forged([1, 1, 1, 0], attempt.names))
    refused(attempt, forged([2, 1, 1, 1], attempt.names[:3]), 0.75)


@pytest.mark.parametrize("seed", range(4))
def test_ten_thousand_nudged_and_forged_sums_are_refused_alike(monkeypatch, seed):
    """A value moved by one, by a power of two, by whole polynomials; sums made without any key. No answer differs, and
    none depends on a secret, as nothing was opened."""
    attempt = Round(3, size=200)
    payload = attempt.ask(attempt.added()).payload()
    fields, body = open_envelope(payload, {})
    cipher, rng = attempt[0], np.random.default_rng(seed)
    ring = cipher.parameters.ring
    words = ring.unpack(body[: cipher.parameters.body_bytes], 1)
    session = client_half.session_of(cipher.parameters, fields, KEY.key_id)
    nothing_opens(monkeypatch)
    made, vectors = [], client_half.TagKey(KEY.secret("kahe"), session.context, ring).hash(1)

    def kept(key, rows):  # the vectors of the attempt, which take most of the time to draw
        made.append((key, rows))
        vectors._total = [0, 0]
        return vectors

    monkeypatch.setattr(client_half.TagKey, "hash", kept)
    answers, forged = set(), words
    monkeypatch.setattr(KaheCipher, "_blocks", lambda *_: iter([(slice(0, 1), forged)]))
    for number in range(2_500):
        forged = words.copy()
        if number % 4 == 3:
            forged[:] = rng.integers(0, ring.modulus, forged.shape, dtype=np.uint64)
        else:
            step = [1, ring.modulus - 1, 1 << int(rng.integers(0, 54))][number % 3]
            place = rng.integers(0, 4096)
            forged[0, place] = (int(forged[0, place]) + step) % ring.modulus
        with pytest.raises(CipherError) as caught:
            cipher._authenticate(fields, fields["clients"], 1.0, session, b"")
        answers.add((type(caught.value), str(caught.value)))
    assert answers == {(AlteredSumError, ALTERED)}
    assert len(made) == 2_500


def test_a_server_without_a_key_cannot_choose_the_model(monkeypatch):
    """A sum from scratch, tag and share sums included, under the names of the clients."""
    attempt = Round(4)
    honest = attempt.ask(attempt.added()).payload()
    fields, body = open_envelope(honest, {})
    nothing_opens(monkeypatch)
    rng = np.random.default_rng(0)
    ring, size = attempt[0].parameters.ring, attempt[0].parameters.body_bytes
    for _ in range(20):
        data = bytearray(size)
        ring.pack(rng.integers(0, ring.modulus, (attempt[0].parameters.rows, 4096), dtype=np.uint64), memoryview(data))
        tag = [f"{int(number):x}" for number in rng.integers(0, ring.modulus, 2, dtype=np.uint64)]
        refused(attempt, close_envelope({**fields, "tag": tag}, data, rng.bytes(len(body) - size)))


@pytest.mark.parametrize(("coefficient_sum", "fault"), [(0.0, "positive"), (float("nan"), "positive")])
def test_an_impossible_sum_of_coefficients_is_refused(coefficient_sum, fault):
    attempt = Round(3)
    payload = attempt.ask(attempt.added()).payload()
    with pytest.raises(CipherError, match=fault):
        attempt[0].decrypt(payload, coefficient_sum, attempt.binding, state=attempt.state)


def test_a_sum_of_another_round_run_or_key_is_refused():
    attempt, later = Round(3), Round(3, server_round=4)
    payload = attempt.ask(attempt.added()).payload()
    with pytest.raises(CipherError, match="round of the payload"):
        later.opened(payload)
    with pytest.raises(CipherError, match="key-id of the payload"):
        attempt.opened(relabelled(payload, **{"key-id": "0" * 16}))
