"""Metrics of a site, from the record of its messages and the processes that handle them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from app.core.prometheus import counter, counters, gauge, gauges
from app.core.site_activity import KINDS, OUTCOMES, PARTS, Activity, read_activity
from app.core.site_runs import NODE
from app.deployment import parties as p
from app.deployment.client_process import UNPACKED

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_NAME = "federation_site_"


def site_metrics(site: Path) -> Iterator["Metric"]:
    """Metrics of the site whose folder this is. Raises StoredFileError, OSError."""
    state = site / p.STATE
    working = float(any(map(psutil.pid_exists, _processes(state / UNPACKED))))
    states = {"working": working, "idle": 1.0 - working}
    yield gauges(
        f"{_NAME}state", "1 for working while a message of the server is handled, else for idle.", "state", states
    )
    record = read_activity(state / NODE)
    yield from _totals(record)
    if record.round_ended:
        yield gauge(f"{_NAME}last_round", "Round that this site trained last.", record.server_round)
        yield gauge(f"{_NAME}last_round_timestamp_seconds", "When it had trained that round.", record.round_ended)
        about = "Seconds of the last round by part, the wait before it included."
        yield gauges(f"{_NAME}last_round_seconds", about, "part", _known(record.round_seconds))
    if record.ended:
        yield gauge(f"{_NAME}last_message_timestamp_seconds", "When it last answered the server.", record.ended)


def _totals(record: Activity) -> Iterator["Metric"]:
    trained = record.messages.get("train", {}).get(OUTCOMES[0], 0)
    yield counter(f"{_NAME}rounds", "Rounds that this site trained, over all runs.", trained)
    yield counter(f"{_NAME}images", "Images that it trained on, each as often as it was used.", record.images)
    messages = counter(f"{_NAME}messages", "Messages of the server by kind and outcome.", labels=["kind", "outcome"])
    for kind in KINDS:
        for outcome in OUTCOMES:
            messages.add_metric([kind, outcome], record.messages.get(kind, {}).get(outcome, 0))
    yield messages
    about = "Seconds by part; waiting is between two messages of one run."
    yield counters(f"{_NAME}seconds", about, "part", _known(record.seconds))
    yield counter(f"{_NAME}received_bytes", "Bytes of models from the server.", record.bytes_received)
    yield counter(f"{_NAME}sent_bytes", "Bytes of updates to the server.", record.bytes_sent)


def _known(seconds: dict[str, float]) -> dict[str, float]:
    return {part: seconds.get(part, 0.0) for part in PARTS}


def _processes(apps: Path) -> Iterator[int]:
    """Ids of the processes that unpacked a bundle for a message, after which their folders are named."""
    try:
        names = [path.name for path in apps.iterdir()]
    except FileNotFoundError:
        return
    yield from (int(number) for name in names if (number := name.partition("-")[0]).isdigit())
