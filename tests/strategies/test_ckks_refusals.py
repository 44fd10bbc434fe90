"""Refusals of cipher `ckks`, before a payload is added and at decryption; the sum stays as it was."""

import struct

import pytest
import tenseal as ts
from ckks_federation import (
    BINDING,
    NAMES,
    SIZE,
    STATE,
    cipher_of,
    empty_context,
    encrypted,
    key_of,
    secret_of,
    sum_for,
    updates_of,
)
from encrypted_payloads import fields_of, flipped, relabelled, with_body

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.ckks import CkksSum, Parameters, new_secret


@pytest.mark.parametrize("data", ["", "garbage", "half"])
def test_what_is_no_context_is_refused(data):
    whole = secret_of("compact")
    data = whole[: len(whole) // 2] if data == "half" else data.encode()
    with pytest.raises(CipherError, match="the CKKS context cannot be read"):
        cipher_of("anna", key=key_of(data))
    with pytest.raises(CipherError, match="the CKKS context cannot be read"):
        CkksSum(Parameters(SIZE, 4, 4, "compact"), BINDING, "id", data)


def test_a_key_of_another_preset_is_refused():
    with pytest.raises(
        CipherError, match=r"ring degree and modulus bits \(8192, 140\), not those of the preset 'compact'"
    ):
        cipher_of("anna", key=key_of(secret_of("flare")))
    with pytest.raises(CipherError, match="ring degree"):
        CkksSum(Parameters(SIZE, 4, 4, "flare"), BINDING, "id", empty_context("compact"))


def test_a_key_of_another_preset_with_the_same_ring_degree_is_refused():
    with pytest.raises(CipherError):
        cipher_of("anna", preset="tutorial", key=key_of(secret_of("flare")))


def parts_of(body):
    """The serialised ciphertexts of a payload."""
    parts = []
    while body:
        (size,) = struct.unpack_from("<I", body)
        parts.append(body[4 : 4 + size])
        body = body[4 + size :]
    return parts


def joined(*parts):
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def foreign(values, scale=2.0**30, preset="compact"):
    """A ciphertext that no honest client sends, of a context of its own."""
    return ts.ckks_vector(ts.context_from(secret_of(preset)), values, scale=scale).serialize()


def second_part(change):
    return lambda payload: with_body(payload, lambda body: joined(parts_of(body)[0], change(parts_of(body)[1])))


REST = SIZE + 4 * 16 + 1 - 2048  # values of the second ciphertext


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: relabelled(p, **{"key-id": "0" * 16}), "key-id of the payload"),
        (lambda p: relabelled(p, **{"run-key": "1" * 16}), "run-key of the payload"),
        (lambda p: relabelled(p, round=2), "round of the payload is 2 instead of 3"),
        (lambda p: relabelled(p, attempt=2), "attempt of the payload"),
        (lambda p: relabelled(p, cohort="0" * 16), "cohort of the payload"),
        (lambda p: relabelled(p, client="cleo"), "client of the payload is 'cleo' instead of 'bert'"),
        (lambda p: relabelled(p, preset="flare"), "preset of the payload"),
        (lambda p: relabelled(p, key_holder="cloud"), "key_holder of the payload"),
        (lambda p: relabelled(p, max_clients=64), "max_clients of the payload"),
        (lambda p: relabelled(p, size=SIZE - 1), "size of the payload"),
        (lambda p: p[:-1], "truncated or altered"),
        (lambda p: flipped(p, len(p) // 2), "truncated or altered"),
        (lambda p: with_body(p, lambda body: body[:-1]), "not a ciphertext"),
        (lambda p: with_body(p, lambda body: joined(parts_of(body)[0])), "fewer ciphertexts than the vector has"),
        (lambda p: with_body(p, lambda body: body + b"\0"), "more bytes than the ciphertexts take"),
        (second_part(lambda _: b"garbage" * 50), "not a ciphertext"),
        (second_part(lambda part: part[:200]), "not a ciphertext"),
        (second_part(lambda _: foreign([0.1] * REST, preset="flare")), "not a ciphertext"),
        (second_part(lambda _: foreign([0.1] * 10)), "values at the scale of"),
        (second_part(lambda _: b""), "values at the scale of"),
        (second_part(lambda _: foreign([0.1] * REST, 2.0**29)), "values at the scale of"),
    ],
)
def test_a_refused_payload_leaves_the_sum_as_it_was(change, reason):
    anna, bert = cipher_of("anna"), cipher_of("bert")
    updates, _ = updates_of(2)
    total = sum_for(anna)
    total.add(encrypted(anna, updates[0]), "anna")
    before, good = total.payload(), encrypted(bert, updates[1])
    try:
        with pytest.raises(CipherError, match=reason):
            total.add(change(good), "bert")
    finally:
        assert total.payload() == before
    total.add(good, "bert")
    assert fields_of(total.payload())["clients"] == ["anna", "bert"]


@pytest.mark.parametrize("values", [lambda: foreign([0.1] * 10), lambda: foreign([0.1] * REST, 2.0**29)])
def test_a_first_payload_of_another_length_does_not_shut_the_others_out(values):
    anna, bert = cipher_of("anna"), cipher_of("bert")
    updates, _ = updates_of(2)
    total = sum_for(anna)
    with pytest.raises(CipherError):
        total.add(second_part(lambda _: values())(encrypted(anna, updates[0])), "anna")
    total.add(encrypted(bert, updates[1]), "bert")


def test_more_clients_than_the_bound_are_refused():
    ciphers = [cipher_of(name, max_clients=2) for name in NAMES[:3]]
    updates, _ = updates_of(3)
    total = sum_for(ciphers[0])
    for cipher, update in zip(ciphers[:2], updates[:2], strict=True):
        total.add(encrypted(cipher, update), cipher.client)
    before = total.payload()
    with pytest.raises(CipherError, match="more clients than the bound of 2"):
        total.add(encrypted(ciphers[2], updates[2]), "cleo")
    with pytest.raises(CipherError, match="anna is in the sum already"):
        total.add(encrypted(ciphers[0], updates[0]), "anna")
    assert total.payload() == before


def test_a_sum_that_cannot_be_opened_is_refused():
    anna = cipher_of("anna")
    total = sum_for(anna)
    total.add(encrypted(anna, updates_of(1)[0][0]), "anna")
    payload = total.payload()
    other = cipher_of("anna", key=key_of(new_secret("compact")))
    other.key_id = anna.key_id
    for cipher, changed, coefficient_sum, reason in [
        (other, payload, 1.0, "the sum does not open"),
        (anna, relabelled(payload, clients=["anna", "bert"]), 1.0, "not of the clients it names"),
        (anna, relabelled(payload, round=2), 1.0, "round of the payload is 2"),
        (anna, flipped(payload, 400), 1.0, "truncated or altered"),
        (anna, payload, 0.0, "must be positive"),
        (anna, payload, float("nan"), "must be positive"),
    ]:
        with pytest.raises(CipherError, match=reason):
            cipher.decrypt(changed, coefficient_sum, BINDING, state=STATE)


@pytest.mark.parametrize("clients", [None, 1])
def test_a_sum_whose_clients_are_no_list_is_refused(clients):
    anna = cipher_of("anna")
    total = sum_for(anna)
    total.add(encrypted(anna, updates_of(1)[0][0]), "anna")
    with pytest.raises(CipherError):
        anna.decrypt(relabelled(total.payload(), clients=clients), 1.0, BINDING, state=STATE)
