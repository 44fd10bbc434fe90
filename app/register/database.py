"""The database behind a register: a SQLite file, or PostgreSQL with pgvector by its URL."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.orm import Session

from app.core.printing import shown
from app.register import upgrades
from app.register.database_url import SETTING, checked_url
from app.register.errors import (
    BusyError,
    DatabaseAwayError,
    FullError,
    RegisterError,
    UnavailableError,
    UncertainError,
)

_PATIENCE_SECONDS = 10.0
_TRIES, _PAUSE_SECONDS = 20, 0.25
# Of libpq: a machine that vanished is noticed within a quarter of a minute, not after two hours.
_CONNECTION = {
    "connect_timeout": int(_PATIENCE_SECONDS),
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": int(_PATIENCE_SECONDS) * 1000,
}


class Database:
    """Sessions on one database; tables are made if there are none, and upgraded if they are of an older version.

    SQLite runs with a write-ahead log that is synced at each commit: what was acknowledged is there after a power cut.

    Args:
        url: of SQLAlchemy, such as sqlite:///register.sqlite or postgresql+psycopg://user@host/name.

    Raises RegisterError for a URL that is none, and for a database that cannot be reached or has tables of a newer
    version."""

    def __init__(self, url: str | URL) -> None:
        checked = checked_url(url) if isinstance(url, str) else url
        self.is_sqlite = checked.get_backend_name() == "sqlite"
        self._place = "" if self.is_sqlite else f"'s database at {_address(checked)}"
        try:
            self.engine = _sqlite(checked) if self.is_sqlite else _postgresql(checked)
        except ImportError as error:
            raise RegisterError(f"the register{self._place} cannot be used: {_reason(error)}") from error
        try:
            if not self.is_sqlite:
                with self._said_clearly(), self.engine.begin() as connection:
                    connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
            self._make_tables()
        except BaseException:
            self.close()
            raise

    def _make_tables(self) -> None:
        with self.writing() as session:
            upgrades.bring_up_to_date(session.connection())

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the register throughout, and writes nothing."""
        with self._said_clearly(), Session(self.engine, expire_on_commit=False) as session:
            if not self.is_sqlite:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose work is kept as a whole when the block ends, or not at all if it raises.

        Writers take turns. Raises BusyError if the turn does not come in time, and UncertainError if the database went
        away during the commit."""
        with self._said_clearly(), Session(self.engine, expire_on_commit=False) as session:
            options: dict[str, Any] = {"writing": True}
            session.connection(execution_options=options)
            if not self.is_sqlite:
                session.execute(text(f"SET LOCAL lock_timeout = '{int(_PATIENCE_SECONDS)}s'"))
                session.execute(text("SELECT pg_advisory_xact_lock(hashtext('fed-vehicle-reid register'))"))
            yield session
            session.flush()
            try:
                session.commit()
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                raise UncertainError(f"{self._away(error)}; the last change may have been kept") from error

    def forget_traces(self) -> bool:
        """Take deleted rows out of the write-ahead log as well; SQLite overwrites those in the file at once.

        False if a reader kept it from that for longer than a few seconds: the log goes with later writes."""
        if not self.is_sqlite:
            return False
        for _ in range(_TRIES):
            with self._said_clearly(), self.engine.connect() as connection:
                connection.exec_driver_sql("COMMIT")
                busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
            if not busy:
                return True
            time.sleep(_PAUSE_SECONDS)
        return False

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextlib.contextmanager
    def _said_clearly(self) -> Iterator[None]:
        try:
            yield
        except NoConnectionError as error:
            raise BusyError("too many requests wait for the database; nothing was changed, try again") from error
        except SQLAlchemyError as error:
            reason = _reason(error)
            if "locked" in reason or "lock timeout" in reason:
                raise BusyError("another process is writing to the register; nothing was changed, try again") from error
            if "disk is full" in reason or "No space left" in reason:
                raise FullError("the disk is full; nothing was changed") from error
            if not self.is_sqlite and isinstance(error, OperationalError | InterfaceError):
                raise DatabaseAwayError(self._away(error)) from error
            if isinstance(error, ProgrammingError):
                raise UnavailableError(f"the register has other tables: {reason}") from error
            raise UnavailableError(f"the register cannot be used: {reason}") from error

    def _away(self, error: Exception) -> str:
        remedy = f"see that PostgreSQL runs there and that {SETTING} is right"
        return f"the register{self._place} cannot be used: {_reason(error)}; {remedy}"


def _sqlite(url: URL) -> Engine:
    # isolation_level None: the driver begins no transaction of its own
    patience = float(str(url.query.get("timeout", _PATIENCE_SECONDS)))
    connect = {"timeout": patience, "isolation_level": None}
    engine = create_engine(url, connect_args=connect, hide_parameters=True)  # names and plates stay out of logs

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later would be refused instead of waiting for its turn.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writing") else "BEGIN")

    return engine


def _postgresql(url: URL) -> Engine:
    # A server that does not answer holds up a thread otherwise.
    given = {name: value for name, value in _CONNECTION.items() if name not in url.query}
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_timeout": _PATIENCE_SECONDS}
    return create_engine(url, connect_args=given, hide_parameters=True, **options)


def _address(url: URL) -> str:
    """Host, port and name of a database, without user and password."""
    host, port = url.query.get("host", url.host or "localhost"), url.query.get("port", str(url.port or 5432))
    hosts, ports = (part if isinstance(part, str) else ",".join(part) for part in (host, port))
    return shown(f"{hosts}:{ports}/{url.database or ''}")


def _reason(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return " ".join(line.strip(" -") for line in lines) if lines[0].endswith(":") else lines[0]
