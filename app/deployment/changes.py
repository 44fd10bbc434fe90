"""Changes of a federation's folders that take place whole or not at all, whatever is killed in between.

A change is made in a copy of the parties' files, `.change.new`; one rename to `.change` decides it; then its files are
put in place. After a kill before the rename everything is as before; after it, the next command completes the change.
The folder is that of a federation, or of one party on its machine, which starts nothing while a change is incomplete.
"""

import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from app.core.files import sync_to_disk
from app.deployment import parties as p
from app.deployment.owners import called
from app.deployment.parties import DeploymentError, write_file
from app.deployment.updates import FIRST_FOLDER, UPDATES_FOLDER, write_updates
from models.errors import FedVehicleReidError

PATIENCE = 30.0
"""Seconds to wait for a change by another user, who alone can lock the folder."""
MAKING, DECIDED = ".change.new", ".change"
_FILES, _REMOVED = "files", "removed.json"


@contextmanager
def changing(root: Path) -> Iterator[Path]:
    """A copy of the parties' files, to be changed; at the end of the block the changes take place in `root`.

    An error in the block leaves `root` as it was, and names its files rather than those of the copy."""
    with _locked(root):
        _complete(root)
        making, copy = root / MAKING, root / MAKING / _FILES
        shutil.rmtree(making, ignore_errors=True)  # of a process that was killed
        _check_free(root)
        making.mkdir(mode=0o700)
        try:
            before = _copy(root, copy)
            yield copy
            write_updates(root, copy)
            _keep_differences(copy, before)
            making.replace(root / DECIDED)
        except FedVehicleReidError as error:
            error.args = tuple(str(part).replace(str(copy), str(root)) for part in error.args)
            raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
        _complete(root)


@contextmanager
def unchanged(root: Path) -> Iterator[None]:
    """Keep commands from changing the folder, and the federation's folder that it may lie in, whose changes are of its
    files too; a change that was cut short is completed or forgotten first.

    Raises DeploymentError for a change by another user, one at work after having waited for it."""
    with ExitStack() as stack:
        above = _federation_of(root)
        if above is not None and not os.access(above, os.W_OK, effective_ids=True):
            _wait_until_free(above, PATIENCE)
            stack.callback(_wait_until_free, above, 0)  # it cannot be locked by this user
            above = None
        for folder in (above, root):
            if folder is not None:
                stack.enter_context(_locked(folder))
                _complete(folder)
                shutil.rmtree(folder / MAKING, ignore_errors=True)
                _check_free(folder)
        yield


def complete(folder: Path) -> bool:
    """Complete a change that was cut short, in a federation's folder or in that of a party of it, and delete what an
    undecided one left; whether there was one to complete."""
    found, own = False, folder.absolute()
    for root in (own, own.parent, own.parent.parent):
        if _is_own(root / DECIDED) or _is_own(root / MAKING):
            with _locked(root):
                found |= _complete(root)
                shutil.rmtree(root / MAKING, ignore_errors=True)
    return found


def _federation_of(folder: Path) -> Path | None:
    """The federation's folder that a party's lies in, as on the authority's machine; None if it lies in none."""
    own = folder.resolve()
    root = own.parent.parent if own.parent.name == "sites" else own.parent
    try:
        return root if (root / "authority" / p.PARTY_FILE).exists() else None
    except PermissionError:  # it is another user's
        return root


def check_complete(folder: Path) -> None:
    """Raise DeploymentError while a change of a party's folder is cut short: some files are old and some new."""
    if (folder / DECIDED).is_dir():
        raise DeploymentError(
            f"{folder}: a change of its files was cut short; python -m scripts.federation verify {folder} completes it"
        )


def in_place(paths: Iterable[Path], copy: Path, root: Path) -> list[Path]:
    """Paths in the copy as they are in the federation's folder."""
    return [root / path.relative_to(copy) for path in paths]


def _locked(root: Path) -> FileLock:
    return FileLock(root / f"{DECIDED}.lock", mode=0o600)


def _copy(root: Path, copy: Path) -> dict[Path, tuple[int, str]]:
    """Copy what the parties' folders hold from `setup`, and nothing that a running party made; the relative paths, with
    the state of each."""
    copy.mkdir(mode=0o700, parents=True)
    found = [folder / name for folder in p.parties_of(root) for name in (*p.read_party(folder).files(), p.APPLIED)]
    if (root / p.PARTY_FILE).exists():
        found += [*(root / p.REPLACED).rglob("*"), *(root / "sites").glob("*")]
    else:
        (copy / "operator" / "sites").mkdir(mode=0o700, parents=True)
        found += [path for name in (UPDATES_FOLDER, FIRST_FOLDER) for path in (root / name).glob("*.tar")]
    found += (root / "authority").glob("federation-*.key")
    found += (root / "operator" / "sites").glob("*")
    found += [folder / name for folder in (root / "sites").glob("*/") for name in (p.SHARE_KEY, p.SHARE_CERTIFICATE)]
    for path in found:
        if path.is_file():
            target = copy / path.relative_to(root)
            _make_folder(target.parent)
            shutil.copy2(path, target)
    return {path.relative_to(copy): _state(path) for path in copy.rglob("*")}


