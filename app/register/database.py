"""The database behind a register: a SQLite file, or PostgreSQL with pgvector by its URL.

The URL is checked before anything is opened. No error shows a password.
"""

import contextlib
import importlib.util
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.orm import Session

from app.core.printing import shown
from app.register import upgrades
from app.register.errors import (
    BusyError,
    DatabaseAwayError,
    FullError,
    RegisterError,
    UnavailableError,
    UncertainError,
)
from app.register.patience import limit_waiting
from app.settings.nearest import did_you_mean

SETTING = "--url (or REGISTER_URL)"
_EXAMPLES = "sqlite:///register.sqlite or postgresql+psycopg://user@host:5432/name"
_SQLITE = {"sqlite": "sqlite", "sqlite+pysqlite": "sqlite"}
_POSTGRESQL = dict.fromkeys(("postgresql", "postgresql+psycopg"), "postgresql+psycopg")
_SQLITE_OPTIONS = ("timeout", "cached_statements", "uri")
_SQLITE_URI_OPTIONS = ("mode", "cache", "immutable", "nolock", "psow", "vfs")
_ANSWER = "answer_timeout"  # of this project, not of libpq
_ANSWER_SECONDS = 30  # beyond the wait for another writer's turn, which the server itself ends
_WHOLE = (_ANSWER, "connect_timeout", "tcp_user_timeout", "cached_statements", "port")
_NUMBERS = ("timeout",)
_MOST = 2**31 - 1
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


def checked_url(text: str) -> URL:
    """The URL with the driver that is used. Raises RegisterError, naming the setting, for an invalid one: another
    database, a wrong port, an IPv6 address without brackets, an option that is unknown or has no such value, a driver
    that is not installed."""
    kind = text.partition("://")[0]
    driver = (_SQLITE | _POSTGRESQL).get(kind)
    if "://" not in text or driver is None:
        named = f"{kind!r}" if "://" in text and re.fullmatch(r"[\w+.-]{1,40}", kind) else "what is given"
        raise _wrong(f"{named} names no database of a register: give {_EXAMPLES}")
    place, _, options = text.partition("://")[2].partition("?")
    if driver != "sqlite":
        _require_place(place, has_at_behind="@" in options)
    elif place and not place.startswith("/"):
        raise _wrong("a SQLite file stands behind three slashes (four for an absolute path): give sqlite:///FILE")
    try:
        url = make_url(text).set(drivername=driver)
    except (SQLAlchemyError, ValueError) as error:  # its message may hold a part of the password
        raise _wrong(f"is no URL of a database: give {_EXAMPLES}") from error
    if driver == "sqlite":
        of_uri = _SQLITE_URI_OPTIONS if url.query.get("uri") == "true" else ()
        _require_options(url.query, _SQLITE_OPTIONS + of_uri)
        return url
    for package in ("psycopg", "pgvector"):
        if importlib.util.find_spec(package) is None:
            remedy = "pip install 'fed-vehicle-reid[postgresql]'"
            raise _wrong(f"PostgreSQL needs the package {package}, which is not installed: {remedy}")
    _require_options(url.query, _postgresql_options())
    return url


def _require_place(place: str, *, has_at_behind: bool) -> None:
    """Raise RegisterError for an invalid host or port.

    Args:
        place: what stands between `://` and `?`.
        has_at_behind: whether there is an @ behind the `?`: the host may be the beginning of a password then.
    """
    host = place.split("/")[0]
    unclear = has_at_behind and "@" not in host and ":" in host
    if unclear or "@" in place.partition("/")[2] or host.count("@") > 1:
        raise _wrong("in a user or a password write %2F for /, %3F for ? and %40 for @")
    host = host.rpartition("@")[2]
    if host.startswith("["):
        address, bracket, rest = host.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _wrong(f"the IPv6 address {address[1:]!r} has no closing bracket: write [{address[1:]}]:5432")
        port = rest[1:] if rest else None
    elif host.count(":") > 1:
        raise _wrong(f"{host!r} is no host and port; an IPv6 address stands in brackets, as in [::1]:5432")
    else:
        _, colon, port = host.partition(":")
        port = port if colon else None
    if port is not None and not _is_whole(port, 1, 65535):
        raise _wrong(f"the port {port!r} is no number from 1 to 65535")


def _require_options(given: Mapping[str, str | tuple[str, ...]], known: tuple[str, ...]) -> None:
    for name, value in given.items():
        if name not in known:
            raise _wrong(f"unknown option {shown(name[:80])!r}{did_you_mean(name, known)}")
        if not isinstance(value, str):
            if name not in ("host", "port"):  # several servers, of which one answers
                raise _wrong(f"the option {name} is given twice")
            continue
        is_whole = name in _WHOLE or name.startswith("keepalives")
        if is_whole and not all(_is_whole(each, 0, _MOST) for each in value.split(",")):
            raise _wrong(f"the option {name} takes a whole number, not {shown(value[:80])!r}")
        if name in _NUMBERS and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.ASCII) is None:
            raise _wrong(f"the option {name} takes seconds, not {shown(value[:80])!r}")
        if name == "uri" and value not in ("true", "false"):
            raise _wrong(f"the option uri takes true or false, not {shown(value[:80])!r}")


def _postgresql_options() -> tuple[str, ...]:
    """Options that the installed libpq knows."""
    from psycopg.pq import Conninfo

    return (_ANSWER, *(option.keyword.decode() for option in Conninfo.get_defaults()))


def _is_whole(text: str, least: int, most: int) -> bool:
    return re.fullmatch(r"\d{1,10}", text, re.ASCII) is not None and least <= int(text) <= most


def _wrong(problem: str) -> RegisterError:
    return RegisterError(f"{SETTING}: {problem}")


class Database:
    """Sessions on one database; tables are created if there are none, and upgraded if they are of an older version.

    SQLite runs with a write-ahead log that is synced at each commit: an acknowledged write survives a power cut.

    Args:
        url: of SQLAlchemy, such as sqlite:///register.sqlite or postgresql+psycopg://user@host/name.

    Raises RegisterError for an invalid URL, and for a database that cannot be reached or has tables of a newer
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
                with self._clear_errors(), self.engine.begin() as connection:
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
        with self._clear_errors(), Session(self.engine, expire_on_commit=False) as session:
            if not self.is_sqlite:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose work is kept as a whole when the block ends, or not at all if it raises.

        Writers take turns. Raises BusyError if the turn does not come in time, and UncertainError if the database went
        away during the commit."""
        with self._clear_errors(), Session(self.engine, expire_on_commit=False) as session:
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
            with self._clear_errors(), self.engine.connect() as connection:
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
    def _clear_errors(self) -> Iterator[None]:
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
    seconds = float(str(url.query.get(_ANSWER, _ANSWER_SECONDS)))
    engine = create_engine(url.difference_update_query([_ANSWER]), connect_args=given, hide_parameters=True, **options)
    limit_waiting(engine, seconds)
    return engine


def _address(url: URL) -> str:
    """Host, port and name of a database, without user and password."""
    host, port = url.query.get("host", url.host or "localhost"), url.query.get("port", str(url.port or 5432))
    hosts, ports = (part if isinstance(part, str) else ",".join(part) for part in (host, port))
    return shown(f"{hosts}:{ports}/{url.database or ''}")


def _reason(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return " ".join(line.strip(" -") for line in lines) if lines[0].endswith(":") else lines[0]
