"""Refusals of cipher `packed_bfv`, before a payload is added and at decryption; the sum stays as it was."""

import base64

import numpy as np
import pytest
from encrypted_payloads import enveloped, federation_key, fields_of, flipped, relabelled, with_body

from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.keys import FederationKey
from strategies.ciphers.packed_bfv import SCHEME, PackedBfvCipher, PackedBfvSum
from strategies.ciphers.seal_bfv import DEGREE, POLYNOMIAL_BYTES, SEED_BYTES, pack_words

SIZE = 200
STATISTICS = np.arange(SIZE) >= 190
NAMES = ("anna", "bert", "cleo", "dora", "emil")
BINDING = Binding("0" * 16, "layout", 3, 1, NAMES)
STATE = {"exponents": np.zeros(2, np.int16)}
VECTOR = np.linspace(-0.9, 0.9, SIZE, dtype=np.float32)


def cipher_of(client="anna", *, key=None, max_clients=4, bits=12):
    return PackedBfvCipher(key or federation_key(), STATISTICS, client=client, max_clients=max_clients, bits=bits)


def payload_of(client="anna", binding=BINDING, vector=VECTOR, **options):
    masks = options.pop("masks", {})
    cipher = cipher_of(client, **options)
    return cipher.encrypt(vector, 0.25, binding, state=STATE, carried={}, masks=masks).payload


def sum_of(*clients, max_clients=4, masked=False, binding=BINDING):
    """A sum with the clients' payloads in it."""
    parameters = cipher_of(max_clients=max_clients).parameters
    total = PackedBfvSum(parameters, binding, federation_key().key_id, masked=masked)
    for client in clients:
        total.add(payload_of(client, max_clients=max_clients), client)
    return total


def decrypt(payload, *, cipher=None, coefficient_sum=1.0, binding=BINDING):
    return (cipher or cipher_of()).decrypt(payload, coefficient_sum, binding, state=STATE)


SPLIT = POLYNOMIAL_BYTES  # one ciphertext: c0, then the seed


def with_coefficient(body, value):
    """The body with another first coefficient of c0."""
    words = np.zeros(DEGREE, np.uint64)
    words[0] = value
    return pack_words(words) + body[SPLIT:]


@pytest.mark.parametrize("max_clients", [4, 64])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: relabelled(p, **{"key-id": federation_key(1).key_id}), "key-id of the payload"),
        (lambda p: relabelled(p, **{"run-key": "1" * 16}), "run-key of the payload is '1111111111111111' instead of"),
        (lambda p: relabelled(p, layout="other"), "layout of the payload"),
        (lambda p: relabelled(p, round=2), "round of the payload is 2 instead of 3"),
        (lambda p: relabelled(p, attempt=2), "attempt of the payload is 2 instead of 1"),
        (lambda p: relabelled(p, cohort="0" * 16), "cohort of the payload"),
        (lambda p: relabelled(p, client="cleo"), "client of the payload is 'cleo' instead of 'bert'"),
        (lambda p: relabelled(p, masked=True), "masked of the payload is True instead of False"),
        (lambda p: relabelled(p, scheme="ckks"), "scheme of the payload"),
        (lambda p: relabelled(p, digits=211), "digits of the payload is 211 instead of 210"),
        (lambda p: relabelled(p, blocks=3), "blocks of the payload"),
        (lambda p: relabelled(p, bits=11), "bits of the payload is 11 instead of 12"),
        (lambda p: relabelled(p, max_clients=5), "max_clients of the payload is 5"),
        (lambda _: b"", "0 bytes that are not an encrypted payload"),
        (lambda p: p[:30], "30 bytes that are not an encrypted payload"),
        (lambda p: p[: len(p) // 2], "truncated or altered"),
        (lambda p: p[:-1], "truncated or altered"),
        (lambda p: p + b"\0", "truncated or altered"),
        (lambda p: flipped(p, 20), "truncated or altered"),
        (lambda p: flipped(p, len(p) // 2, 7), "truncated or altered"),
        (lambda p: flipped(p, -1), "truncated or altered"),
        (lambda p: flipped(p, 0), "not an encrypted payload"),
        (lambda p: with_body(p, lambda body: body[:-1]), "27711 bytes for 1 ciphertexts"),
        (lambda p: with_body(p, lambda body: body + bytes(SEED_BYTES)), "27776 bytes for 1 ciphertexts"),
        (lambda p: with_body(p, lambda body: with_coefficient(body, 2**54 - 1)), "a coefficient is not below q"),
    ],
)
def test_a_refused_payload_leaves_the_sum_as_it_was(change, reason, max_clients):
    payload = change(payload_of("bert", max_clients=max_clients))
    total = sum_of("anna", max_clients=max_clients)
    before = total.payload()
    with pytest.raises(CipherError, match=reason):
        total.add(payload, "bert")
    assert total.payload() == before
    total.add(payload_of("bert", max_clients=max_clients), "bert")
    assert fields_of(total.payload())["clients"] == ["anna", "bert"]
    assert total.payload() != before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"key": federation_key(1)}, "key-id"),
        ({"binding": Binding("0" * 16, "layout", 2, 1, NAMES)}, "round"),
        ({"binding": Binding("0" * 16, "layout", 3, 2, NAMES)}, "attempt"),
        ({"binding": Binding("1" * 16, "layout", 3, 1, NAMES)}, "run-key"),
        ({"binding": Binding("0" * 16, "layout", 3, 1, NAMES[:4])}, "cohort"),
        ({"binding": Binding("0" * 16, "other", 3, 1, NAMES)}, "layout"),
        ({"client": "cleo"}, "client"),
        ({"bits": 11}, "bits"),
        ({"max_clients": 3}, "max_clients"),
        ({"masks": {"anna": bytes(32)}}, "masked"),
    ],
)
def test_an_honest_payload_of_something_else_is_refused(options, reason):
    total = sum_of("anna")
    before = total.payload()
    with pytest.raises(CipherError, match=f"^{reason} of the payload is"):
        total.add(payload_of(**{"client": "bert", **options}), "bert")
    assert total.payload() == before


