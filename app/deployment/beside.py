"""Processes that start.sh starts beside a SuperLink or SuperNode, and that end with it."""

import contextlib
import ctypes
import os
import signal

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def end_with(parent: int) -> bool:
    """Let the system end this process with its parent; whether that is still the one that started it.

    It is for Linux, and for the time in which this process cannot look itself."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)
    return os.getppid() == parent
