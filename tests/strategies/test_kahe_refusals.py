"""Refusals of `kahe`: on the way to the server, among the shares, and in a sum."""

import logging

import numpy as np
import pytest
from encrypted_payloads import fields_of, flipped, relabelled, with_body
from kahe_rounds import KEY, Round

from strategies.ciphers.binding import Binding, close_envelope, open_envelope
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe import client_half
from strategies.ciphers.kahe.client_half import ALTERED, KaheCipher
from strategies.ciphers.kahe.server_half import KaheSum
from strategies.ciphers.kahe.sharing import BadSharesError
from strategies.ciphers.kahe.tags import AlteredSumError
from strategies.ciphers.keys import new_key

# Payloads, at the server


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"client": "client-01"}, "client of the payload"),
        ({"round": 4}, "round of the payload"),
        ({"attempt": 2}, "attempt of the payload"),
        ({"nonce": "other"}, "nonce of the payload"),
        ({"run-key": "1" * 16}, "run-key of the payload"),
        ({"layout": "other"}, "layout of the payload"),
        ({"cohort": "other"}, "cohort of the payload"),
        ({"key-id": "other"}, "key-id of the payload"),
        ({"scheme": "packed_bfv"}, "scheme of the payload"),
        ({"max_clients": 9}, "max_clients of the payload"),
        ({"colluding": 0}, "colluding of the payload"),
        ({"tag": ["0"]}, "tag is not of two numbers"),
        ({"coefficient": "nan"}, "a coefficient of 'nan'"),
        ({"coefficient": "inf"}, "a coefficient of 'inf'"),
        ({"coefficient": (-0.5).hex()}, "a coefficient of"),
        ({"coefficient": (1.5).hex()}, "a coefficient of"),
        ({"coefficient": "0.5"}, "a coefficient of"),
        ({"coefficient": 3}, "a coefficient of 3"),
    ],
)
def test_a_payload_of_another_purpose_is_refused_by_its_field(change, fault):
    attempt = Round(3)
    total = attempt.added(1)
    before = total.question(attempt.names[1])
    with pytest.raises(CipherError, match=fault):
        total.add(relabelled(attempt.payload(0), **change), attempt.names[0])
    assert total.clients == [attempt.names[1]]
    assert total.question(attempt.names[1]) == before


def test_payloads_of_another_form_add_nothing():
    attempt = Round(3)
    total = attempt.added(1, 2)
    payload, before = attempt.payload(0), total._total.copy()
    ring = attempt[0].parameters.ring
    for wrong, fault in [
        (flipped(payload, 400), "checksum"),
        (payload[:-50], "checksum"),
        (with_body(payload, lambda body: body[:-1]), "bytes for 1 ciphertexts"),
        (with_body(payload, lambda body: body + b"x"), "bytes for 1 ciphertexts"),
        (with_body(payload, lambda body: b"\xff" * ring.row_bytes + body[ring.row_bytes :]), "not below q"),
    ]:
        with pytest.raises(CipherError, match=fault):
            total.add(wrong, attempt.names[0])
        np.testing.assert_array_equal(total._total, before)
    total.add(payload, attempt.names[0])
    with pytest.raises(CipherError, match="in the sum already"):
        total.add(payload, attempt.names[0])


def test_another_coefficient_than_the_client_was_given_is_refused():
    """Its tag would fit a sum that no client divides rightly."""
    attempt = Round(3)
    total = attempt.total()
    total.expect("client-00", 0.25)
    with pytest.raises(CipherError, match="it was given 0x1"):
        total.add(attempt.payload(0), "client-00")
    total.expect("client-00", attempt.share)
    total.add(attempt.payload(0), "client-00")


def test_of_many_ciphertexts_none_is_added_if_the_last_one_is_wrong():
    attempt = Round(2, size=18 * 3 * 4096)
    row, rows = attempt[0].parameters.ring.row_bytes, attempt[0].parameters.rows
    assert rows > 16, "more than are added at a time"
    total, end = attempt.added(0), rows * row
    before = total._total.copy()
    wrong = with_body(attempt.payload(1), lambda body: body[: end - row] + b"\xff" * row + body[end:])
    with pytest.raises(CipherError, match="not below q"):
        total.add(wrong, attempt.names[1])
    np.testing.assert_array_equal(total._total, before)


def test_a_client_outside_the_cohort_is_refused():
    attempt, larger = Round(3), Round(4)
    stranger = larger[3]
    with pytest.raises(CipherError, match="has no key for itself"):
        stranger.encrypt(
            larger.update(3), 0.1, attempt.binding, state=larger.state, carried={}, masks=attempt.seeds("client-00")
        )
    total = attempt.added(0)
    with pytest.raises(CipherError, match="client-03 is not in the cohort"):
        total.add(relabelled(attempt.payload(1), client="client-03"), "client-03")


