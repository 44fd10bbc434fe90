"""Figures of the service in Prometheus' text format, on a loopback port of their own.

They hold counts, seconds and bytes: no name, no plate, no number of a vehicle."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.core.prometheus import MetricsServer, gauge, gauges, require_prometheus
from app.register.calibrate import read_report
from app.register.errors import RegisterError
from app.register.identification import Identification
from app.web.figures import latest_evidence
from app.web.health import reason_not_ready
from app.web.state import State

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics of one service, served beside it until `close`.

    Raises MissingPackageError without prometheus-client, MetricsPortError for a port that is taken."""

    def __init__(self, state: State, port: int) -> None:
        require_prometheus()
        from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

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
        self._server = MetricsServer(registry, port, f"--metrics-port {port}")
        self.port = self._server.port
        state.observer = self

    def request(self, operation: str, status: int, seconds: float) -> None:
        """Note a request that was answered."""
        self._requests.labels(operation, str(status)).observe(seconds)

    def query(self, decision: str) -> None:
        """Note an identification."""
        self._queries.labels(decision).inc()

    def close(self) -> None:
        """Let the port go."""
        self._server.close()

    def collect(self) -> Iterator["GaugeMetricFamily"]:
        """What is measured when somebody asks. What the database does not tell now is left out."""
        ready = reason_not_ready(self._state) == ""
        yield gauge("register_ready", "1 if the service can identify.", int(ready))
        yield gauge("register_queue", "Requests that use or await the network.", self._state.waiting)
        yield gauge("register_password_queue", "Log-ins under way or waiting.", self._state.passwords.waiting)
        try:
            yield from self._of_database(self._state.identification)
        except (RegisterError, OSError, ValueError) as error:
            self._state.told(error)  # logged, once a minute

    def _of_database(self, identification: Identification) -> Iterator["GaugeMetricFamily"]:
        counts = identification.register.counts()
        yield gauges("register_rows", "Rows of the register by kind.", "kind", counts)
        waiting = {queue.receiver: queue.events for queue in identification.outbox.queues()}
        yield gauges("register_events_waiting", "Events of the outbox by receiver.", "receiver", waiting)
        model = identification.models.active()
        report = read_report(identification.folder / "calibration" / model.digest) if model else None
        named = latest_evidence(report or {}).get("strangers_named")
        if named is not None:
            about = "Share of strangers that the thresholds are expected to name, as the calibration measured it."
            yield gauge("register_expected_strangers_named", about, named["share"])
