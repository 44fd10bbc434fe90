"""A server without a key asks a node with one: how many different answers it can get."""

import json
import logging
import os

import numpy as np
import pytest
from encrypted_payloads import federation_key, flipped, relabelled, with_body
from full_disk import on_a_full_disk

from app.federation.opened_sums import MOST_UNUSABLE_OF_A_KEY, OpenedSums, OpenedSumsError, RefusedSumError
from app.global_model import UNUSABLE, GlobalModel, GlobalModels, UnusableSumError
from app.node_store import NodeStore
from strategies.ciphers.binding import Binding
from strategies.ciphers.ckks import CkksCipher, CkksSum, public_context
from strategies.ciphers.packed_bfv import PackedBfvCipher, PackedBfvSum
from strategies.server_optimiser import Average
from strategies.shared_arrays import SharedLayout

SIZE = 300
LAYOUT = SharedLayout.of({"weight": (SIZE,)}, ["nothing"])
STATISTICS = np.zeros(SIZE, bool)
NAMES = ("anna", "bert")
RUN = "0" * 16
CIPHERS = {
    "packed_bfv": lambda name: PackedBfvCipher(federation_key(), STATISTICS, client=name, max_clients=4, bits=12),
    "packed_bfv, many": lambda name: PackedBfvCipher(federation_key(), STATISTICS, client=name, max_clients=64, bits=9),
    "ckks": lambda name: CkksCipher(federation_key(), STATISTICS, client=name, max_clients=4),
}


class Node:
    """Models of a node in a folder, from processes that come and go; `opened` counts decryptions."""

    def __init__(self, folder, kind="packed_bfv", name="anna"):
        self.folder, self.kind, self.name, self.opened, self.least = folder, kind, name, 0, 2

    def models(self, run_key=RUN):
        """As a new process makes them."""
        cipher = CIPHERS[self.kind](self.name)
        cipher.decrypt = self.counted(cipher.decrypt)
        return GlobalModels(
            self.name,
            NodeStore(self.folder / run_key),
            layout=LAYOUT,
            statistics=STATISTICS,
            variances=np.zeros(SIZE, bool),
            initial=lambda: np.zeros(SIZE, np.float32),
            server_optimiser=Average(1.0),
            cipher=cipher,
            run_key=run_key,
            sums=OpenedSums(self.folder, cipher.key_id, run_key),
            least=self.least,
        )

    def counted(self, decrypt):
        def count(*positional, **named):
            self.opened += 1
            return decrypt(*positional, **named)

        return count

    def answer(self, payload, version=1, run_key=RUN, coefficient_sum=1.0):
        """ "used", or what the server is told."""
        try:
            self.models(run_key).reach(version, payload, coefficient_sum)
        except UnusableSumError as error:
            return str(error)
        return "used"

    def record(self):
        return json.loads((self.folder / "opened_sums.json").read_text(encoding="utf-8"))[federation_key().key_id]


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path / "node")


def honest(kind="packed_bfv", version=1, run_key=RUN, names=NAMES, size=0.02, state=None):
    """A sum of updates that all hold `size`."""
    binding = Binding(run_key, LAYOUT.digest, version, 1, NAMES)
    ciphers = [CIPHERS[kind](name) for name in names]
    if kind == "ckks":
        total = CkksSum(ciphers[0].parameters, binding, federation_key().key_id, public_context())
    else:
        total = PackedBfvSum(ciphers[0].parameters, binding, federation_key().key_id)
    state = state or ciphers[0].initial_state(np.zeros(SIZE, np.float32))
    for cipher in ciphers:
        vector = np.full(SIZE, size, np.float32)
        total.add(cipher.encrypt(vector, 1 / len(NAMES), binding, state=state, carried={}).payload, cipher.client)
    return total.payload()


def forged(number, **options):
    """A sum that is whole but for its ciphertexts, as a server without a key makes it: each another question."""
    place = 100 + 54 * number
    return with_body(honest(**options), lambda body: flipped(body, place, 3))


@pytest.mark.parametrize("kind", CIPHERS)
def test_a_forging_server_gets_three_answers_of_a_run(tmp_path, kind):
    """Forty forged sums, from new processes each time; then an honest one, which is refused as well. Before, each of
    them was opened, and each answer told a bit."""
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


def random_body(body, number):
    """Random coefficients below q in place of the first ones; the second polynomials stay."""
    return np.random.default_rng(number).bytes(2000) + body[2000:]


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
    """What the server hears of this sum."""
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
    assert "is the update of anna alone" in caplog.text
    assert "absurdly large" in caplog.text


