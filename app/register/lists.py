"""Lists of a register: visitors until an end, plates and vehicles that are allowed or denied, each with a reason."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Select, delete, func, or_, select
from sqlalchemy.orm import Session

from app.register.database import Database
from app.register.errors import BusyError, FullError, RegisterError, UnavailableError
from app.register.list_tables import ListEntry
from app.register.plate_search import normal_plate
from app.register.records import get, trail
from app.register.schema import Plate, Vehicle, now
from app.register.text_search import has_wildcard
from app.register.texts import line, paragraph
from models.alphabet import plain

PAGE = 50
_CHUNK = 1000
_NOT_OF_A_ROW = (BusyError, FullError, UnavailableError)


class Kind(StrEnum):
    """Kind of a list entry."""

    visitor = "visitor"
    allow = "allow"
    deny = "deny"


class ListError(RegisterError, ValueError):
    """An entry that no list can have; the message says why."""


@dataclass(frozen=True)
class NewEntry:
    """An entry to be added; the meanings are those of `ListEntry`."""

    kind: Kind
    plate: str = ""
    vehicle: int | None = None
    reason: str = ""
    flat: str = ""
    begins: datetime | None = None
    ends: datetime | None = None


@dataclass(frozen=True)
class EntryChange:
    """New values of an entry: None leaves one as it is. `no_begin` and `no_end` take a limit away."""

    reason: str | None = None
    flat: str | None = None
    begins: datetime | None = None
    ends: datetime | None = None
    no_begin: bool = False
    no_end: bool = False


@dataclass(frozen=True)
class ChosenEntries:
    """The entries that somebody wants to see; None or "" for all.

    Args:
        current: True for those that count now or will, False for those that ended.
        text: a part of plate, reason or flat.
    """

    kind: Kind | None = None
    current: bool | None = None
    text: str = ""
    vehicle: int | None = None


class Lists:
    """The lists of a database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, entry: NewEntry, account: str) -> ListEntry:
        """Add an entry. Raises ListError, TextError, and NotEnrolledError for a vehicle that is not there."""
        with self.database.writing() as session:
            row = _add(session, entry, account)
            details = {"kind": row.kind, "vehicle": row.vehicle_id}
            trail(session, account, "add list entry", f"list entry {row.id}", details)
            return row

    def add_all(self, entries: Sequence[tuple[str, NewEntry]], account: str) -> list[int]:
        """Add entries, all or none; numbers of the new ones. One that is there in the same words is left out.

        Args:
            entries: each with its place in a table, which begins the message of an error.
        """
        numbers = list[int]()
        with self.database.writing() as session:
            for place, entry in entries:
                try:
                    if not _is_there(session, entry):
                        numbers.append(_add(session, entry, account).id)
                except _NOT_OF_A_ROW:
                    raise
                except RegisterError as error:
                    raise ListError(f"{place}: {error}") from error
            trail(session, account, "import list", "", {"entries": numbers})
        return numbers

    def change(self, number: int, change: EntryChange, account: str) -> ListEntry:
        """Change reason, flat and time of an entry. Raises as `add` does."""
        with self.database.writing() as session:
            row = get(session, ListEntry, number)
            if change.ends is not None:
                _require_future(change.ends)
            given = {name: text for name in ("reason", "flat") if (text := getattr(change, name)) is not None}
            before = {field: getattr(row, field) for field in ("reason", "flat", "begins", "ends")}
            for name, text in given.items():
                setattr(row, name, _text(name, text))
            row.begins = None if change.no_begin else change.begins or row.begins
            row.ends = None if change.no_end else change.ends or row.ends
            _require_period(row)
            _require_no_opposite(session, row)
            changed = [field for field, value in before.items() if getattr(row, field) != value]
            if changed:
                trail(session, account, "change list entry", f"list entry {number}", {"fields": changed})
            return row

    def remove(self, number: int, account: str) -> None:
        """Delete an entry. Raises NotEnrolledError."""
        with self.database.writing() as session:
            row = get(session, ListEntry, number)
            details = {"kind": row.kind, "vehicle": row.vehicle_id}
            session.delete(row)
            trail(session, account, "remove list entry", f"list entry {number}", details)

    def entry(self, number: int) -> ListEntry:
        """One entry. Raises NotEnrolledError."""
        with self.database.reading() as session:
            return get(session, ListEntry, number)

    def entries(self, chosen: ChosenEntries, before: int | None = None, limit: int = PAGE) -> list[ListEntry]:
        """Entries, newest first, from the one before number `before`."""
        query = _chosen(chosen).order_by(ListEntry.id.desc()).limit(limit)
        with self.database.reading() as session:
            return list(session.scalars(query if before is None else query.where(ListEntry.id < before)))

    def all_for_table(self, chosen: ChosenEntries, account: str) -> Iterator[ListEntry]:
        """The chosen entries, to be taken away as a table; the trail says who did."""
        with self.database.writing() as session:
            trail(session, account, "export list", "", {"kind": chosen.kind and chosen.kind.value})
        before: int | None = None
        while rows := self.entries(chosen, before, _CHUNK):
            yield from rows
            before = rows[-1].id


def forget_ended(session: Session, before: datetime) -> int:
    """Delete entries that ended before a moment; how many."""
    rows = session.scalars(select(ListEntry.id).where(ListEntry.ends < before)).all()
    for start in range(0, len(rows), _CHUNK):
        session.execute(delete(ListEntry).where(ListEntry.id.in_(rows[start : start + _CHUNK])))
    return len(rows)


