"""Node store: whole after a crash, two rounds deep, private to its owner."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from full_disk import on_a_full_disk

from app.core import node_store
from app.core.node_store import NodeStore, NodeStoreError, OutdatedAttemptError, digest_of

FIRST = {"vector": np.arange(5, dtype=np.float32), "moment/first": np.ones(3, np.float32)}
SECOND = {"vector": np.zeros(5, np.float32)}


@pytest.fixture
def store(tmp_path):
    return NodeStore(tmp_path / "node" / "run")


def same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_arrays_and_metadata_come_back(store):
    assert store.rounds("global") == []
    store.write("global", 3, FIRST, {"layout": "abc"})
    arrays, metadata = NodeStore(store.folder).read("global", 3)
    same(arrays, FIRST)
    assert metadata == store.metadata("global", 3) == {"layout": "abc"}


def test_a_transposed_array_comes_back_as_it_looked(store):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    store.write("private", 1, {"w": array, "step": np.array(4.0, np.float32)}, {})
    same(store.read("private", 1)[0], {"w": array, "step": np.array(4.0, np.float32)})


def test_two_rounds_of_each_kind_are_kept(store):
    for server_round in range(5):
        store.write("global", server_round, SECOND, {})
        store.write("private", server_round, SECOND, {})
    store.write("private", 5, SECOND, {})
    assert store.rounds("global") == [3, 4]
    assert store.rounds("private") == [4, 5]
    assert len(list(store.folder.iterdir())) == 4


def test_a_disk_that_takes_half_an_array_is_an_os_error_and_leaves_the_older_file(store):
    store.write("global", 1, SECOND, {})
    large = {"vector": np.ones(5000, np.float32)}
    assert "OSError" in on_a_full_disk(lambda: store.write("global", 1, large, {}), largest=10_000)
    same(store.read("global", 1)[0], SECOND)
    assert [path.name for path in store.folder.iterdir()] == ["global-000001.safetensors"]


def test_writing_a_round_again_forgets_later_ones(store):
    for server_round in (1, 2, 3):
        store.write("private", server_round, FIRST, {})
    store.write("private", 2, SECOND, {})
    assert store.rounds("private") == [2]
    same(store.read("private", 2)[0], SECOND)


@pytest.mark.parametrize("where", ["fsync", "replace", "write", "touch"])
def test_a_crash_while_writing_leaves_the_old_state(store, monkeypatch, where):
    store.write("private", 1, FIRST, {"layout": "abc"})
    before = sorted(path.name for path in store.folder.iterdir())

    def crash(*_, **__):
        raise OSError("power cut")

    name = {"fsync": (os, "fsync"), "replace": (Path, "replace"), "touch": (Path, "touch")}
    with monkeypatch.context() as patch:
        if where == "write":
            patch.setattr(node_store, "save_file", lambda _, path, __: (path.write_bytes(b"half"), crash()))
        else:
            patch.setattr(*name[where], crash)
        for server_round in (1, 2):
            with pytest.raises(OSError, match="power cut"):
                store.write("private", server_round, SECOND, {"layout": "new"})
    assert sorted(path.name for path in store.folder.iterdir()) == before
    arrays, metadata = store.read("private", 1)
    same(arrays, FIRST)
    assert metadata == {"layout": "abc"}


def test_a_half_written_file_of_a_killed_process_is_not_taken_for_a_round(store):
    store.write("private", 1, FIRST, {})
    (store.folder / ".private-000002.safetensors.4711.tmp").write_bytes(b"half")
    assert store.rounds("private") == [1]


@pytest.mark.parametrize("content", [b"", b"garbage", "half"])
def test_a_damaged_file_is_named(store, content):
    store.write("global", 7, FIRST, {})
    path = store.folder / "global-000007.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    for read in (store.read, store.metadata):
        with pytest.raises(NodeStoreError, match=r"cannot read .*global-000007\.safetensors"):
            read("global", 7)
    with pytest.raises(NodeStoreError, match=r"global-000008\.safetensors"):
        store.read("global", 8)


def test_nobody_else_may_read_it(store):
    store.write("private", 1, FIRST, {})
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((store.folder / "private-000001.safetensors").stat().st_mode) == 0o600


def test_the_digest_depends_on_names_shapes_and_values_and_not_on_order_or_strides():
    base = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, np.float32)}
    same_values = {"b": np.zeros(2, np.float32), "a": np.asfortranarray(base["a"])}
    others = [
        {"a": base["a"].reshape(3, 2), "b": base["b"]},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"] + np.float32(1e-7), "b": base["b"]},
        {"a": base["a"].astype(np.float64), "b": base["b"]},
        {"a": base["a"]},
    ]
    assert digest_of(base) == digest_of(same_values)
    assert len({digest_of(arrays) for arrays in [base, *others]}) == 6


def test_the_result_of_a_straggler_is_not_kept(store):
    """A process of an earlier attempt that wakes up late, whichever round the later attempt is of."""
    store.begin("3.1 first", (1, 5))
    with store.keeping("3.1 first"):
        store.write("private", 3, {"a": np.zeros(1)}, {})
    for order, later in (((1, 6), "3.2 second"), ((1, 7), "4.1 third")):
        store.begin(later, order)
        with (
            pytest.raises(OutdatedAttemptError, match=f"attempt {later} has begun since 3.1 first"),
            store.keeping("3.1 first"),
        ):
            store.write("private", 3, {"a": np.ones(1)}, {})
    with pytest.raises(OutdatedAttemptError, match=r"attempt 4\.1 third is later than 3\.1 first"):
        store.begin("3.1 first", (1, 5))  # it hung before it began
    with store.keeping("4.1 third"):
        assert store.read("private", 3)[0]["a"].tolist() == [0]


def test_another_process_waits_until_an_attempt_has_written(store):
    """The other process begins while this one writes, and then sees what was written."""
    store.begin("1", (1, 1))
    script = (
        "import sys; from pathlib import Path; from app.core.node_store import NodeStore\n"
        "store = NodeStore(Path(sys.argv[1])); print('up', flush=True); store.begin('2', (1, 2))\n"
        "print(store.rounds('private'), flush=True)"
    )
    other = subprocess.Popen([sys.executable, "-c", script, str(store.folder)], stdout=subprocess.PIPE, text=True)
    with store.keeping("1"):
        assert other.stdout.readline() == "up\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
        store.write("private", 1, {"a": np.zeros(1)}, {})
    assert other.communicate(timeout=60)[0] == "[1]\n"
    with pytest.raises(OutdatedAttemptError), store.keeping("1"):
        pass
