"""Failed log-ins within a window of time: of a name from an address, of a name, and of an address."""

import ipaddress
import math
import threading
import time
from collections import deque
from collections.abc import Hashable

from app.register.errors import RegisterError

WINDOW_SECONDS = 300.0
MOST = (5, 50, 30)  # of a name from an address, of a name, of an address, which a site's guards may share
_IPV6_SITE = 64  # bits: whoever has one address of such a network has all of them


class TooManyTriesError(RegisterError):
    """Log-ins failed too often; later ones are refused for a while."""


class Tries:
    """Counts of log-ins by three kinds of keys, each kind in a table of its own.

    A name may say anything, also what looks like an address or like another kind of key: no name counts as one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: tuple[dict[Hashable, deque[float]], ...] = tuple({} for _ in MOST)

    def count(self, name: str, address: str) -> None:
        """Count a try before the password is checked, so that simultaneous tries count. Raises TooManyTriesError."""
        moment = time.monotonic()
        keys = _keys(name, address)
        with self._lock:
            self._drop_before(moment - WINDOW_SECONDS)
            full = [
                tries[-most]
                for table, key, most in zip(self._tables, keys, MOST, strict=True)
                if len(tries := table.get(key, deque())) >= most
            ]
            if full:
                error = TooManyTriesError("too many log-ins failed; try again in some minutes")
                error.retry_after = max(1, math.ceil(max(full) + WINDOW_SECONDS - moment))
                raise error
            for table, key in zip(self._tables, keys, strict=True):
                table.setdefault(key, deque()).append(moment)

    def uncount(self, name: str, address: str) -> None:
        """Take the last try out again: the log-in succeeded."""
        with self._lock:
            for table, key in zip(self._tables, _keys(name, address), strict=True):
                if tries := table.get(key):
                    tries.pop()

    def _drop_before(self, since: float) -> None:
        for table in self._tables:
            for key, tries in list(table.items()):
                while tries and tries[0] < since:
                    tries.popleft()
                if not tries:
                    del table[key]


def site_of(address: str) -> str:
    """Address by which tries are counted: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), _IPV6_SITE), strict=False))


def _keys(name: str, address: str) -> tuple[Hashable, ...]:
    site = site_of(address)
    return (name, site), name, site
