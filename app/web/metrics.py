"""Figures of the service in Prometheus' text format, on a loopback port of their own.

They hold counts, seconds and bytes: no name, no plate, no number of a vehicle."""

import importlib.util
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIServer

from app.core.errors import MissingPackageError
from app.register.calibrate import read_report
from app.register.errors import RegisterError
from app.register.identification import Identification
from app.web.figures import latest_evidence
from app.web.health import reason_not_ready
from app.web.state import State
from models.errors import FedVehicleReidError

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

_HOST = "127.0.0.1"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class MetricsPortError(FedVehicleReidError, OSError):
    """The port of the metrics cannot be listened on."""


class Metrics:
    """The metrics of one service, served beside it until `close`.

    Raises MissingPackageError without prometheus-client, MetricsPortError for a port that is taken."""

    def __init__(self, state: State, port: int) -> None:
        if importlib.util.find_spec("prometheus_client") is None:
            raise MissingPackageError(
                "metrics need the package prometheus-client: pip install 'fed-vehicle-reid[metrics]'"
            )
        from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, start_http_server

        self._state = state
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time, open files
        self._requests = Histogram(
            "register_request_seconds",
            "Requests by operation, from their first byte to the begin of the answer.",
            ["operation", "status"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._queries = Counter(
            "register_queries", "Identifications of the service by decision.", ["decision"], registry=registry
        )
        registry.register(self)
        try:
            self._server: WSGIServer
            self._thread: threading.Thread
            self._server, self._thread = start_http_server(port, _HOST, registry)
        except (OSError, OverflowError) as error:
            raise MetricsPortError(f"--metrics-port {port}: cannot listen on {_HOST}: {error}") from error
        self.port = self._server.server_port
        state.observer = self

    def request(self, operation: str, status: int, seconds: float) -> None:
        """Note a request that was answered."""
        self._requests.labels(operation, str(status)).observe(seconds)

    def query(self, decision: str) -> None:
        """Note an identification."""
        self._queries.labels(decision).inc()

    def close(self) -> None:
        """Let the port go."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def collect(self) -> Iterator["GaugeMetricFamily"]:
        """What is measured when somebody asks. What the database does not tell now is left out."""
        ready = reason_not_ready(self._state) == ""
        yield _gauge("register_ready", "1 if the service can identify.", int(ready))
        yield _gauge("register_queue", "Requests that use or await the network.", self._state.waiting)
        yield _gauge("register_password_queue", "Log-ins under way or waiting.", self._state.passwords.waiting)
        try:
            yield from self._of_database(self._state.identification)
        except (RegisterError, OSError, ValueError) as error:
            self._state.told(error)  # logged, once a minute

    def _of_database(self, identification: Identification) -> Iterator["GaugeMetricFamily"]:
        size = _gauge("register_rows", "Rows of the register by kind.", labels=["kind"])
        for kind, count in identification.register.counts().items():
            size.add_metric([kind], count)
        yield size
        waiting = _gauge("register_events_waiting", "Events of the outbox by receiver.", labels=["receiver"])
        for queue in identification.outbox.queues():
            waiting.add_metric([queue.receiver], queue.events)
        yield waiting
        model = identification.models.active()
        report = read_report(identification.folder / "calibration" / model.digest) if model else None
        named = latest_evidence(report or {}).get("strangers_named")
        if named is not None:
            about = "Share of strangers that the thresholds are expected to name, as the calibration measured it."
            yield _gauge("register_expected_strangers_named", about, named["share"])


def _gauge(name: str, about: str, value: float | None = None, labels: Any = None) -> "GaugeMetricFamily":
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, about, value, labels)