@pytest.mark.parametrize("max_clients", [4, 64])
def test_a_client_is_added_once(max_clients):
    total = sum_of("anna", "bert", max_clients=max_clients)
    before = total.payload()
    with pytest.raises(CipherError, match="anna is in the sum already"):
        total.add(payload_of("anna", max_clients=max_clients), "anna")
    assert total.payload() == before


def test_more_clients_than_the_bound_are_refused():
    """The bound is what the noise and the width of a digit were worked out for."""
    total = sum_of(*NAMES[:4])
    before = total.payload()
    with pytest.raises(CipherError, match="more clients than the bound of 4"):
        total.add(payload_of("emil"), "emil")
    assert total.payload() == before
    np.testing.assert_allclose(decrypt(before).mean, VECTOR, rtol=0, atol=4 / 1000)  # four steps, each below 1 / 1000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["update", "carried"])
def test_a_value_that_is_not_finite_is_refused_on_the_client_and_named(value, where):
    vector, kept = VECTOR.copy(), np.zeros(SIZE, np.float32)
    (vector if where == "update" else kept)[17] = value
    with pytest.raises(CipherError, match="value 17 of the update is not finite"):
        cipher_of().encrypt(vector, 0.25, BINDING, state=STATE, carried={"residual": kept})


@pytest.mark.parametrize("max_clients", [4, 64])
@pytest.mark.parametrize("clients", [["anna"], ["anna", "bert", "cleo"]])
def test_a_sum_that_names_other_clients_than_it_has_is_refused(clients, max_clients):
    """The server's lie about who is in the sum: each client left a one in it, and they are counted."""
    total = relabelled(sum_of("anna", "bert", max_clients=max_clients).payload(), clients=clients)
    if max_clients == 4:  # as many seeds as it names
        seed = bytes(SEED_BYTES)
        total = with_body(total, lambda body: body[: SPLIT + SEED_BYTES] if len(clients) == 1 else body + seed)
    with pytest.raises(CipherError, match=r"not of the clients it names|no noise budget left"):
        decrypt(total, cipher=cipher_of(max_clients=max_clients))


@pytest.mark.parametrize("clients", [[], None, 2, "anna", ["anna"] * 5])
def test_a_sum_of_no_clients_or_too_many_is_refused(clients):
    with pytest.raises(CipherError, match="a sum of the clients"):
        decrypt(relabelled(sum_of("anna").payload(), clients=clients))


