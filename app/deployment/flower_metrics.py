"""Metrics of Flower's SuperLink, from its database: connected sites, and what waits to be fetched.

Flower 1.41 has no metrics of its own, and its Control API lists nodes in seconds of a new process. Its tables are its
own matter: where they are others, these metrics are missing, and the log says so.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.prometheus import gauges
from app.deployment.parties import DeploymentError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

DATABASE = "superlink.db"
MOST_SITES = 128
_TIMEOUT = 2.0
_CONNECTED = "status = 'online' AND online_until > :now"
_NODES = f"SELECT name, max({_CONNECTED}) FROM node WHERE status != 'unregistered' GROUP BY name ORDER BY name"
_QUEUES = {
    "messages": "SELECT count(*) FROM message_ins WHERE delivered_at = '' AND created_at + ttl > :now",
    "replies": "SELECT count(*) FROM message_res WHERE delivered_at = '' AND created_at + ttl > :now",
    "runs": "SELECT count(*) FROM task WHERE starting_at IS NULL AND finished_at IS NULL",
}
"""Messages that sites have not fetched, replies that the run has not, and runs that have not begun."""


class FlowerDatabaseError(DeploymentError):
    """The SuperLink's database cannot be read."""


def flower_metrics(state: Path, now: Callable[[], float] = time.time) -> Iterator["Metric"]:
    """Metrics of the database in a server's `state/`; none before it is made. Raises FlowerDatabaseError."""
    path = state / DATABASE
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", timeout=_TIMEOUT, uri=True)) as database:
            bound = {"now": now()}
            nodes = database.execute(_NODES, bound).fetchall()
            queues = {kind: database.execute(query, bound).fetchone()[0] for kind, query in _QUEUES.items()}
    except sqlite3.Error as error:
        raise FlowerDatabaseError(f"{path} cannot be read: {error}") from error
    sites = {str(name): float(connected or 0) for name, connected in nodes if name}
    about = "1 for a registered site that is connected."
    yield gauges("federation_server_site_connected", about, "site", dict(list(sites.items())[:MOST_SITES]))
    about = "Messages that sites have not fetched yet, replies that the run has not, and runs that have not begun."
    yield gauges("federation_server_queue", about, "kind", queues)
