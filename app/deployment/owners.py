"""Owners of files by name, as their numbers differ between machines."""

import grp
import os
import pwd
from collections.abc import Callable
from contextlib import suppress


def names_of(about: os.stat_result) -> tuple[str, str]:
    """User and group of a file; the number of one that has no name."""
    return user_name(about.st_uid), _named(lambda: grp.getgrgid(about.st_gid).gr_name, about.st_gid)


def user_name(number: int) -> str:
    """The name of a user, or its number without one."""
    return _named(lambda: pwd.getpwuid(number).pw_name, number)


def numbers_of(user: str, group: str) -> tuple[int, int] | None:
    """Numbers of user and group on this machine; None if it does not know one of them."""
    with suppress(KeyError, ValueError, OverflowError):
        uid = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
        gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        return uid, gid
    return None


def _named(read: Callable[[], str], number: int) -> str:
    with suppress(KeyError):
        return read()
    return str(number)
