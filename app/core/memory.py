"""Memory that was freed and that the C library keeps for itself."""

import contextlib
import ctypes


def give_back() -> None:
    """Return freed memory to the operating system, where the C library is glibc; else do nothing.

    glibc keeps the freed arrays of a training step in case of another one; hundreds of megabytes beside what the
    encryption of an update needs."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
