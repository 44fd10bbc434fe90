"""Commands that run beside one another, each with a log of its own, and end with this one."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from app.experiment.local_superlink import Process, end_family

_EVERY = 0.2


class JobCommand(NamedTuple):
    """A command of a job.

    Args:
        number: of the job.
        words: of the command.
        log: takes its output, in place of an earlier one's.
    """

    number: int
    words: Sequence[str]
    log: Path

    def last_words(self) -> str:
        """The last line of its log, without what says that it is an error."""
        lines = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ").strip() if lines else "it printed nothing"


def run_at_once(commands: Sequence[JobCommand], most: int, ended: Callable[[JobCommand, int], None]) -> None:
    """Run commands in their order, no more than `most` at a time.

    Args:
        ended: called with each command that has ended, and its exit status.
    """
    waiting, running = list(commands), dict[int, tuple[JobCommand, Process]]()
    try:
        while waiting or running:
            while waiting and len(running) < most:
                command = waiting.pop(0)
                with command.log.open("wb") as log:
                    process = subprocess.Popen(command.words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
                running[command.number] = command, process
            for number, (command, process) in list(running.items()):
                if (status := process.poll()) is not None:
                    del running[number]
                    ended(command, status)
            time.sleep(_EVERY)
    finally:
        for _, process in running.values():
            end_family(process)


def cpus_each(most: int) -> int:
    """Processors of each of so many jobs at a time."""
    return max(1, (os.cpu_count() or 1) // most)