def has_ended(database: Database, before: datetime) -> bool:
    """Whether `forget_ended` would delete any."""
    with database.reading() as session:
        return session.scalar(select(ListEntry.id).where(ListEntry.ends < before).limit(1)) is not None


def _chosen(chosen: ChosenEntries) -> Select[ListEntry]:
    query = select(ListEntry)
    if chosen.kind is not None:
        query = query.where(ListEntry.kind == chosen.kind.value)
    if chosen.vehicle is not None:
        query = query.where(ListEntry.vehicle_id == chosen.vehicle)
    if chosen.current is not None:
        ended = ListEntry.ends <= now()
        query = query.where(or_(ListEntry.ends.is_(None), ~ended) if chosen.current else ended)
    if text := chosen.text.strip():
        parts = (ListEntry.reason, ListEntry.flat)
        texts = [func.lower(each).contains(text.lower(), autoescape=True) for each in parts]
        texts += [each.contains(text, autoescape=True) for each in parts]  # SQLite lowers ASCII letters alone
        if plate := plain(text):
            texts.append(ListEntry.folded.contains(plate, autoescape=True))
        query = query.where(or_(*texts))
    return query


def _add(session: Session, entry: NewEntry, account: str) -> ListEntry:
    row = _row(session, entry)
    row.account = account
    _require_period(row)
    if row.ends is not None:
        _require_future(row.ends)
    _require_no_opposite(session, row)
    session.add(row)
    session.flush()
    return row


def _row(session: Session, entry: NewEntry) -> ListEntry:
    """The row of an entry. Raises ListError for one that names nothing, or two things."""
    if entry.kind not in list(Kind):
        raise ListError(f"the kind of a list entry is {', '.join(Kind)}, not {entry.kind[:40]!r}")
    plate = line("plate", entry.plate)
    if bool(plate) == (entry.vehicle is not None):
        raise ListError(f"an entry of kind {entry.kind} needs a plate, or the number of a registered vehicle, not both")
    if entry.vehicle is not None:
        get(session, Vehicle, entry.vehicle)
    elif has_wildcard(unicodedata.normalize("NFKC", plate)):
        raise ListError("a list holds whole plates, without * and ?")
    else:
        normal_plate(plate)
        if not plain(plate):
            raise ListError(f"not a plate: {plate!r}")
    texts = {"reason": _text("reason", entry.reason), "flat": _text("flat", entry.flat)}
    named = {"plate": plate or None, "folded": plain(plate) or None, "vehicle_id": entry.vehicle}
    return ListEntry(kind=Kind(entry.kind).value, **named, **texts, begins=entry.begins, ends=entry.ends)


def _text(name: str, text: str) -> str:
    return paragraph(name, text) if name == "reason" else line(name, text)


def _require_future(end: datetime) -> None:
    if end <= now():
        raise ListError("the end of the entry is in the past")


def _require_period(row: ListEntry) -> None:
    if row.kind == Kind.visitor and row.ends is None:
        raise ListError("a visitor needs an end: until when?")
    if row.begins is not None and row.ends is not None and row.ends <= row.begins:
        raise ListError("the end of the entry is not after its begin")


def _require_no_opposite(session: Session, row: ListEntry) -> None:
    """Raise ListError where the same plate or vehicle is denied and allowed at one time."""
    with session.no_autoflush:
        # The register may know whose plate it is, and the other entry names that vehicle.
        held = session.get(Plate, row.vehicle_id) if row.vehicle_id else None
        folded = row.folded or (plain(held.text) if held else None)
        vehicle = row.vehicle_id or _holder(session, row.plate or "")
        same = [ListEntry.folded == folded] if folded else []
        same += [ListEntry.vehicle_id == vehicle] if vehicle else []
        is_denied = row.kind == Kind.deny
        others = select(ListEntry).where(or_(*same), (ListEntry.kind == Kind.deny.value) != is_denied)
        other = next((each for each in session.scalars(others) if each is not row and _overlap(row, each)), None)
    if other is not None:
        raise ListError(
            f"list entry {other.id} has the kind {other.kind}: what is denied and allowed at one time helps nobody; "
            "remove that entry first, or give it an end"
        )


def _holder(session: Session, plate: str) -> int | None:
    return session.scalar(select(Plate.vehicle_id).where(Plate.normal == normal_plate(plate))) if plate else None


def _overlap(first: ListEntry, second: ListEntry) -> bool:
    def before(end: datetime | None, begin: datetime | None) -> bool:
        return end is not None and begin is not None and end <= begin

    return (
        not before(first.ends, second.begins)
        and not before(second.ends, first.begins)
        and not (_is_over(first) or _is_over(second))
    )


def _is_over(row: ListEntry) -> bool:
    return row.ends is not None and row.ends <= now()


def _is_there(session: Session, entry: NewEntry) -> bool:
    """Whether an entry is there in the same words."""
    row = _row(session, entry)
    columns = ("kind", "folded", "vehicle_id", "reason", "flat", "begins", "ends")
    same = [getattr(ListEntry, column) == getattr(row, column) for column in columns]
    return session.scalar(select(ListEntry.id).where(*same).limit(1)) is not None
