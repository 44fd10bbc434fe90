"""Equal files of several nodes on disk: one copy while they are equal, none when nobody holds it."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from app.core import shared_files
from app.core.node_store import NodeStore
from app.core.shared_files import SharedFiles
from scripts.bench.scale import disk_bytes

LARGE = {"vector": np.arange(50_000, dtype=np.float32)}
OTHER = {"vector": np.ones(50_000, np.float32)}
ABOUT = {"layout": "abc", "digest": "0123"}


@pytest.fixture
def stores(tmp_path):
    return [NodeStore(tmp_path / name / "run", SharedFiles(tmp_path / ".shared")) for name in "abc"]


def test_a_model_of_all_nodes_is_on_disk_once(stores, tmp_path):
    for server_round in range(4):
        for store in stores:
            store.write("global", server_round, LARGE, ABOUT | {"digest": str(server_round)})
    assert disk_bytes(tmp_path) < 2.1 * LARGE["vector"].nbytes  # two rounds
    assert len(list((tmp_path / ".shared").iterdir())) == 2
    for store in stores:
        assert store.rounds("global") == [2, 3]
        np.testing.assert_array_equal(store.read("global", 3)[0]["vector"], LARGE["vector"])
        assert store.metadata("global", 3)["digest"] == "3"
        assert not list(store.folder.glob(".*"))


@pytest.mark.parametrize("about", [{"layout": "abc"}, {"layout": "abc", "digest": "4567"}])
def test_files_that_differ_stay_apart(stores, about):
    stores[0].write("global", 1, LARGE, ABOUT)
    stores[1].write("global", 1, OTHER, about)
    np.testing.assert_array_equal(stores[0].read("global", 1)[0]["vector"], LARGE["vector"])
    np.testing.assert_array_equal(stores[1].read("global", 1)[0]["vector"], OTHER["vector"])


def test_a_node_that_changes_its_file_changes_no_other(stores):
    for store in stores:
        store.write("global", 1, LARGE, ABOUT)
    stores[0].write("global", 1, OTHER, ABOUT | {"digest": "4567"})
    np.testing.assert_array_equal(stores[1].read("global", 1)[0]["vector"], LARGE["vector"])
    for store in stores:
        store.drop("global", 1)
    stores[0].write("global", 2, LARGE, ABOUT)
    assert len(list(stores[0].shared.folder.iterdir())) == 1


def test_the_file_of_two_processes_that_write_at_once_becomes_one(stores, tmp_path):
    files = []
    for store in stores[:2]:  # each finds none of its name, and writes its own
        store.folder.mkdir(parents=True)
        files.append(store.folder / "global-000001.safetensors")
        files[-1].write_bytes(b"x" * 1000)
    for file in files:
        stores[0].shared.add("one", file)
        stores[0].shared.add("one", file)
    assert disk_bytes(tmp_path) == 1000
    assert [len(list(store.folder.iterdir())) for store in stores[:2]] == [1, 1]


def test_without_hard_links_each_node_keeps_its_own(stores, tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(shared_files.Path, "hardlink_to", refused)
    for store in stores:
        store.write("global", 1, LARGE, ABOUT)
        np.testing.assert_array_equal(store.read("global", 1)[0]["vector"], LARGE["vector"])
    assert disk_bytes(tmp_path) > 3 * LARGE["vector"].nbytes


def test_a_node_of_its_own_shares_nothing(tmp_path):
    store = NodeStore(tmp_path / "a" / "run")
    store.write("global", 1, LARGE, ABOUT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_name_left_by_a_killed_process_does_not_keep_its_file(tmp_path):
    """Killed between the link and its replacement: the next one in this folder takes the name away."""
    shared, node = SharedFiles(tmp_path / ".shared"), tmp_path / "node"
    node.mkdir()
    code = (
        "import os, signal, sys; from pathlib import Path; from app.core.shared_files import SharedFiles\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "SharedFiles(Path(sys.argv[1])).link('old', Path(sys.argv[2]))"
    )
    (node / "first").write_bytes(b"old")
    shared.add("old", node / "first")
    done = subprocess.run([sys.executable, "-c", code, shared.folder, node / "second"], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(list(node.glob(".*"))) == 1
    (node / "third").write_bytes(b"new")
    shared.add("new", node / "third")
    assert shared.link("new", node / "first")
    assert not list(node.glob(".*"))
    shared.prune()
    assert [path.name for path in shared.folder.iterdir()] == ["new"]
