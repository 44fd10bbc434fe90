"""Refusals of `kahe` at the server, and for cohorts and keys that nothing is encrypted for."""

import numpy as np
import pytest
from encrypted_payloads import flipped, relabelled, with_body
from kahe_rounds import KEY, Round

from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe.client_half import KaheCipher
from strategies.ciphers.kahe.server_half import KaheSum
from strategies.ciphers.keys import new_key


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
        ({"scheme": "ckks"}, "scheme of the payload"),
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
            larger.update(3), 0.1, attempt.binding, state=larger.state, carried={}, seeds=attempt.seeds("client-00")
        )
    total = attempt.added(0)
    with pytest.raises(CipherError, match="client-03 is not in the cohort"):
        total.add(relabelled(attempt.payload(1), client="client-03"), "client-03")


def test_a_client_without_a_key_for_another_says_whose():
    attempt = Round(3)
    seeds = attempt.seeds("client-00")
    del seeds["client-02"]
    with pytest.raises(CipherError, match="no key for client-02"):
        attempt[0].encrypt(attempt.update(0), 0.1, attempt.binding, state=attempt.state, carried={}, seeds=seeds)


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
        attempt[0].encrypt(attempt.update(0), 0.5, binding, state=attempt.state, carried={}, seeds=seeds)
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


def test_a_key_of_an_earlier_version_is_named_with_the_remedy():
    """Before anything is trained."""
    old = new_key({"packed_bfv": lambda: b"secret"})
    with pytest.raises(CipherError, match=f"key {old.key_id} has no secret for 'kahe', .* scripts.federation rotate"):
        KaheCipher(old, np.zeros(300, bool), client="client-00", max_clients=8, bits=11)
