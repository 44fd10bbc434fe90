"""Lists in the API: visitors until an end, plates and vehicles that are allowed or denied."""

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, HTTPException, Query, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field

from app.data.readers.errors import DataSetError
from app.register.list_files import read_entries, write_entries
from app.register.list_tables import ListEntry
from app.register.lists import PAGE, ChosenEntries, EntryChange, Kind, ListError, NewEntry
from app.register.schema import now
from app.register.site_time import Zone, read_moment, written, written_end
from app.web.api import Id, Service
from app.web.bodies import Given, Line, Number, Text
from app.web.refusals import REFUSED
from app.web.security import Guard, Manager
from app.web.sightings import Before, Limit, OfVehicle, blank, table_answer
from app.web.state import State

router = APIRouter(prefix="/api", responses=REFUSED)
_MOST_BYTES = 4 * 2**20
_WHEN = "A day as 2026-12-24, a minute of the site's time as 2026-12-24 14:00, or a moment with its own zone."
OfKind = Annotated[Kind | None, BeforeValidator(blank), Query(description="visitor, allow or deny.")]
Ended = Annotated[bool | None, BeforeValidator(blank), Query(description="Those that ended alone, or the others.")]
OfText = Annotated[Line, Query(description="A part of plate, reason or flat.")]


class ChosenOfLists:
    """Filters of the lists."""

    def __init__(self, kind: OfKind = None, ended: Ended = None, vehicle: OfVehicle = None, q: OfText = "") -> None:
        self.chosen = ChosenEntries(kind, None if ended is None else not ended, q, vehicle)


OfLists = Annotated[ChosenOfLists, Depends()]


class NewListEntry(Given):
    """An entry about a plate, or about a registered vehicle."""

    kind: Annotated[str, Field(pattern=f"^({'|'.join(Kind)})$")]
    plate: Line = Field("", description="All of it; blanks, hyphens, accents and capitals do not count.")
    vehicle: Number | None = None
    reason: Text = Field("", description="Guards see it.")
    flat: Line = Field("", description="Where a visitor goes.")
    begin: Line = Field("", description=_WHEN)
    end: Line = Field("", description=f"{_WHEN} A day counts to its end. A visitor needs one.")


class ListEntryChange(Given):
    """New values of an entry. A field that is left out, or null, stays as it is; "" takes a value away."""

    reason: Text | None = None
    flat: Line | None = None
    begin: Line | None = Field(None, description=_WHEN)
    end: Line | None = Field(None, description=_WHEN)


class ListEntryAnswer(BaseModel):
    """An entry of the lists."""

    id: int
    kind: str
    plate: str | None
    vehicle: int | None
    reason: str
    flat: str
    begins: datetime | None
    ends: datetime | None
    since: str | None = Field(description="Its begin in the site's time.")
    until: str | None = Field(description="Its end in the site's time; 24:00 is the end of a day.")
    ended: bool
    account: str = Field(description="Who added it.")
    created: datetime

    @classmethod
    def of(cls, row: ListEntry, zone: Zone) -> "ListEntryAnswer":
        about: dict[str, Any] = {name: getattr(row, name) for name in cls.model_fields if hasattr(row, name)}
        about |= {"since": written(row.begins, zone), "until": written_end(row.ends, zone)}
        return cls(**about, vehicle=row.vehicle_id, ended=row.ends is not None and row.ends <= now())


class ListImportAnswer(BaseModel):
    """Entries of a table that was read."""

    rows: int
    added: list[int]
    skipped: int = Field(description="Rows that were there in the same words.")


@router.get("/lists")
async def entries(
    user: Guard, service: Service, filters: OfLists, before: Before = None, limit: Limit = PAGE
) -> list[ListEntryAnswer]:
    """List the entries, newest first."""
    del user
    zone = service.zone
    rows = await service.aside(service.identification.lists.entries, filters.chosen, before, limit)
    return [ListEntryAnswer.of(row, zone) for row in rows]


@router.get("/lists.csv", response_class=StreamingResponse)
async def entries_table(user: Manager, service: Service, filters: OfLists) -> StreamingResponse:
    """The same list as a table in UTF-8; the trail says who took it away."""
    rows = service.identification.lists.all_for_table(filters.chosen, user.name)
    return await table_answer(service, "lists", write_entries(rows, service.zone))


@router.post("/lists", status_code=201)
async def add_entry(user: Manager, service: Service, given: NewListEntry) -> ListEntryAnswer:
    """Add an entry. One plate is not denied and allowed at one time."""
    zone = service.zone
    about = (Kind(given.kind), given.plate, given.vehicle, given.reason, given.flat)
    entry = NewEntry(*about, _moment("begin", given.begin, zone), _moment("end", given.end, zone))
    return ListEntryAnswer.of(await service.aside(service.identification.lists.add, entry, user.name), zone)


@router.post("/lists/import")
async def import_entries(
    user: Manager, service: Service, table: Annotated[list[UploadFile], File(description="One file: CSV in UTF-8.")]
) -> ListImportAnswer:
    """Add the entries of a table, all of them or none; those that are there in the same words are left out."""
    if len(table) != 1:
        raise ListError("give one table")
    content = await table[0].read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise HTTPException(413, f"the table is over {_MOST_BYTES // 2**20} MiB")
    return await service.aside(_import, service, content, user.name)


@router.get("/lists/{entry}")
async def one_entry(user: Guard, service: Service, entry: Id) -> ListEntryAnswer:
    """One entry."""
    del user
    row = await service.aside(service.identification.lists.entry, entry)
    return ListEntryAnswer.of(row, service.zone)


@router.patch("/lists/{entry}")
async def change_entry(user: Manager, service: Service, entry: Id, given: ListEntryChange) -> ListEntryAnswer:
    """Change reason, flat and time of an entry."""
    zone = service.zone
    times = _moment("begin", given.begin or "", zone), _moment("end", given.end or "", zone)
    change = EntryChange(given.reason, given.flat, *times, given.begin == "", given.end == "")
    row = await service.aside(service.identification.lists.change, entry, change, user.name)
    return ListEntryAnswer.of(row, zone)


@router.delete("/lists/{entry}")
async def remove_entry(user: Manager, service: Service, entry: Id) -> dict[str, int]:
    """Delete an entry."""
    await service.aside(service.identification.lists.remove, entry, user.name)
    return {"removed": entry}


def _moment(what: str, text: str, zone: Zone) -> datetime | None:
    return read_moment(what, text, zone, is_end=what == "end")


def _import(service: State, content: bytes, account: str) -> ListImportAnswer:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(content)
        try:
            rows = read_entries(path, service.zone)
            added = service.identification.lists.add_all(rows, account)
        except (ListError, DataSetError) as error:
            raise ListError(str(error).replace(f"{folder}/", "")) from error
    return ListImportAnswer(rows=len(rows), added=added, skipped=len(rows) - len(added))
