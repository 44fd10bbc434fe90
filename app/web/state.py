"""State that the requests of one service share."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar
from weakref import WeakValueDictionary

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool

from app.register.accounts import Accounts
from app.register.delivery import Delivery
from app.register.errors import BusyError, DatabaseAwayError, RegisterError
from app.register.folder import hold_alone
from app.register.identification import Identification
from app.register.retention import Retention
from app.register.tokens import Tokens
from app.register.warming import Warming
from app.web.figures import FiguresRenewal
from app.web.passwords import PasswordPool
from app.web.times import MACHINE

_log = logging.getLogger(__name__)
_MOST_WAITING = 64
_AT_ONCE = 4  # more would only delay one another
_LOG_SECONDS = 60.0  # between two lines about one outage
P = ParamSpec("P")
T = TypeVar("T")


class Observer(Protocol):
    """Somebody who counts what the service does."""

    def request(self, operation: str, status: int, seconds: float) -> None:
        """A request was answered."""

    def query(self, decision: str) -> None:
        """A vehicle was identified."""

    def close(self) -> None:
        """End the counting."""


class State:
    """A register and its accounts, for many requests at once.

    The network serves one request at a time, as it uses all processors for each. A few requests that need it are under
    way at once: while one is embedded, photos of others are decoded and written. Passwords have a pool of their own.
    Everything else runs beside them.

    Args:
        identification: the register.
        run: folder of a federation's run, whose curves are shown; None for none.
        secure: whether browsers reach it by TLS alone.
        zone: the time zone of the site; None for that of the machine.

    Raises RegisterError if another service uses the register's folder."""

    def __init__(
        self,
        identification: Identification,
        run: Path | None = None,
        *,
        secure: bool = False,
        zone: tzinfo | None = None,
    ) -> None:
        self.identification = identification
        self.run = run
        self.secure = secure
        self.observer: Observer | None = None
        self.zone = zone or MACHINE
        self._waiting = 0
        self._turns: WeakValueDictionary[tuple[str, ...], asyncio.Lock] = WeakValueDictionary()
        self._warming: Warming | None = None
        self._delivery: Delivery | None = None
        self._retention: Retention | None = None
        self._logged = -_LOG_SECONDS
        self.accounts = Accounts(identification.database)
        self.tokens = Tokens(identification.database)
        self.passwords = PasswordPool()
        self._network = ThreadPoolExecutor(_AT_ONCE, "network")
        self.figures = FiguresRenewal(identification)
        self._lock = hold_alone(identification.folder)

    def warm(self) -> None:
        """Find densities around embeddings, and delete old sightings, beside the service from now on."""
        self._warming = self._warming or Warming(self.identification)
        self._retention = self._retention or Retention(self.identification)

    def deliver(self) -> None:
        """Deliver events beside the service from now on. Raises EventsFileError, MissingPackageError."""
        self._delivery = self._delivery or Delivery(self.identification.outbox, self.identification.folder)

    def close(self) -> None:
        """End what is under way and let the register go."""
        if self.observer is not None:
            self.observer.close()
        if self._warming is not None:
            self._warming.stop()
        if self._delivery is not None:
            self._delivery.stop()
        if self._retention is not None:
            self._retention.stop()
        self._network.shutdown(wait=True, cancel_futures=True)
        self.figures.close()
        self.passwords.close()
        self.identification.close()
        self._lock.release()

    async def aside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work that waits for the database beside other requests."""
        return await run_in_threadpool(work, *args, **kwargs)

    async def with_network(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work with photos or the network, in turn. Raises BusyError if too many requests wait already."""
        if self._waiting >= _MOST_WAITING:
            raise BusyError("too many identifications are waiting; try again in a moment")
        self._waiting += 1
        try:
            call = partial(work, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(self._network, call)
        finally:
            self._waiting -= 1

    def note_query(self, decision: str) -> None:
        """Tell the observer, if there is one, that a vehicle was identified."""
        if self.observer is not None:
            self.observer.query(decision)

    @property
    def waiting(self) -> int:
        """Requests that use the network or wait for it."""
        return self._waiting

    def turn(self, *whose: str) -> asyncio.Lock:
        """The lock under which requests of one kind are done one after the other."""
        return self._turns.setdefault(whose, asyncio.Lock())

    def told(self, error: Exception) -> str:
        """What a client reads of an error; an outage of the database is logged, with its address, once a minute."""
        if isinstance(error, DatabaseAwayError) and time.monotonic() - self._logged >= _LOG_SECONDS:
            self._logged = time.monotonic()
            _log.error("%s", error)
        return error.told if isinstance(error, RegisterError) else str(error)


def state_of(request: Request) -> State:
    """The state of the service that a request came to."""
    state: Any = request.app.state.register
    if not isinstance(state, State):
        raise HTTPException(503, "the register is not open")
    return state
