"""Attacks of a server with colluding clients on one honest update under `kahe`: uniform numbers, and the sum."""

import numpy as np
from encrypted_payloads import fields_of
from kahe_rounds import KEY, Round
from scipy.stats import chi2

from strategies.ciphers.binding import open_envelope
from strategies.ciphers.kahe import client_half
from strategies.ciphers.kahe.ring import DEGREE
from strategies.ciphers.kahe.sampling import Uniform
from strategies.ciphers.kahe.session import open_box, sum_purpose
from strategies.ciphers.kahe.sharing import PRIME, SALT_BYTES, opened

RARE = 1e-9
BINS = 64


def evenly(numbers, below):
    """Whether numbers fill 0..below - 1 as uniform ones do."""
    counts = np.bincount((np.asarray(numbers, np.float64) * BINS / below).astype(np.int64).ravel(), minlength=BINS)
    expected = counts.sum() / BINS
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), BINS - 1) > RARE


def body_of(attempt, payload):
    parameters = attempt[0].parameters
    return parameters.ring.unpack(open_envelope(payload, {})[1][: parameters.body_bytes], parameters.rows)


def test_what_colluding_clients_see_of_an_update_is_uniform_whatever_it_holds():
    """One of four clients is in league with the server: it has the federation key, its own box key, and every message.
    Over many runs of two extreme updates, ciphertexts and the share that it opens are uniform, tags never repeat, and
    differences of ciphertexts of one update, which would show a key that was used twice, are uniform as well."""
    for value in (0.0, 1.0):
        words, shares, tags, last = [], [], [], None
        for number in range(12):
            attempt = Round(4, nonce=str(number))
            payload = attempt.payload(0, update=np.full(attempt.size, value, np.float32))
            ring = attempt[0].parameters.ring
            session = client_half.Session(attempt[0].parameters, attempt.binding, KEY.key_id)
            found = body_of(attempt, payload)
            words.append(found.astype(np.float64))
            if last is not None:
                words.append(((found.astype(object) - last) % ring.modulus).astype(np.float64))
            last = found.astype(object)
            tags += [int(text, 16) for text in fields_of(payload)["tag"]]
            body = open_envelope(payload, {})[1][attempt[0].parameters.body_bytes :]
            place, proof = session.names.index("client-03"), bytes(body[-session.threshold.proof_bytes :])
            box = bytes(body[place * session.box_bytes : (place + 1) * session.box_bytes])
            seed = attempt.seeds("client-03")["client-00"]
            share = open_box(box, seed, session.context, "client-00", "client-03", proof)
            shares.append(np.frombuffer(share, "<u2", -1, SALT_BYTES))
        assert evenly(np.concatenate(words), ring.modulus)
        assert evenly(np.concatenate(shares), PRIME)
        assert len(set(tags)) == 24
        assert max(tags) > ring.modulus / 4


def test_the_sum_of_the_keys_opens_no_single_update():
    """The server and client-03 know S of the announced set, and the federation key. With S, with S less their own key,
    and with every share that they have, the honest update opens to uniform numbers."""
    attempt, secrets, real = Round(4), [], client_half.deal
    client_half.deal = lambda secret, *rest: secrets.append(secret) or real(secret, *rest)
    try:
        payloads = [attempt.payload(index) for index in range(4)]
    finally:
        client_half.deal = real
    total = attempt.total()
    for index in (0, 1, 3):
        total.add(payloads[index], attempt.names[index])
    attempt.ask(total)
    session = client_half.Session(attempt[0].parameters, attempt.binding, KEY.key_id)
    ring, clients = attempt[0].parameters.ring, total.clients
    dealt = dict(zip(clients, fields_of(total.payload())["dealt"], strict=True))
    sums = {
        session.names.index(name): KEY.open(sealed, sum_purpose(session.context, name, clients, dealt))
        for name, sealed in total._answers.items()
    }
    known = opened(sums, session.threshold)
    np.testing.assert_array_equal(known, secrets[0] + secrets[1] + secrets[3])
    public = Uniform(session.polynomial_seed, ring.modulus).draw(attempt[0].parameters.rows, DEGREE)

    def opens(index, key):
        found = ring.product_sum(public, ring.spectrum(key), body_of(attempt, payloads[index]))
        return not evenly(found % np.uint64(2**8), 2**8)  # errors lie around 0 under the right key

    assert opens(0, secrets[0]), "the test sees a right key"
    for victim in (0, 1, 2):  # 2 is the late update, which is in no sum
        for key in (known, known - secrets[3], secrets[3], np.zeros(DEGREE, np.int64)):
            assert not opens(victim, key)


def test_a_stolen_federation_key_opens_recorded_sums_and_no_update():
    """The thief has the federation key and all messages, and no site's own key: of a box it opens nothing."""
    attempt = Round(3)
    payload = attempt.payload(0)
    session = client_half.Session(attempt[0].parameters, attempt.binding, KEY.key_id)
    body = open_envelope(payload, {})[1][attempt[0].parameters.body_bytes :]
    boxes = bytes(body[: 3 * session.box_bytes])
    for secret in KEY.secrets.values():
        for place, name in enumerate(session.names):
            box, proof = boxes[place * session.box_bytes :][: session.box_bytes], bytes(body[3 * session.box_bytes :])
            try:
                open_box(box, secret, session.context, "client-00", name, proof)
            except client_half.CipherError:
                continue
            raise AssertionError("a box opened under a secret of the federation key")
    assert evenly(np.frombuffer(boxes, np.uint8), 256)
