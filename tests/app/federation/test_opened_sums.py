"""A server without a key asks a node with one: how many different answers it can get."""

import logging

import numpy as np
import pytest
from encrypted_payloads import federation_key, relabelled, with_body
from forged_sums import CIPHERS, NAMES, RUN, SIZE, Node, honest, random_body

from app.federation.global_model import UNUSABLE, GlobalModel
from app.federation.opened_sums import MOST_UNUSABLE_OF_A_KEY, OpenedSums
from strategies.server_optimiser import Average


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path / "node")


@pytest.mark.parametrize("kind", CIPHERS)
def test_a_forging_server_gets_three_answers_of_a_run(tmp_path, kind):
    """Forty forged sums, from new processes each time; then an honest one, which is refused as well. Before, each of
    them was opened, and each answer revealed a bit."""
    node = Node(tmp_path, kind)
    if kind == "ckks":
        questions = [with_body(honest(kind), lambda body, n=n: body[: -4 * n]) for n in range(1, 41)]
    else:
        questions = [with_body(honest(kind), lambda body, n=n: random_body(body, n)) for n in range(40)]
    assert {node.answer(question) for question in questions} == {UNUSABLE}
    assert node.opened == 3
    assert node.answer(honest(kind)) == UNUSABLE
    assert node.opened == 3


def test_a_sum_of_fewer_than_the_policy_asks_for_is_not_taken_over(node):
    node.least = 3
    assert node.answer(honest()) == UNUSABLE


def test_new_runs_give_no_more_than_sixteen_answers_under_a_key(node, caplog, monkeypatch):
    """A server may name a new run with each question."""
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    answers = set()
    for number in range(24):
        run_key = f"{number:016x}"
        question = with_body(honest(run_key=run_key), lambda body, n=number: random_body(body, n))
        answers |= {node.answer(question, run_key=run_key)}
    assert answers == {UNUSABLE}
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
    "checksum": lambda: honest()[:-1] + b"\0",
    "cut short": lambda: honest()[:40],
    "empty header": lambda: b"fvr2" + bytes(40),
    "another key": lambda: relabelled(honest(), **{"key-id": "0" * 16}),
    "another run": lambda: honest(run_key="1" * 16),
    "another round": lambda: honest(version=2),
    "other parameters": lambda: honest("packed_bfv, many"),
    "another length": lambda: with_body(honest(), lambda body: body[:-1]),
    "no coefficient below q": lambda: with_body(honest(), lambda body: b"\xff" * 2000 + body[2000:]),
    "noise": lambda: with_body(honest(), lambda body: random_body(body, 0)),
    "seeds": lambda: with_body(honest(), lambda body: body[:-64] + bytes(64)),
    "one ciphertext twice": lambda: with_body(honest(), lambda body: body[:-64] + body[-128:-64]),
    "one client": lambda: honest(names=NAMES[:1]),
    "one client under two names": lambda: relabelled(honest(names=NAMES[:1]), clients=["anna", "bert"]),
    "a client twice": lambda: relabelled(honest(), clients=["anna", "anna"]),
    "clients without names": lambda: relabelled(honest(), clients=[[], []]),
    "disclosures": lambda: relabelled(honest(), disclosed={"anna": "AAAA"}),
    "too large": lambda: honest(size=6e5, state={"exponents": np.full(1, 20, np.int16)}),
}


def told(reason, folder):
    """Answer to the server about this sum."""
    node = Node(folder / reason)
    if reason == "too large":  # a model and a scale that the clients reached together
        large = GlobalModel(np.full(SIZE, 6e5, np.float32), {}, {"exponents": np.full(1, 20, np.int16)})
        node.models()._write(0, large)
    return node.answer(REASONS[reason]())


def test_every_reason_has_one_answer(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    answers = {reason: told(reason, tmp_path) for reason in REASONS}
    assert answers == dict.fromkeys(REASONS, UNUSABLE)
    # The site's own log has them: at least as many different ones.
    assert len({record.getMessage() for record in caplog.records}) >= 10
    assert "its checksum differs" in caplog.text
    assert "is of anna alone" in caplog.text
    assert "absurdly large" in caplog.text


@pytest.mark.parametrize("coefficient_sum", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_sum_of_coefficients_has_the_same_answer(node, coefficient_sum):
    assert node.answer(honest(), coefficient_sum=coefficient_sum) == UNUSABLE


def test_a_bug_in_opening_has_the_same_answer_and_its_traceback_in_the_log(node, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    monkeypatch.setattr(Average, "step", lambda *_: [][1])
    assert node.answer(honest()) == UNUSABLE
    assert "IndexError" in caplog.text
