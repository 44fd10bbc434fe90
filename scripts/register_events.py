"""Command of `scripts.register` for events: queues, a trial, delivery, what is given up."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.core.printing import shown
from app.register.delivery import deliver_now, make_sender, require_deliverable
from app.register.folder import RegisterFolder
from app.register.outbox import receiver_named, trial_body
from app.register.webhook import DeliveryError
from app.settings.checks import SettingsError
from scripts.register_options import HERE, Folder, Url, app, open_register, operator, say


@app.command()
def events(
    test: Annotated[str, typer.Option(help="Name of a receiver: send it an event `test` now.")] = "",
    deliver: Annotated[bool, typer.Option("--deliver", help="Deliver now what waits.")] = False,
    skip: Annotated[str, typer.Option(help="Name of a receiver: delete its first event undelivered.")] = "",
    drop: Annotated[str, typer.Option(help="Name of a receiver: delete all its events undelivered.")] = "",
    register: Folder = HERE,
    url: Url = "",
) -> None:
    """Show the events that wait for each receiver of events.toml, and failures; try a receiver."""
    if sum(map(bool, (test, deliver, skip, drop))) > 1:
        raise SettingsError("give one of --test, --deliver, --skip and --drop")
    with open_register(register, url) as held:
        receivers = held.outbox.receivers()
        if test:
            require_deliverable(receivers)
            _try(receiver_named(receivers, test), receivers.time_zone, held.folder)
        elif deliver:
            _deliver(held)
        elif skip or drop:
            say({"dropped": held.outbox.drop(skip or drop, operator(), first=bool(skip))})
        else:
            _list(held)


def _try(receiver: Any, zone: str, folder: Path) -> None:
    sender, body, error = make_sender(receiver, folder), trial_body(zone), ""
    try:
        sender.send(body["id"], body["event"], json.dumps(body))
    except DeliveryError as failed:
        error = str(failed)
    finally:
        sender.close()
    if error:
        print(f"failed: {receiver.name}: {shown(error)}", file=sys.stderr)
    say({"receiver": receiver.name, "delivered": not error, "error": error, "id": body["id"]})
    if error:
        sys.exit(1)


def _deliver(held: RegisterFolder) -> None:
    done, failed = deliver_now(held.outbox, held.folder)
    for name, error in failed.items():
        print(f"failed: {name}: {shown(error)}", file=sys.stderr)
    say({"delivered": done, "failed": failed})
    if failed:
        sys.exit(1)


def _list(held: RegisterFolder) -> None:
    named = [receiver.name for receiver in held.outbox.receivers().every()]
    queues = {queue.receiver: queue for queue in held.outbox.queues()}
    rows = []
    for name in [*named, *(other for other in queues if other not in named)]:
        queue = queues.get(name)
        rows.append(
            {
                "receiver": name,
                "named": name in named,
                "waiting": queue.events if queue else 0,
                "oldest": queue.oldest.isoformat(timespec="seconds") if queue else None,
                "tries": queue.tries if queue else 0,
                "error": queue.error if queue else "",
            }
        )
        error = f"  {queue.tries} tries: {shown(queue.error)}" if queue and queue.tries else ""
        gone = "" if name in named else "  not in events.toml"
        print(f"{name:<24}  {rows[-1]['waiting']:>6} waiting{gone}{error}")
    say({"receivers": rows})
