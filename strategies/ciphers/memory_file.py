"""Files for SEAL, which saves and loads by path only: in memory on Linux, temporary files on other Unix systems."""

import os
import tempfile
import threading
import weakref
from pathlib import Path


class MemoryFile:
    """A file that SEAL can write and read by its path: in memory on Linux, else in the temporary folder.

    Every process and every thread sees a file of its own that begins as `data`: a fork inherits descriptors, and two
    that wrote to one file would read each other's ciphertexts.
    """

    def __init__(self, data: bytes = b"") -> None:
        self._data = data
        self._own = threading.local()

    @property
    def path(self) -> str:
        """Path of this process's and thread's file."""
        return self._file().path

    def get(self) -> bytes:
        """The whole content."""
        descriptor = self._file().descriptor
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def put(self, data: bytes | memoryview, offset: int) -> None:
        """Overwrite the content from `offset` on."""
        os.pwrite(self._file().descriptor, data, offset)

    def _file(self) -> "_File":
        found: _File | None = getattr(self._own, "file", None)
        if found is None or found.process != os.getpid():
            found = self._own.file = _File(self._data)
        return found


class _File:
    """One open file, closed and removed with the object or at the end of the process that opened it."""

    def __init__(self, data: bytes) -> None:
        self.process = os.getpid()
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("ciphertext")
            self.path = f"/proc/self/fd/{self.descriptor}"
        else:
            self.descriptor, self.path = tempfile.mkstemp()
        # Runs before the interpreter takes `os` away.
        weakref.finalize(self, _remove, self.descriptor, self.path, self.process)
        os.pwrite(self.descriptor, data, 0)


def _remove(descriptor: int, path: str, process: int) -> None:
    os.close(descriptor)
    if not path.startswith("/proc/") and process == os.getpid():  # a fork closes its copy and leaves the file
        Path(path).unlink()
