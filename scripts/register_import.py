"""The command `import` of `scripts.register`: a table that enrols vehicles, and changes those that are enrolled."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from app.core.printing import shown
from app.register.importing import Result, foresee, import_entries
from app.register.tables import Entry
from app.register.updates import Changed, Update, apply_updates, read_table
from models.errors import MissingFileError
from scripts.progress import Progress
from scripts.register_options import HERE, Device, Folder, Url, app, open_identification, open_register, operator, say


@app.command(name="import")
def import_(
    listing: Annotated[
        Path, typer.Argument(help="CSV or Parquet, one row an image; docs/register.md has the columns.")
    ],
    register: Folder = HERE,
    url: Url = "",
    device: Device = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be enrolled, changed and left; change nothing.")
    ] = False,
) -> None:
    """Enrol the vehicles of a table, row by row and each row once; nothing is enrolled unless all of the table can be
    understood. After an import that was cut off, the same command goes on. Rows with an `id` change enrolled vehicles,
    all of them or none, before anything is enrolled."""
    if not listing.is_file():
        raise MissingFileError(f"no such file: {listing}")
    updates, entries = read_table(listing)
    if dry_run:
        _foresee(listing, updates, entries, register, url)
        return
    changed = list[Changed]()
    if updates:
        with open_register(register, url) as held:
            changed = apply_updates(held.database, updates, operator())
    if updates and not entries:
        say(_told([], 0, changed))
        return
    total, results = sum(len(entry.rows) for entry in entries), list[Result]()
    try:
        with open_identification(register, url, device) as identification, Progress(1) as progress:
            identification.active_model.current()  # without a network every row would fail
            for done, result in enumerate(import_entries(identification, entries, operator()), start=1):
                progress.step_done("rows", done, total)
                results.append(result)
                if result.reason:
                    print(f"failed: {listing}, row {result.row}: {shown(result.reason)}", file=sys.stderr)
    except BaseException:
        if results or changed:  # whatever ends an import, what was enrolled is said, and the same command goes on
            say(_told(results, total, changed))
        raise
    say(_told(results, total, changed))
    if any(result.reason for result in results):
        sys.exit(1)


def _foresee(listing: Path, updates: Sequence[Update], entries: Sequence[Entry], register: Path, url: str) -> None:
    """Say what an import would do."""
    total, results = sum(len(entry.rows) for entry in entries), list[Result]()
    with open_register(register, url) as held, Progress(1) as progress:
        changed = apply_updates(held.database, updates, operator(), dry_run=True)
        for done, result in enumerate(foresee(held, entries), start=1):
            progress.step_done("rows", done, total)
            results.append(result)
            if result.reason:
                print(f"would fail: {listing}, row {result.row}: {shown(result.reason)}", file=sys.stderr)
    told = _told(results, total, changed)
    new = sum(result.enrolled for result in results)
    said = {"rows": total + len(updates), "enrolled": new, "images": told["imported"]}
    said |= {"left": told["skipped"] + sum(not each.fields for each in changed)}
    say({"dry_run": True, **said, "changed": _changed(changed), "refused": told["refused"]})
    if told["refused"]:
        sys.exit(1)


def _changed(changed: Sequence[Changed]) -> list[dict[str, Any]]:
    return [{"vehicle": each.vehicle, "fields": each.fields} for each in changed if each.fields]


def _told(results: Sequence[Result], total: int, changed: Sequence[Changed]) -> dict[str, Any]:
    """The end of an import: numbers of rows, new and changed vehicles, and what failed."""
    enrolled = [result.vehicle for result in results if result.enrolled]
    refused = [{"rows": [result.row], "reason": result.reason} for result in results if result.reason]
    skipped = sum(result.skipped for result in results)
    return {
        "rows": total,
        "imported": len(results) - skipped - len(refused),
        "skipped": skipped,
        "failed": len(refused),
        "left": total - len(results),
        "enrolled": len(enrolled),
        "vehicles": enrolled,
        "refused": refused,
    } | ({"changed": _changed(changed)} if changed else {})
