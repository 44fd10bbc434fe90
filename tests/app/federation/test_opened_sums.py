"""A server without a key asks a node with one: how many different answers it can get."""

import logging

import numpy as np
import pytest
from encrypted_payloads import federation_key, relabelled, with_body
from forged_sums import CIPHERS, NAMES, RUN, SIZE, Node, forged, honest, nudged, random_body

from app.core.global_state import GlobalModel
from app.federation.global_model import SUM_ALTERED, UNUSABLE
from app.federation.opened_sums import MOST_UNUSABLE_OF_A_KEY, OpenedSums
from strategies.ciphers.binding import open_envelope
from strategies.server_optimiser import Average


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path / "node")


@pytest.mark.parametrize("kind", CIPHERS)
def test_a_forging_server_gets_three_answers_of_a_run(tmp_path, kind):
    """Forty forged sums, from new processes each time; then an honest one, which is refused as well. Without a tag
    each of them would be opened, and each answer would reveal a bit; with one, the server knows the answer."""
    node = Node(tmp_path, kind)
    payload = honest(kind)
    answers = [
        node.answer(
            nudged(payload, n) if kind == "ckks" else with_body(payload, lambda body, n=n: random_body(body, n))
        )
        for n in range(40)
    ]
    assert answers == [UNUSABLE if kind == "ckks" else SUM_ALTERED] * 3 + [UNUSABLE] * 37
    assert node.opened == 3
    assert node.answer(honest(kind)) == UNUSABLE
    assert node.opened == 3


def test_a_sum_of_fewer_than_the_policy_asks_for_is_not_taken_over(node):
    node.least = 3
    assert node.answer(honest()) == UNUSABLE


@pytest.mark.slow
def test_new_runs_give_no_more_than_sixteen_answers_under_a_key(tmp_path, caplog, monkeypatch):
    """A server may name a new run with each question. A cipher without a tag needs this most."""
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    node, answers = Node(tmp_path / "node", "ckks"), []
    for number in range(24):
        run_key = f"{number:016x}"
        answers.append(node.answer(forged(number, "ckks", run_key=run_key), run_key=run_key))
    assert answers == [UNUSABLE] * 24
    assert node.opened == MOST_UNUSABLE_OF_A_KEY == 16
    assert "Rotate the federation key" in caplog.text
    assert f"16 sums under the federation key {federation_key().key_id} could not be used, over all runs" in caplog.text
    # With another key it begins anew.
    OpenedSums(node.folder, federation_key(1).key_id, RUN).admit(1, "digest")


def test_the_log_warns_from_half_of_the_limit_on(tmp_path, caplog, monkeypatch):
    """Two sums a run, as one client that poisons them costs every node, and the repeated round with them."""
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    warned = []
    for number in range(8):
        sums = OpenedSums(tmp_path, "key", f"{number:016x}")
        for digest in ("first", "second"):
            caplog.clear()
            sums.admit(1, digest)
            sums.unusable(1, digest)
            warned.append([record.getMessage()[:20] for record in caplog.records])
    assert warned == [[]] * 7 + [[f"{count} sums under the fed"[:20]] for count in range(8, 17)]


REASONS = {
    "checksum": lambda kind: honest(kind)[:-1] + b"\0",
    "cut short": lambda kind: honest(kind)[:40],
    "empty header": lambda _: b"fvr2" + bytes(40),
    "another key": lambda kind: relabelled(honest(kind), **{"key-id": "0" * 16}),
    "another run": lambda kind: honest(kind, run_key="1" * 16),
    "another round": lambda kind: honest(kind, version=2),
    "other parameters": lambda kind: relabelled(honest(kind), max_clients=64),
    "another length": lambda kind: with_body(honest(kind), lambda body: body[:-1]),
    "random bytes": lambda kind: with_body(honest(kind), lambda body: random_body(body, 0)),
    "coefficients beyond q": lambda kind: with_body(honest(kind), lambda body: b"\xff" * 2000 + body[2000:]),
    "nothing": lambda kind: with_body(honest(kind), lambda _: b""),
    "one client under two names": lambda kind: relabelled(one_client(kind), clients=["anna", "bert"]),
    "one client": lambda kind: one_client(kind),
    "a client twice": lambda kind: relabelled(honest(kind), clients=["anna", "anna"]),
    "clients without names": lambda kind: relabelled(honest(kind), clients=[[], []]),
    "another sum of coefficients": lambda kind: honest(kind),
    "too large": lambda kind: honest(kind, size=6e5, state={"exponents": np.full(1, 20, np.int16)}),
}
OF_ONE_CIPHER = {
    "ckks": {"a term added": lambda _: forged(0, "ckks")},
    "kahe": {
        "no share sums": lambda kind: with_body(relabelled(honest(kind), answered=[]), lambda body: body[:-8248]),
        "another tag": lambda kind: relabelled(honest(kind), tag=["1", "2"]),
        "shares that others dealt": lambda kind: relabelled(honest(kind), dealt=["0" * 64] * 2),
        "share sums altered": lambda kind: with_body(honest(kind), lambda body: body[:-1000] + bytes(1000)),
    },
}
BY_TAG = {
    *("random bytes", "coefficients beyond q", "nothing", "one client under two names", "one client"),
    *("another sum of coefficients", "another tag", "shares that others dealt"),
}
"""Faults under `kahe` that the tag shows, which the server may be told: it knows them, and no answer needs the key."""


def one_client(kind):
    """As far as a server can make it: under `kahe` no sum of one client can be closed."""
    if kind == "ckks":
        return honest(kind, names=NAMES[:1])
    whole = honest(kind)
    fields = open_envelope(whole, {})[0]
    return relabelled(whole, **{name: fields[name][:1] for name in ("clients", "coefficients", "dealt")})


def told(kind, reason, make, folder):
    """Answer to the server about this sum."""
    node = Node(folder / reason, kind)
    if reason == "too large":  # a model and a scale that the clients reached together
        large = GlobalModel(np.full(SIZE, 6e5, np.float32), {}, {"exponents": np.full(1, 20, np.int16)})
        node.models()._write(0, large)
    return node.answer(make(kind), coefficient_sum=0.5 if reason == "another sum of coefficients" else 1.0)


@pytest.mark.parametrize("kind", OF_ONE_CIPHER)
def test_every_reason_has_one_answer(tmp_path, caplog, monkeypatch, kind):
    """Under `kahe` a second one, for a tag that does not fit."""
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    reasons = REASONS | OF_ONE_CIPHER[kind]
    if kind == "ckks":
        del reasons["another sum of coefficients"]  # without a tag nothing shows it
    answers = {reason: told(kind, reason, make, tmp_path) for reason, make in reasons.items()}
    expected = {reason: SUM_ALTERED if kind == "kahe" and reason in BY_TAG else UNUSABLE for reason in reasons}
    assert answers == expected
    # The site's own log has them: at least as many different ones.
    assert len({record.getMessage() for record in caplog.records}) >= 10
    assert "its checksum differs" in caplog.text
    assert ("is of anna alone" in caplog.text) == (kind == "ckks")
    assert "absurdly large" in caplog.text


@pytest.mark.parametrize("coefficient_sum", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_sum_of_coefficients_has_the_same_answer(node, coefficient_sum):
    assert node.answer(honest(), coefficient_sum=coefficient_sum) == UNUSABLE


def test_a_bug_in_opening_has_the_same_answer_and_its_traceback_in_the_log(node, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    monkeypatch.setattr(Average, "step", lambda *_: [][1])
    assert node.answer(honest()) == UNUSABLE
    assert "IndexError" in caplog.text
