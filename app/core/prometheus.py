"""Metrics in Prometheus' text format, answered on loopback and nowhere else."""

import importlib.util
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIServer

from app.core.errors import MissingPackageError
from models.errors import FedVehicleReidError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

HOST = "127.0.0.1"


class MetricsPortError(FedVehicleReidError, OSError):
    """The port of the metrics cannot be listened on."""


class MetricsServer:
    """Answers a registry's metrics until `close`.

    Args:
        named: the setting with the port, for the error.

    Raises MetricsPortError for a port that is taken."""

    def __init__(self, registry: "CollectorRegistry", port: int, named: str) -> None:
        from prometheus_client import start_http_server

        self._server: WSGIServer
        self._thread: threading.Thread
        try:
            self._server, self._thread = start_http_server(port, HOST, registry)
        except (OSError, OverflowError) as error:
            raise MetricsPortError(f"{named}: cannot listen on {HOST}: {error}") from error
        self.port = self._server.server_port

    def close(self) -> None:
        """Let the port go."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def require_prometheus() -> None:
    """Raise MissingPackageError without prometheus-client."""
    if importlib.util.find_spec("prometheus_client") is None:
        raise MissingPackageError("metrics need the package prometheus-client: pip install 'fed-vehicle-reid[metrics]'")


def gauge(name: str, about: str, value: float | None = None, labels: Any = None) -> "GaugeMetricFamily":
    """A value that may fall."""
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, about, value, labels)


def gauges(name: str, about: str, label: str, values: Mapping[str, float]) -> "GaugeMetricFamily":
    """Values by one label."""
    return _filled(gauge(name, about, labels=[label]), values)


def counter(name: str, about: str, value: float | None = None, labels: Any = None) -> "CounterMetricFamily":
    """A value that only grows; `_total` is added to its name."""
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(name, about, value, labels)


def counters(name: str, about: str, label: str, values: Mapping[str, float]) -> "CounterMetricFamily":
    """Growing values by one label."""
    return _filled(counter(name, about, labels=[label]), values)


def _filled(family: Any, values: Mapping[str, float]) -> Any:
    for key, value in values.items():
        family.add_metric([key], value)
    return family
