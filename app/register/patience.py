"""Connections to PostgreSQL that do not wait without end for a server that is there and does not answer.

libpq's own limits are for networks: a server whose processes are stopped still acknowledges packets, and a statement
would wait for ever. A limit of the server's (`statement_timeout`) would be kept by the processes that are stopped.
"""

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, event

if TYPE_CHECKING:
    from psycopg import Connection

T = TypeVar("T")
_QUIET_SECONDS = 5.0


def limit_waiting(engine: Engine, seconds: float) -> None:
    """Let connections of an engine raise OperationalError, and close, where the server sends nothing for so long while
    a statement is under way. For some seconds afterwards no new connection is tried: those who wait in a row would each
    wait anew.

    Args:
        seconds: 0 waits without end.
    """
    import psycopg
    from psycopg.errors import ConnectionTimeout

    silent = -_QUIET_SECONDS  # when the server was last found silent

    def note() -> None:
        nonlocal silent
        silent = time.monotonic()

    class PatientConnection(psycopg.Connection[Any]):
        """A connection whose waiting ends."""

        def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().wait(_limited(gen, self, seconds), *args, **kwargs)
            except _SilentServerError as error:
                note()
                raise psycopg.OperationalError(str(error)) from error

    @event.listens_for(engine, "do_connect")
    def connect(_: Any, __: Any, args: Any, params: Any) -> "Connection[Any]":
        if time.monotonic() - silent < _QUIET_SECONDS:
            raise psycopg.OperationalError("the server did not answer a moment ago")
        try:
            return PatientConnection.connect(*args, **params) if seconds else psycopg.connect(*args, **params)
        except ConnectionTimeout:
            note()
            raise


class _SilentServerError(Exception):
    """The server sent nothing in time; the connection was closed."""


def _limited(gen: Generator[Any, Any, T], connection: "Connection[Any]", seconds: float) -> Generator[Any, Any, T]:
    """The generator of psycopg, which is sent 0 a few times a second while nothing comes."""
    heard = time.monotonic()
    try:
        state = next(gen)
        while True:
            ready = yield state
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard > seconds:
                gen.close()
                connection.pgconn.finish()
                raise _SilentServerError(f"the server sent nothing for {seconds:g} seconds")
            state = gen.send(ready)
    except StopIteration as ended:
        found: T = ended.value
        return found