@pytest.mark.parametrize("max_clients", [4, 64])
def test_another_key_with_the_same_id_opens_nothing(max_clients):
    cipher = cipher_of(key=federation_key(1), max_clients=max_clients)
    cipher.key_id = federation_key().key_id
    with pytest.raises(CipherError, match="no noise budget left: another key"):
        decrypt(sum_of("anna", max_clients=max_clients).payload(), cipher=cipher)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: relabelled(p, **{"key-id": "0" * 16}), "key-id of the payload"),
        (lambda p: relabelled(p, round=2), "round of the payload is 2 instead of 3"),
        (lambda p: relabelled(p, **{"run-key": "1" * 16}), "run-key of the payload"),
        (lambda p: relabelled(p, bits=13), "bits of the payload"),
        (lambda p: p[:-1], "truncated or altered"),
        (lambda p: flipped(p, 300), "truncated or altered"),
        (lambda p: with_body(p, lambda body: body[:-1]), "27711 bytes for a sum of 1 ciphertexts"),
        (lambda p: with_body(p, lambda body: flipped(body, -1)), "no noise budget left"),
        (lambda p: with_body(p, lambda body: with_coefficient(body, 2**54 - 1)), "not a ciphertext"),
        (lambda _: enveloped(b"{}"), "scheme of the payload is None instead of 'packed_bfv'"),
    ],
)
def test_a_sum_that_cannot_be_opened_is_refused(change, reason):
    with pytest.raises(CipherError, match=reason):
        decrypt(change(sum_of("anna").payload()))


def test_a_clients_payload_is_not_taken_for_a_sum():
    with pytest.raises(CipherError, match="a sum of the clients None"):
        decrypt(payload_of("bert"))


@pytest.mark.parametrize("coefficient_sum", [0.0, -1.0, float("nan")])
def test_a_sum_of_coefficients_that_is_not_positive_is_refused(coefficient_sum):
    with pytest.raises(CipherError, match="must be positive"):
        decrypt(sum_of("anna").payload(), coefficient_sum=coefficient_sum)


@pytest.mark.parametrize(
    "disclosed",
    [
        None,
        [1],
        {"anna": 3},
        {"anna": base64.b64encode(federation_key().seal(b"no json")).decode()},
        {"anna": base64.b64encode(federation_key().seal(b'{"bert": "00"}')).decode()},
        {"anna": base64.b64encode(federation_key().seal(b'{"bert": "no hex"}')).decode()},
    ],
)
def test_disclosed_seeds_of_another_form_are_refused(disclosed):
    payload = relabelled(sum_of("anna").payload(), disclosed=disclosed)
    try:
        decrypt(payload)
    except CipherError:
        return
    except (AttributeError, TypeError, ValueError) as error:
        pytest.fail(f"{type(error).__name__}: {error}")


def test_disclosed_seeds_that_were_altered_are_refused():
    sealed = federation_key(1).seal(b'{"bert": "00"}')
    payload = relabelled(sum_of("anna").payload(), disclosed={"anna": base64.b64encode(sealed).decode()})
    with pytest.raises(CipherError, match="altered, or sealed under another key"):
        decrypt(payload)


def test_a_masked_sum_is_given_only_with_the_seeds_of_all_who_are_in_it():
    """Without them the mask between a client and one that dropped out would be decrypted as part of the update."""
    peers = {name: {peer: bytes(32) for peer in NAMES if peer != name} for name in NAMES}
    total = sum_of(masked=True)
    for name in NAMES[:3]:
        total.add(payload_of(name, masks=peers[name]), name)
    for name in NAMES[:3]:
        with pytest.raises(CipherError, match=r"masks with \['dora', 'emil'\] are left in the sum"):
            total.payload()
        total.disclose(name, b"sealed")
    assert fields_of(total.payload())["clients"] == ["anna", "bert", "cleo"]
    with pytest.raises(CipherError, match="seeds from dora, which is not in a masked sum"):
        total.disclose("dora", b"sealed")
    with pytest.raises(CipherError, match="seeds from anna, which is not in a masked sum"):
        sum_of("anna").disclose("anna", b"sealed")


@pytest.mark.parametrize(
    ("secrets", "reason"),
    [({}, f"has no secret for '{SCHEME}'; make a new key"), ({SCHEME: b"garbage"}, "does not fit the parameters")],
)
def test_a_key_without_a_usable_secret_is_refused(secrets, reason):
    with pytest.raises(CipherError, match=reason):
        cipher_of(key=FederationKey(secrets, ""))
