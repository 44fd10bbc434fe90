"""Return of freed heap to the operating system (glibc `malloc_trim`)."""

import contextlib
import ctypes


def give_back() -> None:
    """Return freed memory to the operating system, where the C library is glibc; else do nothing.

    glibc keeps the freed arrays of a training step for reuse: hundreds of megabytes, while the encryption of an update
    needs memory of its own."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
