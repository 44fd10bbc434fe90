"""Claim of a run folder by one command, before the first file in it is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from app.core.errors import HeldRunError
from app.core.run_folder import RunFolder
from app.settings.load import Settings, absolute

_CLAIM = ".start.lock"


def run_path(settings: Settings, name: str) -> Path:
    """`run_dir` of the settings, or a new folder `outputs/<name>/<time>`."""
    return absolute(settings.run_dir) if settings.run_dir else RunFolder.create(absolute("outputs"), name).path


@contextmanager
def claimed(path: Path, *, resume: bool = False) -> Iterator[RunFolder]:
    """Keep every other command off this folder until the block ends; the folder is created if missing.

    A refusal changes nothing in it. Raises RuntimeError if another run is writing to it, and FileExistsError if the
    results of an earlier run lie in it, unless `resume` goes on with them."""
    if path.is_dir() and not resume:
        RunFolder(path).refuse_earlier_run()
    folder = RunFolder(path)
    lock = FileLock(path / _CLAIM, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise HeldRunError(f"another run is writing to {path}") from error
    try:
        with folder:
            folder.hold()  # no server is writing there; the one of this run starts later
            if not resume:
                folder.refuse_earlier_run()  # of a run that has ended since
        with folder:
            yield folder
    finally:
        lock.release()
