"""The record of opened sums: one a version, over kills, full disks, damage and processes at once."""

import os

import pytest
from encrypted_payloads import federation_key
from forged_sums import LAYOUT, RUN, Node, forged, honest
from full_disk import on_a_full_disk

from app.core.node_store import NodeStore
from app.federation.global_model import SUM_ALTERED, UNUSABLE
from app.federation.opened_sums import OpenedSums, OpenedSumsError, RefusedSumError
from strategies.ciphers.binding import Binding


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path / "node")


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
        assert node.answer(forged(number)) == SUM_ALTERED
    assert node.answer(honest()) == "used"
    state = node.models().read(1).state
    assert node.answer(honest(version=2, state=state), version=2) == "used"
    opened = node.opened
    question = forged(3, version=3)
    assert [node.answer(question, version=3), node.answer(question, version=3)] == [SUM_ALTERED, UNUSABLE]
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
    models.cipher.decrypt = lambda *_, **__: mean  # the model alone is what has no room
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
