"""Versions of a run: what they say of this checkout and machine, and what a resumed run adds."""

import importlib.metadata
import json
import os
import subprocess
from pathlib import Path

import torch

from app.core import versions as module
from app.core.versions import FILE, PROJECT, record_versions, versions

CHECKOUT = Path(__file__).parents[3]


def test_they_are_those_of_this_process():
    found = versions()
    assert found[PROJECT] == importlib.metadata.version(PROJECT)
    assert found["libraries"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert found["threads"] == torch.get_num_threads()
    git = subprocess.run(["git", "log", "-1", "--format=%H"], cwd=CHECKOUT, capture_output=True, text=True)
    assert found["commit"] == (git.stdout.strip() or None)


def test_a_changed_file_and_a_package_without_a_checkout(tmp_path, monkeypatch):
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True)

    assert module._commit(tmp_path) == {"commit": None, "modified": None}
    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-m", "a")
    index = tmp_path / ".git" / "index"
    os.utime(tmp_path / "a", (1, 1))  # for which `git status` would write the index anew
    before = index.read_bytes()
    assert module._commit(tmp_path)["modified"] is False
    assert index.read_bytes() == before  # and hold its lock, on which another command of git would fail
    (tmp_path / "a").write_text("2")
    found = module._commit(tmp_path)
    assert len(found["commit"]) == 40
    assert found["modified"] is True
    monkeypatch.setenv("PATH", "")  # a machine without git
    assert module._commit(tmp_path) == {"commit": None, "modified": None}


def test_a_run_that_goes_on_under_other_versions_adds_them(tmp_path, monkeypatch):
    record_versions(tmp_path)
    record_versions(tmp_path)
    assert json.loads((tmp_path / FILE).read_text()) == [versions()]
    other = {**versions(), "python": "4.0"}
    monkeypatch.setattr(module, "versions", lambda: other)
    record_versions(tmp_path)
    assert [each["python"] for each in json.loads((tmp_path / FILE).read_text())][1:] == ["4.0"]
    (tmp_path / FILE).write_text("[{")  # half of it
    record_versions(tmp_path)
    assert json.loads((tmp_path / FILE).read_text()) == [other]