def _keep_differences(copy: Path, before: Mapping[Path, tuple[int, str]]) -> None:
    """Leave in the copy what the block changed, and beside it the list of what has to go. What its owner changed in the
    folder meanwhile, a policy for example, stays as it is there."""
    gone = {path for path in before if not (copy / path).exists()}
    topmost = sorted(str(path) for path in gone if path.parent not in gone)
    write_file(copy.parent / _REMOVED, json.dumps(topmost).encode(), p.SECRET)
    for path in [path for path in copy.rglob("*") if path.is_file()]:
        if before.get(path.relative_to(copy)) == _state(path):
            path.unlink()
        else:
            sync_to_disk(path)
    for folder in (copy.parent, copy, *(path for path in copy.rglob("*") if path.is_dir())):
        sync_to_disk(folder)


def _state(path: Path) -> tuple[int, str]:
    """Mode, and of a file the SHA-256."""
    return path.stat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _complete(root: Path) -> bool:
    """Put the files of a decided change in place, if there is one. It may be repeated: it writes the same again."""
    decided = root / DECIDED
    if not _is_own(decided):
        return False
    sync_to_disk(root)
    if (root / p.REPLACED).is_dir():
        (root / p.REPLACED).chmod(0o700)  # it holds former keys, whoever opened it before
    removed = json.loads((decided / _REMOVED).read_text(encoding="utf-8"))
    require_inside(removed, decided / _REMOVED)
    files = decided / _FILES
    for source in sorted(path for path in files.rglob("*") if path.is_file()):
        target = root / source.relative_to(files)
        _make_folder(target.parent)
        write_file(target, source.read_bytes(), stat.S_IMODE(source.stat().st_mode))
    for name in removed:
        if (root / name).is_dir():
            shutil.rmtree(root / name)
        else:
            (root / name).unlink(missing_ok=True)
    shutil.rmtree(root / MAKING, ignore_errors=True)
    decided.replace(root / MAKING)  # a kill in the middle of deleting must not leave half a change to be made
    shutil.rmtree(root / MAKING)
    return True


def require_inside(names: Iterable[str], record: Path) -> None:
    """Raise DeploymentError unless all names of a record are of places in its folder: whoever wrote the record would
    choose what is deleted elsewhere."""
    for name in names:
        if not isinstance(name, str) or Path(name).is_absolute() or {"", ".", ".."} & set(name.split("/")):
            raise DeploymentError(f"{record} names {name!r}, which is no place in its folder: delete {record.parent}")


def _check_free(root: Path) -> None:
    """Raise DeploymentError for a change of another user's, which is not believed. The folder is locked, so that nobody
    is at work on it."""
    if found := _left(root):
        path, owner = found
        raise DeploymentError(
            f"{path} belongs to {owner}, whose change was cut short: as that user, python -m scripts.federation "
            f"verify {root} completes it; if nobody of yours made it, delete it"
        )


def _wait_until_free(root: Path, seconds: float) -> None:
    """Wait for a change of a folder that this user cannot lock. Raises DeploymentError if it is there afterwards."""
    end = time.monotonic() + seconds
    while found := _left(root):
        if time.monotonic() >= end:
            path, owner = found
            raise DeploymentError(
                f"{path} belongs to {owner}, whose change is at work: run this again once it has ended; if it was cut "
                f"short, as that user, python -m scripts.federation verify {root} completes it"
            )
        time.sleep(0.1)


def _left(root: Path) -> tuple[Path, str] | None:
    """A change's folder, and whom it belongs to; looked for in the order in which it is renamed, to and fro, so that
    one at work is not missed."""
    for path in (root / MAKING, root / DECIDED, root / MAKING):
        with suppress(FileNotFoundError):
            return path, called(path.lstat().st_uid)
    return None


def _is_own(folder: Path) -> bool:
    """Whether it is a folder of this user: what others leave, in /tmp for example, is not believed."""
    return folder.is_dir() and folder.lstat().st_uid == os.geteuid()


def _make_folder(folder: Path) -> None:
    for path in (*reversed(folder.parents), folder):
        if not path.is_dir():
            path.mkdir(mode=0o700)