def test_a_client_without_a_key_for_another_says_whose():
    attempt = Round(3)
    seeds = attempt.seeds("client-00")
    del seeds["client-02"]
    with pytest.raises(CipherError, match="no key for client-02"):
        attempt[0].encrypt(attempt.update(0), 0.1, attempt.binding, state=attempt.state, carried={}, masks=seeds)


@pytest.mark.parametrize(
    ("cohort", "fault"),
    [
        (("client-00",), "a cohort of 1"),
        (("client-00", "client-00"), "stands twice"),
        (tuple(f"client-{i:02}" for i in range(9)), "bound of 8"),
    ],
)
def test_a_cohort_that_hides_nobody_or_is_not_laid_out_for_is_refused(cohort, fault):
    attempt = Round(2)
    binding = Binding("0" * 16, "layout", 3, 1, cohort, "nonce")
    seeds = dict.fromkeys(cohort, bytes(32))
    with pytest.raises(CipherError, match=fault):
        attempt[0].encrypt(attempt.update(0), 0.5, binding, state=attempt.state, carried={}, masks=seeds)
    with pytest.raises(CipherError, match=fault):
        KaheSum(attempt[0].parameters, binding, KEY.key_id)


def test_colluding_clients_that_cannot_be_tolerated_are_named():
    attempt = Round(3, colluding=2)
    with pytest.raises(CipherError, match="2 colluding clients of 3: a sum must hold two honest clients"):
        attempt.payload(0)


def test_a_sum_is_closed_once_shares_were_asked_for():
    attempt = Round(4)
    total = attempt.added(0, 1, 2)
    total.disclose("client-00", attempt.answer(total, 0))
    with pytest.raises(CipherError, match="closed"):
        total.add(attempt.payload(3), "client-03")


def test_a_key_without_the_scheme_is_named():
    old = new_key({})
    cipher = KaheCipher(old, np.zeros(300, bool), client="client-00", max_clients=8, bits=11)
    attempt = Round(2)
    with pytest.raises(CipherError, match=f"federation key {old.key_id} has no secret for 'kahe'"):
        cipher.encrypt(
            attempt.update(0), 0.5, attempt.binding, state=attempt.state, carried={}, masks=attempt.seeds("client-00")
        )


# Questions, at a client


def test_a_set_that_must_not_be_opened_is_refused_by_its_fault():
    attempt = Round(5)  # four are needed
    total = attempt.added()
    data = total.question("client-00")
    piece = len(data) // 5
    for clients, fault in [
        (attempt.names[:3], "a sum of 3 clients, and 4 of 5 are needed"),
        (attempt.names[:1], "a sum of 1 clients"),
        (attempt.names[1:], "client-00 is not among"),
        ([*attempt.names[:4], "client-03"], "not different clients of the cohort"),
        ([*attempt.names[:4], "stranger"], "not different clients of the cohort"),
    ]:
        with pytest.raises(CipherError, match=fault):
            attempt.answer(total, 0, clients, data[: piece * len(clients)])


def test_shares_that_do_not_open_are_named():
    attempt, other = Round(4), Round(4, nonce="another")
    total = attempt.added()
    data = total.question("client-00")
    piece = len(data) // 4
    earlier = other.added().question("client-00")
    swapped = data[piece : 2 * piece] + data[:piece] + data[2 * piece :]
    for wrong in [
        flipped(data, piece + 50),  # in the box
        flipped(data, 2 * piece - 1),  # in the proof
        data[:piece] + earlier[piece : 2 * piece] + data[2 * piece :],  # of another attempt
        data[:piece] + total.question("client-02")[piece : 2 * piece] + data[2 * piece :],  # for another client
    ]:
        with pytest.raises(BadSharesError, match="client-01 dealt bad shares: its share does not open"):
            attempt.answer(total, 0, data=wrong)
    with pytest.raises(BadSharesError, match="client-00 dealt bad shares: its share does not open"):
        attempt.answer(total, 0, data=swapped)
    with pytest.raises(CipherError, match="bytes with the shares of 4 clients"):
        attempt.answer(total, 0, data=data[:-1])


def test_a_dealer_of_bad_shares_is_named_by_whoever_got_one(monkeypatch):
    attempt = Round(5)
    real = client_half.deal

    def deal(secret, threshold, context):
        dealt = real(secret, threshold, context)
        if context.endswith(b"client-02"):
            dealt.shares[4] = dealt.shares[3]
        return dealt

    monkeypatch.setattr(client_half, "deal", deal)
    total = attempt.added()
    with pytest.raises(BadSharesError, match="client-02 dealt bad shares") as caught:
        attempt.answer(total, 4)
    assert caught.value.dealer == "client-02"
    opened = attempt.opened(attempt.ask(total, 0, 1, 2, 3).payload())  # the others open the sum
    assert opened.clients == tuple(attempt.names)


# Share sums, at the server and in a sum


