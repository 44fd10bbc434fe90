"""Cipher `ckks`: approximate sums by three presets, with the key at the clients or in the cloud."""

import math
import struct

import numpy as np
import pytest
import tenseal as ts
from ckks_federation import (
    BINDING,
    NAMES,
    SIZE,
    STATE,
    STATISTICS,
    cipher_of,
    empty_context,
    encrypted,
    key_of,
    secret_of,
    sum_for,
    updates_of,
)
from encrypted_payloads import federation_key, fields_of, with_body

from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.ckks import PRESETS, SCHEME, CkksSum, Parameters, without_secret
from strategies.quantise import Blocks


def deviation(preset, public):
    """Standard deviation of a slot's error in one fresh ciphertext, in units of the value.

    A slot's real part is a sum of N coefficients times cosines: N / 2 times the coefficients' variance. That is 10.5 of
    SEAL's error and 1 / 12 of rounding the encoded value. With the public key the error is divided by the last prime,
    and what remains is the rounding of both polynomials: (1 + 2 N / 3) / 12, the key's coefficients being -1, 0, 1."""
    degree, scale = PRESETS[preset].degree, PRESETS[preset].scale
    variance = (1 + 2 * degree / 3) / 12 + 1 / 12 if public else 10.5 + 1 / 12
    return math.sqrt(degree / 2 * variance) / scale


def deviations(public):
    """How many of them one of 10^11 values exceeds.

    Without the public key errors are normal: seven. With it they are a product, in each slot, of a normal rounding
    error and the normal value of the key there: a Laplace distribution, whose tail is exp(-sqrt(2) k), so eighteen."""
    return math.log(1e11) / math.sqrt(2) if public else 7


CASES = [("compact", "client", 4), ("compact", "client", 64), ("compact", "cloud", 4), ("flare", "client", 4)]
CASES += [("flare", "cloud", 4), ("tutorial", "client", 4)]


@pytest.mark.parametrize(("preset", "key_holder", "max_clients"), CASES)
def test_the_mean_is_that_of_float64_within_the_schemes_noise(preset, key_holder, max_clients):
    """Three clients, of which one drops out. Errors of n ciphertexts add up to sqrt(n) of one, and are scaled by the
    client bound and the block's scale. `deviations` of them are passed by one of 10^11 values."""
    ciphers = [cipher_of(name, preset=preset, key_holder=key_holder, max_clients=max_clients) for name in NAMES[:3]]
    updates, scale = updates_of(3)
    coefficients = [0.5, 0.3, 0.2]
    total = sum_for(ciphers[0])
    for i in (2, 0):
        total.add(encrypted(ciphers[i], updates[i], coefficients[i]), NAMES[i])
    found = [cipher.decrypt(total.payload(), 0.7, BINDING, state=STATE) for cipher in ciphers]
    expected = np.average(updates[[0, 2]].astype(float), axis=0, weights=[0.5, 0.2])
    public = PRESETS[preset].public or key_holder == "cloud"
    noise = deviations(public) * math.sqrt(2) * deviation(preset, public) * max_clients * scale / 0.7
    rounding = 6 * 2.0**-24 * scale / 0.7  # float32: weights, products, the cloud's sum, its scale, the mean
    assert (np.abs(found[0].mean - expected) <= noise + rounding).all()
    if preset == "compact":
        assert np.abs(found[0].mean - expected).max() > noise.max() / 100, "exact is not what this scheme is"
    for mean, state, _ in found[1:]:
        assert mean.tobytes() == found[0].mean.tobytes()
        np.testing.assert_array_equal(state["exponents"], found[0].state["exponents"])


@pytest.mark.parametrize(
    ("preset", "degree", "primes", "bits", "limit"),
    [
        ("compact", 4096, [32, 32], 30, 109),
        ("flare", 8192, [60, 40, 40], 40, 218),  # NVIDIA FLARE's default
        ("tutorial", 8192, [60, 40, 40, 60], 40, 218),  # TenSEAL's tutorial, with a public key
    ],
)
def test_presets_are_as_published_and_leave_128_bits_of_security(preset, degree, primes, bits, limit):
    """Limits of log q: HE standard, 2018, Table 1, ternary secret."""
    found = PRESETS[preset]
    assert (found.degree, list(found.primes), found.scale) == (degree, primes, 2.0**bits)
    assert found.public == (preset == "tutorial")
    assert sum(primes) <= limit


def test_the_next_scales_follow_the_largest_value_of_any_client():
    ciphers = [cipher_of(name) for name in NAMES[:2]]
    updates, _ = updates_of(2)
    total = sum_for(ciphers[0])
    for cipher, update in zip(ciphers, updates, strict=True):
        total.add(encrypted(cipher, update), cipher.client)
    state = ciphers[0].decrypt(total.payload(), 0.5, BINDING, state=STATE).state
    blocks, order = Blocks(STATISTICS), np.argsort(STATISTICS, kind="stable")
    ends = [*blocks.starts[1:], blocks.size]
    for exponent, start, end in zip(state["exponents"], blocks.starts, ends, strict=True):
        largest = float(np.abs(updates[:, order[start:end]] * np.float32(0.25)).max())
        wide = 4 if STATISTICS[order[start]] else 1
        assert 2 * wide * largest < 2.0 ** int(exponent) <= 4 * wide * largest


