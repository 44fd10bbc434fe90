"""Moments as a site writes them: in its own time zone, a day as a whole day."""

import re
import zoneinfo
from datetime import UTC, datetime, timedelta, tzinfo

from app.register.errors import RegisterError

_DAY, _MINUTE = "%Y-%m-%d", "%Y-%m-%d %H:%M"
_END_OF_DAY = re.compile(r"(\d{4}-\d\d-\d\d)[T ]24:00(?::00)?", re.ASCII)
_YEARS = range(2000, 3000)


Zone = str | tzinfo
"""A time zone, or its name such as "Europe/Berlin"; "" for that of the machine."""


def local(moment: datetime, zone: Zone) -> datetime:
    """A moment in a time zone."""
    return moment.astimezone(_zone(zone))


def written(moment: datetime | None, zone: Zone) -> str | None:
    """A begin as a person reads it: day and minute."""
    return None if moment is None else local(moment, zone).strftime(_MINUTE)


def written_end(moment: datetime | None, zone: Zone) -> str | None:
    """An end as a person reads it: midnight is 24:00 of the day before, which was the last one."""
    if moment is None:
        return None
    there = local(moment, zone)
    if (there.hour, there.minute) != (0, 0):
        return there.strftime(_MINUTE)
    return (there.date() - timedelta(days=1)).strftime(_DAY) + " 24:00"


def read_moment(what: str, text: str, zone: Zone, *, is_end: bool = False) -> datetime | None:
    """The moment of a text: a day (`2026-12-24`; its end is midnight behind it), a minute of the site's time, or a
    moment with its own zone. None for an empty text. Raises RegisterError naming `what`."""
    text = text.strip()
    if not text:
        return None
    if match := _END_OF_DAY.fullmatch(text):
        text, is_end = match[1], True
    wrong = RegisterError(f"the {what} {text[:40]!r} is no day such as 2026-12-24 and no time such as 2026-12-24 14:00")
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise wrong from None
    if given.year not in _YEARS:
        raise wrong
    if len(text) <= len("2026-12-24"):
        given += timedelta(days=int(is_end))
    if given.tzinfo is None:
        its = _zone(zone)
        given = given.replace(tzinfo=its) if its else given.astimezone()
    return given.replace(second=0, microsecond=0).astimezone(UTC)  # tables and pages have minutes


def _zone(zone: Zone) -> tzinfo | None:
    if isinstance(zone, str):
        return zoneinfo.ZoneInfo(zone) if zone else None
    return zone