def test_share_sums_of_another_form_are_refused():
    attempt = Round(4)
    total = attempt.added(0, 1, 2)
    answer = attempt.answer(total, 0)
    with pytest.raises(CipherError, match="client-03, which is not in the sum"):
        total.disclose("client-03", answer)
    with pytest.raises(CipherError, match="bytes of a share sum"):
        total.disclose("client-00", answer[:-1])
    total.disclose("client-00", answer)
    total.disclose("client-00", answer)  # a reply that came twice
    with pytest.raises(CipherError, match="has sent a share sum already"):
        total.disclose("client-00", attempt.answer(total, 0))
    with pytest.raises(CipherError, match="1 share sums where 3 open"):
        total.payload()


def test_an_empty_sum_has_no_payload():
    with pytest.raises(CipherError, match="nothing was added"):
        Round(3).total().payload()


@pytest.mark.parametrize("liars", [1, 2])
@pytest.mark.parametrize("wrong", [flipped, "numbers that are not below p", "sealed under another key"])
def test_wrong_share_sums_are_named_and_the_others_open_the_sum(liars, wrong, monkeypatch, caplog):
    attempt = Round(10, max_clients=16, colluding=2)  # seven are needed
    total = attempt.added()
    liars = attempt.names[3 : 3 + liars]
    real = client_half.add_shares
    for name in liars:
        with monkeypatch.context() as patch:
            if wrong is flipped:
                patch.setattr(client_half, "add_shares", lambda shares: flipped(real(shares), 100))
            elif "below p" in wrong:
                patch.setattr(client_half, "add_shares", lambda shares: b"\xff" * len(real(shares)))
            else:
                patch.setattr(attempt.ciphers[name], "key", new_key({}))
            total.disclose(name, attempt.answer(total, attempt.names.index(name)))
    total = attempt.ask(total, *(index for index, name in enumerate(attempt.names) if name not in liars))
    with caplog.at_level(logging.WARNING, "flwr"):
        assert attempt.opened(total.payload()).clients == tuple(attempt.names)
    assert f"the share sum of {', '.join(liars)} is wrong" in caplog.text


@pytest.mark.parametrize("liar", [0, 23])
def test_one_wrong_share_sum_of_many_is_left_out(liar, monkeypatch, caplog):
    """Of 24 clients 16 are needed: among the first choices of 16 answers in order, all hold the first one."""
    attempt = Round(24, max_clients=24)
    total = attempt.added()
    real = client_half.add_shares
    with monkeypatch.context() as patch:
        patch.setattr(client_half, "add_shares", lambda shares: flipped(real(shares), 100))
        total.disclose(attempt.names[liar], attempt.answer(total, liar))
    attempt.ask(total, *(index for index in range(24) if index != liar))
    with caplog.at_level(logging.WARNING, "flwr"):
        assert attempt.opened(total.payload()).clients == tuple(attempt.names)
    assert f"the share sum of {attempt.names[liar]} is wrong" in caplog.text


def test_a_secret_outside_its_range_opens_nothing(monkeypatch):
    attempt = Round(4)
    real = client_half.deal
    monkeypatch.setattr(client_half, "deal", lambda secret, *rest: real(secret + 2000, *rest))
    payload = attempt.payload(3)
    monkeypatch.undo()
    total = attempt.added(0, 1, 2)
    total.add(payload, "client-03")
    with pytest.raises(CipherError, match="outside its range"):
        attempt.opened(attempt.ask(total).payload())


# Altered sums: refused before anything is opened


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


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"answered": None}, "share sums of None"),
        ({"answered": ["client-00", "stranger", "client-02"]}, "share sums of"),
        ({"answered": ["client-00", "client-00", "client-02"]}, "3 share sums where 3"),
        ({"answered": ["client-00", "client-01"]}, "2 share sums where 3"),
        ({"answered": ["client-01", "client-00", "client-02", "client-03"]}, "altered, or sealed"),
    ],
)
def test_share_sums_that_are_not_of_this_sum_are_refused(change, fault):
    attempt = Round(4)
    payload = attempt.ask(attempt.added()).payload()
    with pytest.raises(CipherError, match=fault):
        attempt.opened(relabelled(payload, **change))


def test_a_share_sum_of_another_set_or_attempt_does_not_open():
    attempt, again = Round(5), Round(5, attempt=2)
    total = attempt.added()
    other = attempt.added(0, 1, 2, 3)
    later = again.added()
    for strange in (attempt.answer(other, 0), again.answer(later, 0)):
        mixed = attempt.added()
        mixed._total, mixed._tags, mixed._shares = total._total.copy(), total._tags, total._shares
        mixed.disclose("client-00", strange)
        attempt.ask(mixed, 1, 2, 3)
        with pytest.raises(CipherError, match="for another purpose"):
            attempt.opened(mixed.payload())


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
