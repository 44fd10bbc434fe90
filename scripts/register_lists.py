"""Commands of `scripts.register` that list vehicles, and keep the lists of visitors, allowed and denied plates."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from app.core.files import replacing
from app.core.printing import shown
from app.register.folder import RegisterFolder
from app.register.list_files import read_entries, write_entries
from app.register.list_tables import ListEntry
from app.register.lists import ChosenEntries, EntryChange, Kind, NewEntry
from app.register.schema import Vehicle
from app.register.site_time import read_moment, written, written_end
from app.settings.checks import SettingsError
from models.errors import MissingFileError
from scripts.register_options import HERE, Folder, Url, app, open_register, operator, say

lists = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Entry = Annotated[int, typer.Argument(min=1, help="Number of the entry, see `list show`.")]
OfKind = Annotated[Kind | None, typer.Option("--kind", help="visitor, allow or deny; all without it.")]
Reason = Annotated[str | None, typer.Option(help="Shown to guards, such as 'contractor banned'.")]
Flat = Annotated[str | None, typer.Option(help="Where a visitor goes.")]
Begin = Annotated[str | None, typer.Option(help="Day or minute in the site's time; '' for none.")]
End = Annotated[str | None, typer.Option(help="The same; a day counts to its end. A visitor needs one.")]


@lists.callback(invoke_without_command=True)
def list_(context: typer.Context, register: Folder = HERE, url: Url = "") -> None:
    """List the vehicles, without their owners; or keep the lists of visitors, allowed and denied plates."""
    if context.invoked_subcommand is not None:
        for name in ("register", "url"):
            if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE":
                raise SettingsError(f"give --{name} behind `list {context.invoked_subcommand}`")
        return
    with open_register(register, url) as held:
        vehicles = [_summary(vehicle) for vehicle in held.register.vehicles()]
        for row in vehicles:
            plate, note = shown(row["plate"] or "-"), shown(row["note"])
            print(f"{row['vehicle']:>6}  {plate:<12}  {row['views']} views  {note}".rstrip())
        model = held.models.active()
        say({**held.register.counts(), "model": model and model.digest, "list": vehicles})


@lists.command()
def show(
    kind: OfKind = None,
    ended: Annotated[bool, typer.Option("--ended", help="Those that ended, too.")] = False,
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Show the entries of the lists, newest first."""
    with open_register(register, url) as held:
        rows, before = list[dict[str, Any]](), None
        while part := held.lists.entries(ChosenEntries(kind, None if ended else True), before):
            rows += [_entry(held, row) for row in part]
            before = part[-1].id
        for row in rows:
            what = shown(row["plate"] or f"vehicle {row['vehicle']}")
            until = f"until {row['end']}" if row["end"] else ""
            print(f"{row['entry']:>6}  {row['kind']:<8} {what:<14} {until:<24} {shown(row['reason'])}".rstrip())
        say({"entries": rows})


@lists.command()
def add(
    kind: Annotated[Kind, typer.Option(help="visitor, allow or deny.")],
    plate: Annotated[str, typer.Option(help="Text of the plate, all of it.")] = "",
    vehicle: Annotated[int | None, typer.Option(min=1, help="Number of a registered vehicle instead.")] = None,
    reason: Reason = "",
    flat: Flat = "",
    begin: Begin = "",
    end: End = "",
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Add an entry to a list."""
    with open_register(register, url) as held:
        times = _moment(held, "begin", begin), _moment(held, "end", end)
        row = held.lists.add(NewEntry(kind, plate, vehicle, reason or "", flat or "", *times), operator())
        say(_entry(held, row))


@lists.command()
def edit(
    entry: Entry,
    reason: Reason = None,
    flat: Flat = None,
    begin: Begin = None,
    end: End = None,
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Change reason, flat, begin and end of an entry; what is left out stays as it is."""
    if (reason, flat, begin, end) == (None,) * 4:
        raise SettingsError("nothing to change: give --reason, --flat, --begin, --end")
    with open_register(register, url) as held:
        times = _moment(held, "begin", begin), _moment(held, "end", end)
        change = EntryChange(reason, flat, *times, no_begin=begin == "", no_end=end == "")
        say(_entry(held, held.lists.change(entry, change, operator())))


@lists.command()
def remove(entry: Entry, register: Folder = HERE, url: Url = "") -> None:
    """Delete an entry."""
    with open_register(register, url) as held:
        held.lists.remove(entry, operator())
        say({"removed": entry, "overwritten": held.database.forget_traces()})


@lists.command(name="import")
def import_(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet; docs/register.md has the columns.")],
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Add the entries of a table, all of them or none; those that are there in the same words are left out."""
    if not table.is_file():
        raise MissingFileError(f"no such file: {table}")
    with open_register(register, url) as held:
        entries = read_entries(table, _zone(held))
        added = held.lists.add_all(entries, operator())
        say({"rows": len(entries), "added": added, "skipped": len(entries) - len(added)})


@lists.command()
def export(
    table: Annotated[Path, typer.Argument(help="A CSV file; one that is there is replaced.")],
    kind: OfKind = None,
    ended: Annotated[
        bool, typer.Option("--ended", help="Those that ended, too; no table with them is imported.")
    ] = False,
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Write the lists as a table, which `list import` reads; the trail says who took it away."""
    with open_register(register, url) as held, replacing(table) as temporary:
        rows = list(held.lists.all_for_table(ChosenEntries(kind, None if ended else True), operator()))
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(write_entries(rows, _zone(held)))
    say({"file": str(table), "entries": len(rows)})


def _entry(held: RegisterFolder, row: ListEntry) -> dict[str, Any]:
    zone = _zone(held)
    about = {"entry": row.id, "kind": row.kind, "plate": row.plate, "vehicle": row.vehicle_id, "reason": row.reason}
    times = {"begin": written(row.begins, zone), "end": written_end(row.ends, zone)}
    return {**about, "flat": row.flat, **times, "account": row.account}


def _moment(held: RegisterFolder, what: str, text: str | None) -> Any:
    return read_moment(what, text or "", _zone(held), is_end=what == "end")


def _summary(vehicle: Vehicle) -> dict[str, Any]:
    plate = vehicle.plate.text if vehicle.plate else None
    return {"vehicle": vehicle.id, "plate": plate, "views": len(vehicle.views), "note": vehicle.note} | (
        {"tags": vehicle.tags} if vehicle.tags else {}
    )


app.add_typer(lists, name="list")


def _zone(held: RegisterFolder) -> str:
    """That of the site, as `serve run` takes it."""
    return os.environ.get("TIME_ZONE", "") or held.outbox.zone()
