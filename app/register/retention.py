"""Retention of sightings: after a number of days, set in the register, the service deletes them by itself."""

import logging
import threading
from datetime import timedelta

from app.register.database import Database
from app.register.errors import RegisterError
from app.register.folder import RegisterFolder
from app.register.lists import forget_ended, has_ended
from app.register.records import trail
from app.register.schema import Setting, now
from models.errors import FedVehicleReidError

MOST_DAYS = 36_500  # a hundred years; dates end a while later
_DAYS = "retention_days"
_AT_ONCE = 1000  # sightings, with their answers in memory
_ACCOUNT = "(retention)"
_FIRST, _PAUSE = 60.0, 3600.0  # seconds: after the start of the service, and between two looks
_log = logging.getLogger(__name__)


def retention_days(database: Database) -> int | None:
    """Days for which sightings are kept; None for ever."""
    with database.reading() as session:
        kept = session.get(Setting, _DAYS)
    if kept is None:
        return None
    if not (kept.value.isascii() and kept.value.isdecimal() and 1 <= int(kept.value[:9]) <= MOST_DAYS):
        raise RegisterError(f"the register is damaged: sightings are kept for {kept.value[:40]!r} days")
    return int(kept.value)


def set_retention_days(database: Database, days: int | None, account: str) -> None:
    """Keep sightings for a number of days from now on; None for ever. Raises RegisterError for another number."""
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise RegisterError(f"sightings are kept for 1 to {MOST_DAYS:,} days, or for ever; got {days}")
    with database.writing() as session:
        kept = session.get(Setting, _DAYS)
        if days is not None:
            session.merge(Setting(name=_DAYS, value=str(days)))
        elif kept is not None:
            session.delete(kept)
        trail(session, account, "set retention", "", {"days": days})


def forget_old_sightings(held: RegisterFolder, days: int, account: str) -> tuple[int, bool]:
    """Delete sightings older than a number of days that led to no report, with their images, and entries of the lists
    that ended before; the number of images, and whether the rows are gone from the database's files as well.

    A thousand go at a time, so that queries wait for none of it. Images that a killed process left are deleted when the
    service starts."""
    before, count = now() - timedelta(days=days), 0
    if has_ended(held.database, before):
        with held.database.writing() as session:
            trail(session, account, "forget list entries", "", {"entries": forget_ended(session, before)})
    while True:
        names = held.journal.forget_sightings(before, account, _AT_ONCE)
        overwritten = held.database.forget_traces()
        held.photos.drop(names)
        count += len(names)
        if not held.journal.has_sightings(before):
            return count, overwritten


class Retention:
    """A thread beside the service that deletes old sightings each hour, until `stop`."""

    def __init__(self, held: RegisterFolder) -> None:
        self._held = held
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stopped.set()
        self._thread.join()

    def once(self) -> None:
        """Delete what is too old now."""
        days = retention_days(self._held.database)
        if days is None:
            return
        before = now() - timedelta(days=days)
        if self._held.journal.has_sightings(before) or has_ended(self._held.database, before):
            forget_old_sightings(self._held, days, _ACCOUNT)

    def _run(self) -> None:
        pause = _FIRST
        while not self._stopped.wait(pause):
            pause = _PAUSE
            try:
                self.once()
            except (FedVehicleReidError, OSError) as error:  # the database is away, or busy: later
                _log.error("old sightings were not deleted: %s", error)
