"""Times as pages show them: in the time zone of the site and the form of the language. They are stored in UTC."""

import zoneinfo
from datetime import UTC, datetime, tzinfo

from babel import Locale
from babel.dates import LOCALTZ, format_date, format_time

from app.settings.checks import SettingsError

MACHINE: tzinfo = LOCALTZ
"""The time zone of this machine."""


def time_zone(name: str) -> tzinfo:
    """A time zone by its name, that of the machine for "". Raises SettingsError for an unknown one."""
    if not name:
        return MACHINE
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(f"{name!r} is no time zone such as Europe/Berlin") from error


def zone_name(zone: tzinfo) -> str:
    """The name of a time zone, or its offset now where the machine's has no name."""
    return getattr(zone, "key", "") or datetime.now(zone).strftime("UTC%z")


def local_time(moment: datetime, zone: tzinfo, locale: str) -> str:
    """Day, hour and minute of a moment at the site."""
    there = _aware(moment).astimezone(zone)
    joined = str(Locale.parse(locale).datetime_formats["medium"]).replace(
        "{0}", format_time(there, "short", zone, locale)
    )
    return joined.replace("{1}", format_date(there.date(), "medium", locale))


def local_day(moment: datetime | str, zone: tzinfo, locale: str) -> str:
    """The day of a moment at the site; the moment may be a text as JSON has it."""
    given = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return format_date(_aware(given).astimezone(zone).date(), "medium", locale)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
