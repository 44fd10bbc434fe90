"""The URL of a register's database, checked before anything is opened. No error shows a password."""

import importlib.util
import re
from collections.abc import Mapping

from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from app.core.printing import shown
from app.register.errors import RegisterError
from app.settings.nearest import did_you_mean

SETTING = "--url (or REGISTER_URL)"
_EXAMPLES = "sqlite:///register.sqlite or postgresql+psycopg://user@host:5432/name"
_SQLITE = {"sqlite": "sqlite", "sqlite+pysqlite": "sqlite"}
_POSTGRESQL = dict.fromkeys(("postgresql", "postgresql+psycopg"), "postgresql+psycopg")
_SQLITE_OPTIONS = ("timeout", "cached_statements", "uri")
_SQLITE_URI_OPTIONS = ("mode", "cache", "immutable", "nolock", "psow", "vfs")
_WHOLE = ("connect_timeout", "tcp_user_timeout", "cached_statements", "port")
_NUMBERS = ("timeout",)
_MOST = 2**31 - 1


def checked_url(text: str) -> URL:
    """The URL with the driver that is used. Raises RegisterError, naming the setting, for one that is none: another
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
    """Raise RegisterError for a host or port that is none.

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
    """Those that the installed libpq knows."""
    from psycopg.pq import Conninfo

    return tuple(option.keyword.decode() for option in Conninfo.get_defaults())


def _is_whole(text: str, least: int, most: int) -> bool:
    return re.fullmatch(r"\d{1,10}", text, re.ASCII) is not None and least <= int(text) <= most


def _wrong(problem: str) -> RegisterError:
    return RegisterError(f"{SETTING}: {problem}")
