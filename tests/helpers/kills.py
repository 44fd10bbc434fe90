"""Processes killed before a chosen change of a name on the disk, to see which state they leave."""

import os
import signal

import pytest

_CALLS = ("replace", "rename", "link", "unlink", "rmdir", "mkdir")
EVERY_STEP = bool(os.environ.get("EVERY_STEP"))


def content(root):
    """All files with their modes, without the lock."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != ".change.lock"]
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode) for path in files}


def watched(monkeypatch, before):
    """Call `before` with the words of each change of a name on the disk."""

    def wrapped(function):
        def call(*words, **options):
            before(words)
            return function(*words, **options)

        return call

    for name in _CALLS:
        monkeypatch.setattr(os, name, wrapped(getattr(os, name)))


def kill_at(step, change):
    """Run `change` in a process of its own, killed before its `step`-th change of a name on the disk."""
    child = os.fork()
    if child == 0:
        left = [step]

        def count(_):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        watched(pytest.MonkeyPatch(), count)
        try:
            change()
        finally:
            os._exit(1)  # it was not killed
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def worst_moments(change, decided_by, some):
    """Numbers of steps: about the one that gives `decided_by` its name, at the ends, and `some` others."""
    words = []
    with pytest.MonkeyPatch.context() as patch:
        watched(patch, words.append)
        change()
    (decided,) = (step for step, said in enumerate(words) if str(said[-1]) == str(decided_by))
    if EVERY_STEP:
        return range(len(words))
    between = range(1, len(words), len(words) // some)
    about = (decided, decided + 1, decided + 2, (decided + len(words)) // 2)
    return sorted({0, *between, *(step for step in about if step < len(words)), len(words) - 1})
