"""Refusals of `kahe` among the shares: questions to a client, its answers, and share sums in a sum."""

import logging

import pytest
from encrypted_payloads import flipped, relabelled
from kahe_rounds import Round

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe import client_half
from strategies.ciphers.kahe.sharing import BadSharesError
from strategies.ciphers.keys import new_key


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