def test_as_many_clients_as_the_bound_at_the_ends_of_the_scale_do_not_wrap_round():
    """CKKS wraps silently: at 2^30 of a prime of 32 bits a sum may reach 2, and without the bound it would be 4."""
    scale = np.repeat(2.0 ** STATE["exponents"].astype(float), Blocks(STATISTICS).lengths).astype(np.float32)
    ciphers = [cipher_of(name) for name in NAMES[:4]]
    total = sum_for(ciphers[0])
    for cipher in ciphers:
        total.add(encrypted(cipher, scale, 1.0), cipher.client)
    mean = ciphers[0].decrypt(total.payload(), 4.0, BINDING, state=STATE).mean
    noise = 7 * 2 * deviation("compact", public=False) * scale  # 4 clients, times the bound, by the coefficients
    assert (np.abs(mean - scale) <= noise + 2.0**-23 * scale).all()


def test_what_a_scale_cuts_off_is_carried_over():
    cipher = cipher_of("anna")
    vector = np.full(SIZE, 5, np.float32)
    payload, carried = cipher.encrypt(vector, 1.0, BINDING, state=STATE, carried={})
    _, scale = updates_of(1)
    np.testing.assert_array_equal(carried["residual"], vector - np.minimum(scale, 5))
    total = sum_for(cipher)
    total.add(payload, "anna")
    first = cipher.decrypt(total.payload(), 1.0, BINDING, state=STATE)
    later = Binding("0" * 16, "layout", 4, 1, NAMES)
    again = cipher.encrypt(np.zeros(SIZE, np.float32), 1.0, later, state=first.state, carried=carried).payload
    total = sum_for(cipher, later)
    total.add(again, "anna")
    second = cipher.decrypt(total.payload(), 1.0, later, state=first.state).mean
    # Scales are below 2^5 in the second round; noise of two rounds as above.
    noise = 7 * deviation("compact", public=False) * 4 * (scale + 32)
    assert (np.abs(first.mean + second - vector) <= noise + 2.0**-22 * vector).all()


def test_the_cloud_decrypts_sums_of_two_clients_and_more_only():
    ciphers = [cipher_of(name, key_holder="cloud") for name in NAMES[:2]]
    updates, _ = updates_of(2)
    total = sum_for(ciphers[0])
    with pytest.raises(CipherError, match="nothing was added"):
        total.payload()
    total.add(encrypted(ciphers[0], updates[0]), "anna")
    with pytest.raises(CipherError, match="does not decrypt a sum of one client"):
        total.payload()
    with pytest.raises(CipherError, match="anna is in the sum already"):
        total.add(encrypted(ciphers[0], updates[0]), "anna")
    with pytest.raises(CipherError, match="does not decrypt a sum of one client"):
        total.payload()
    total.add(encrypted(ciphers[1], updates[1]), "bert")
    assert fields_of(total.payload())["clients"] == ["anna", "bert"]
    with pytest.raises(CipherError, match=r"bytes for 2500 values"):
        ciphers[0].decrypt(with_body(total.payload(), lambda body: body[:-4]), 1.0, BINDING, state=STATE)


@pytest.mark.parametrize("preset", ["compact", "flare"])
def test_who_must_not_decrypt_cannot(preset):
    """TenSEAL itself finds no secret key in what the other side gets."""
    clients, cloud = cipher_of("anna", preset=preset), cipher_of("anna", preset=preset, key_holder="cloud")
    vector = np.zeros(SIZE, np.float32)
    for cipher, context in [
        (clients, empty_context(preset)),
        (clients, without_secret(secret_of(preset))),
        (cloud, cloud.key.secret(SCHEME)),
    ]:
        loaded = ts.context_from(context)
        assert not loaded.is_private()
        found = []
        with_body(encrypted(cipher, vector), lambda body, found=found: found.append(body) or body)
        (size,) = struct.unpack_from("<I", found[0])
        ciphertext = ts.ckks_vector_from(loaded, found[0][4 : 4 + size])
        with pytest.raises(ValueError, match="doesn't hold a secret_key"):
            ciphertext.decrypt()


def test_a_secret_on_the_wrong_side_is_refused():
    at_clients, in_cloud = Parameters(SIZE, 4, 4, "compact"), Parameters(SIZE, 4, 4, "compact", "cloud")
    with pytest.raises(CipherError, match="if and only if the key is in the cloud"):
        CkksSum(at_clients, BINDING, "id", secret_of("compact"))
    with pytest.raises(CipherError, match="if and only if the key is in the cloud"):
        CkksSum(in_cloud, BINDING, "id", without_secret(secret_of("compact", public=True)))
    with pytest.raises(CipherError, match="if and only if the clients are the key holders"):
        cipher_of("anna", key=key_of(without_secret(secret_of("compact"))))
    with pytest.raises(CipherError, match="if and only if the clients are the key holders"):
        cipher_of("anna", key_holder="cloud", key=key_of(secret_of("compact", public=True)))


@pytest.mark.parametrize("clients", [1, 1025])
def test_a_bound_outside_2_to_1024_clients_is_refused(clients):
    with pytest.raises(CipherError, match=f"{clients} clients; ckks takes 2 to 1024"):
        cipher_of("anna", max_clients=clients)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused_on_the_client(value):
    vector = np.zeros(SIZE, np.float32)
    vector[2000] = value
    with pytest.raises(CipherError, match="value 2000 of the update is not finite"):
        encrypted(cipher_of("anna"), vector)


def test_sealed_models_come_back():
    cipher = cipher_of("anna", key=federation_key())
    assert cipher.open(cipher.seal(b"model", "x"), "x") == b"model"
