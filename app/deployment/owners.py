"""Owners of folders and files: by name, as their numbers differ between machines, and root writing as one of them."""

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.deployment.parties import DeploymentError

_MOST_LINKS = 40  # as Linux


def names_of(about: os.stat_result) -> tuple[str, str]:
    """User and group of a file; the number of one that has no name."""
    return _user_name(about.st_uid), _named(lambda: grp.getgrgid(about.st_gid).gr_name, about.st_gid)


def called(number: int) -> str:
    """A user by name, in words by number without one."""
    name = _user_name(number)
    return f"the user {name}" if name.isdecimal() else name


def numbers_of(user: str, group: str) -> tuple[int, int] | None:
    """Numbers of user and group on this machine; None if it does not know one of them."""
    with suppress(KeyError, ValueError, OverflowError):
        uid = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
        gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        return uid, gid
    return None


def give(path: Path, user: str, group: str) -> set[str]:
    """Give a file to its owner, where root does that and this machine knows the owner; else whose it was."""
    numbers = numbers_of(user, group)
    if os.geteuid() == 0 and numbers is not None:
        os.chown(path, *numbers, follow_symlinks=False)
    return set() if names_of(path.lstat())[0] == user else {user}


@contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """Write as the user whom a folder belongs to, who is the service's: root becomes that user meanwhile.

    Raises DeploymentError for any other user, if there is no such folder, and for a folder of root's on a path that
    another user can change: that user would choose where root writes."""
    if not folder.is_dir():
        raise DeploymentError(f"{folder} is no folder")
    owner, own = folder.stat(), (os.geteuid(), os.getegid())
    if owner.st_uid == own[0]:
        if own[0] == 0:
            require_roots_path(folder)
        yield
        return
    if own[0] != 0:
        raise DeploymentError(f"{folder} belongs to {called(owner.st_uid)}: run this as that user, or as root")
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(own[0])
        os.setegid(own[1])
        os.setgroups(groups)


def require_roots_path(folder: Path) -> None:
    """Raise DeploymentError unless root alone can change where a path leads, through each link of it."""
    for child, parent in _steps(folder):
        found = parent.stat()
        by_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        sticky = found.st_mode & stat.S_ISVTX and child.lstat().st_uid == 0  # as /tmp: others cannot rename it
        if found.st_uid != 0 or (by_others and not sticky):
            raise DeploymentError(
                f"{folder} belongs to root, and another user can change {parent}: give the folder to the service's "
                "user, or make that one root's alone"
            )


def _steps(path: Path) -> Iterator[tuple[Path, Path]]:
    """Each name that the system looks up on the way to a path, and the folder, without links, where it does."""
    left, here, links = list(reversed(path.absolute().parts[1:])), Path("/"), 0
    while left:
        name = left.pop()
        child = here.parent if name == ".." else here / name
        if name != "..":
            yield child, here
        if child.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise DeploymentError(f"{path} leads through more than {_MOST_LINKS} links")
            target = child.readlink()
            here = Path("/") if target.is_absolute() else here
            left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        else:
            here = child


def _user_name(number: int) -> str:
    return _named(lambda: pwd.getpwuid(number).pw_name, number)


def _named(read: Callable[[], str], number: int) -> str:
    with suppress(KeyError):
        return read()
    return str(number)
