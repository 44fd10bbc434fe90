"""Files for SEAL, which saves and loads by path only: in memory on Linux, temporary files on other Unix systems."""

import os
import tempfile
import weakref
from pathlib import Path


class MemoryFile:
    """A file that SEAL can write and read by its path: in memory on Linux, else in the temporary folder."""

    def __init__(self, data: bytes = b"") -> None:
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("ciphertext")
            self.path = f"/proc/self/fd/{self._fd}"
        else:
            self._fd, self.path = tempfile.mkstemp()
        weakref.finalize(self, _remove, self._fd, self.path)  # runs before the interpreter takes `os` away
        self.put(data, 0)

    def get(self) -> bytes:
        """The whole content."""
        return os.pread(self._fd, os.fstat(self._fd).st_size, 0)

    def put(self, data: bytes | memoryview, offset: int) -> None:
        """Write over what is there from `offset` on."""
        os.pwrite(self._fd, data, offset)


def _remove(descriptor: int, path: str) -> None:
    os.close(descriptor)
    if not path.startswith("/proc/"):
        Path(path).unlink()