@pytest.mark.parametrize("coefficient_sum", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_sum_of_coefficients_has_the_same_answer(node, coefficient_sum):
    assert node.answer(honest(), coefficient_sum=coefficient_sum) == UNUSABLE


def test_a_bug_in_opening_has_the_same_answer_and_its_traceback_in_the_log(node, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)
    monkeypatch.setattr(Average, "step", lambda *_: [][1])
    assert node.answer(honest()) == UNUSABLE
    assert "IndexError" in caplog.text


def test_one_sum_a_version(node):
    first, second = honest(size=0.02), honest(size=0.01)
    assert node.answer(first) == "used"
    assert node.answer(second) == "used", "the version is held: nothing is opened"
    assert node.opened == 1
    NodeStore(node.folder / RUN).drop("global", 1)  # damaged, say
    assert node.answer(second) == UNUSABLE
    assert node.opened == 1
    assert node.answer(first, coefficient_sum=0.5) == UNUSABLE, "another division is another question"
    assert node.answer(first) == "used"
    assert node.models().read(1).vector[0] == pytest.approx(0.02, abs=1e-4)
    assert node.record()[RUN]["1"] == {next(iter(node.record()[RUN]["1"])): "used"}


def test_a_round_that_was_run_again_has_another_sum(node):
    """After two unusable sums a good one is used; the count is not forgotten with the next versions."""
    for number in range(2):
        assert node.answer(with_body(honest(), lambda body, n=number: random_body(body, n))) == UNUSABLE
    assert node.answer(honest()) == "used"
    state = node.models().read(1).state
    assert node.answer(honest(version=2, state=state), version=2) == "used"
    opened = node.opened
    question = with_body(honest(version=3), lambda body: random_body(body, 3))
    assert [node.answer(question, version=3), node.answer(question, version=3)] == [UNUSABLE, UNUSABLE]
    assert node.opened == opened + 1, "the same question again is not opened again"
    assert node.answer(honest(version=3), version=3) == UNUSABLE, "the third was the last of this run"


@pytest.mark.parametrize("moment", ["opening", "keeping"])
def test_the_same_sum_may_be_opened_again_after_a_kill(node, moment):
    """A process that ends between the record and the model: the sum is the same, and so is the answer. A real fork,
    ended with nothing cleaned up."""
    payload, models = honest(), node.models()
    models.held()
    if moment == "opening":
        models.cipher.decrypt = lambda *_, **__: os._exit(9)
    else:
        models._write = lambda *_: os._exit(9)
    child = os.fork()
    if child == 0:
        try:
            models.reach(1, payload, 1.0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert list(node.record()[RUN]["1"].values()) == [{"opening": "opening", "keeping": "used"}[moment]]
    assert node.models().held().keys() == {0}
    assert node.answer(payload) == "used"
    assert list(node.record()[RUN]["1"].values()) == ["used"]
    assert node.models().held().keys() == {0, 1}


def test_it_was_written_before_it_was_opened(node):
    seen = []
    models = node.models()
    decrypt = models.cipher.decrypt
    models.cipher.decrypt = lambda *p, **n: (seen.append(node.record()), decrypt(*p, **n))[1]
    models.reach(1, honest(), 1.0)
    assert list(seen[0][RUN]["1"].values()) == ["opening"]
    assert list(node.record()[RUN]["1"].values()) == ["used"]


@pytest.mark.parametrize("error", [MemoryError, OSError("too many open files")])
def test_a_mishap_of_the_machine_is_no_answer_and_the_sum_may_come_again(node, error):
    payload = honest()
    models = node.models()
    decrypt = models.cipher.decrypt

    def fail(*_, **__):
        raise error

    models.cipher.decrypt = fail
    for _ in range(4):
        with pytest.raises((MemoryError, OSError)):
            models.reach(1, payload, 1.0)
    models.cipher.decrypt = decrypt
    models.reach(1, payload, 1.0)
    assert models.held().keys() == {0, 1}


def test_a_disk_too_full_for_the_model_settles_nothing_about_its_sum(node):
    """The record of sums has room, the model has not: safetensors has an error of its own for that."""
    payload, models = honest(), node.models()
    models.held()
    mean = models.cipher.decrypt(payload, 1.0, Binding(RUN, LAYOUT.digest, 1), state=models.read(0).state)
    models.cipher.decrypt = lambda *_, **__: mean  # SEAL needs files of its own
    assert "OSError" in on_a_full_disk(lambda: models.reach(1, payload, 1.0), largest=1000)
    assert list(node.record()[RUN]["1"].values()) == ["used"]
    assert node.answer(forged(0)) == UNUSABLE, "a version has one sum, kept or not"
    assert node.answer(payload) == "used"
    assert node.models().held().keys() == {0, 1}


def test_a_bug_in_keeping_a_model_is_no_answer_about_its_sum(node):
    payload, models = honest(), node.models()
    models.store.write = lambda *_: [][1]
    with pytest.raises(IndexError):
        models.reach(1, payload, 1.0)
    assert node.answer(payload) == "used"


def test_a_sum_that_was_used_is_never_unusable(node):
    node.answer(honest())
    [digest] = node.record()[RUN]["1"]
    OpenedSums(node.folder, federation_key().key_id, RUN).unusable(1, digest)
    assert node.record()[RUN]["1"] == {digest: "used"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": {"b": {"1": {"c": "perhaps"}}}}'])
def test_a_damaged_record_is_named_and_not_taken_for_empty(node, content):
    node.answer(honest())
    path = node.folder / "opened_sums.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(OpenedSumsError, match=r"opened_sums\.json cannot be read .* rotate the federation key"):
        node.models().reach(2, honest(version=2), 1.0)
    assert path.read_text(encoding="utf-8") == content


def test_processes_at_once_open_no_more_than_three(tmp_path):
    """Twelve forks of a node ask for admission together."""
    sums = OpenedSums(tmp_path, "key", RUN)
    children = []
    for number in range(12):
        child = os.fork()
        if child == 0:
            try:
                sums.admit(1, f"digest {number}")
                os._exit(0)
            except RefusedSumError:
                os._exit(1)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(statuses) == [0] * 3 + [1] * 9
