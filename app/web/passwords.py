"""Pool for the hashing of passwords: strangers who log in wait for one another, and nobody else waits."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from app.core.limits import usable_cpus
from app.register.errors import BusyError

_AT_ONCE = max(1, min(2, usable_cpus() // 4))  # each takes 64 MiB and up to four processors
_MOST_WAITING = 32
_MOST_WAITING_OF_ONE = 8  # somebody else still gets into the queue
P = ParamSpec("P")
T = TypeVar("T")


class PasswordPool:
    """Work with passwords, some of it at once and a bounded number in the queue."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_AT_ONCE, "passwords")
        self._waiting: Counter[str] = Counter()

    async def run(self, whose: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it in its turn. Raises BusyError if too many wait already, of all or of one.

        Args:
            whose: the address of the request.
        """
        if self._waiting.total() >= _MOST_WAITING or self._waiting[whose] >= _MOST_WAITING_OF_ONE:
            raise BusyError("too many log-ins are waiting; try again in a moment")
        self._waiting[whose] += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))
        future.add_done_callback(lambda _: self._done(whose))  # also where nobody waits for it any more
        return await asyncio.shield(future)

    @property
    def waiting(self) -> int:
        """Work under way or waiting."""
        return self._waiting.total()

    def close(self) -> None:
        """End what is under way."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _done(self, whose: str) -> None:
        self._waiting[whose] -= 1
        if self._waiting[whose] <= 0:
            del self._waiting[whose]
