"""One copy on disk of equal files of several folders, by hard links; for the nodes of a simulation."""

import contextlib
import os
from pathlib import Path


class SharedFiles:
    """Files by a name that stands for their content.

    A file is never changed in place, only replaced, so that links to it do not change together. On a file system
    without hard links each folder keeps its own copy.

    Args:
        folder: on the same file system as the folders; created at the first file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def link(self, name: str, path: Path) -> bool:
        """Make `path` the file of this name; False if there is none."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.link")
        try:
            _remove_abandoned(path.parent)
            temporary.unlink(missing_ok=True)
            temporary.hardlink_to(self.folder / name)
            temporary.replace(path)
        except OSError:
            return False
        finally:  # a replacement of a file by a link to itself leaves both names
            temporary.unlink(missing_ok=True)
        return True

    def add(self, name: str, path: Path) -> None:
        """Share the file at `path` under this name, or use the one that another process has shared meanwhile."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            try:
                (self.folder / name).hardlink_to(path)
            except FileExistsError:
                self.link(name, path)

    def forget(self, path: Path) -> None:
        """Share the file at `path` no longer: it is damaged. Folders that hold it keep it until they find that out."""
        with contextlib.suppress(OSError):
            damaged = path.stat()
            for shared in self.folder.iterdir():
                if os.path.samestat(shared.stat(), damaged):
                    shared.unlink(missing_ok=True)

    def prune(self) -> None:
        """Delete the files that no folder holds any more."""
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.stat().st_nlink == 1:
                    path.unlink(missing_ok=True)


def _remove_abandoned(folder: Path) -> None:
    """Delete the temporary names of processes that were killed: each would keep its file from being pruned."""
    for left in folder.glob(".*.link"):
        number = left.name.split(".")[-2]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            left.unlink(missing_ok=True)
        except (OSError, ValueError):  # another user's process, or no name of this module
            continue
