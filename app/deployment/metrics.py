"""Process that answers Prometheus on loopback for a server or a site.

Run by start.sh if METRICS_PORT is set: python -P -m app.deployment.metrics FOLDER PORT PID

It reads files that are there anyway, holds no key, and ends with the process PID, the SuperLink or SuperNode. A port
that is taken, or a missing package, is one line of the log: the federation goes on without metrics.
"""

import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.outage import Outage
from app.core.printing import shown
from app.core.prometheus import MetricsServer, gauge, gauges, require_prometheus
from app.deployment import certificates
from app.deployment import parties as p
from app.deployment.beside import end_with
from app.deployment.flower_metrics import flower_metrics
from app.deployment.parties import DeploymentError, Kind
from app.deployment.server_metrics import RunMetrics
from app.deployment.site_metrics import site_metrics
from app.federation.share_key_files import read_statement
from models.errors import FedVehicleReidError
from strategies.share_keys import ShareKeyRules
from strategies.signing import AUTHORITY_PUBLIC_KEY, read_public_key

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_LOOK_SECONDS = 1.0
_REMEDY = "the other metrics are answered"
Source = Callable[[], Iterator["Metric"]]
_log = logging.getLogger(__name__)


class PartyMetrics:
    """A collector for one party's folder. What cannot be read now is left out, and named once in the log.

    Raises DeploymentError for a party that runs nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.party = folder, p.read_party(folder)
        self._sources: dict[str, Source] = {"certificates": self._certificates}
        if self.party.kind is Kind.server:
            self._sources |= {"runs": RunMetrics(folder).collect, "flower": lambda: flower_metrics(folder / p.STATE)}
        elif self.party.kind is Kind.site:
            self._sources |= {"activity": lambda: site_metrics(folder)}
        else:
            raise DeploymentError(f"{folder} is of the {self.party.kind}, which has no metrics")
        self.prefix = f"federation_{self.party.kind}_"
        self._outages = {name: Outage(f"metrics: {name}", _log, _REMEDY, first=0.0) for name in self._sources}
        self._lock = threading.Lock()

    def collect(self) -> Iterator["Metric"]:
        """All metrics of the party."""
        party, read = self.party, {}
        about = gauge(f"{self.prefix}info", "The party.", labels=["federation", "party", "version"])
        about.add_metric([party.federation, party.name, version("fed-vehicle-reid")], 1)
        yield about
        with self._lock:  # two readers at once
            for name, source in self._sources.items():
                found = self._tried(name, source)
                read[name] = float(found is not None)
                yield from found or []
        yield gauges(f"{self.prefix}readable", "0 for records that could not be read now.", "records", read)
        place = self.folder / p.STATE if (self.folder / p.STATE).is_dir() else self.folder
        yield gauge(f"{self.prefix}free_bytes", "Free space for the state folder.", shutil.disk_usage(place).free)

    def _tried(self, name: str, source: Source) -> list["Metric"] | None:
        try:
            found = list(source())
        except (FedVehicleReidError, OSError, ValueError) as error:
            self._outages[name].failed(error)
            return None
        self._outages[name].over()
        return found

    def _certificates(self) -> Iterator["Metric"]:
        """When they expire."""
        folder, ends = self.folder, dict[str, float]()
        files = {"authority": p.AUTHORITY_CERTIFICATE}
        files |= {"server": p.SERVER_CERTIFICATE} if self.party.kind is Kind.server else {}
        for name, file in files.items():
            ends[name] = certificates.read_certificate(folder / file).not_valid_after_utc.astimezone(UTC).timestamp()
        if (folder / p.SHARE_CERTIFICATE).exists():
            rules = ShareKeyRules(read_public_key(folder / AUTHORITY_PUBLIC_KEY), self.party.key_id)
            ends["share_key"] = float(rules.signed(read_statement(folder / p.SHARE_CERTIFICATE)).not_after)
        name = f"{self.prefix}certificate_expiry_timestamp_seconds"
        yield gauges(name, "When a certificate expires.", "certificate", ends)


def answer(folder: Path, port: int, process: int) -> MetricsServer:
    """Answer a party's metrics, and those of the process that works for it.

    Raises DeploymentError, MissingPackageError, MetricsPortError."""
    require_prometheus()
    from prometheus_client import CollectorRegistry, ProcessCollector

    party = PartyMetrics(folder)
    registry = CollectorRegistry()
    ProcessCollector(namespace=party.prefix.rstrip("_"), pid=lambda: process, registry=registry)
    registry.register(party)
    return MetricsServer(registry, port, f"METRICS_PORT={port}")


def main(folder: Path, port: str, parent: int) -> int:
    """Answer until the parent has ended; status 2, with one line on standard error, if that is not possible."""
    if not end_with(parent):
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
            raise DeploymentError(f"METRICS_PORT={port} is no port from 1 to 65535; leave it empty for no metrics")
        server = answer(folder, int(port), parent)
    except (FedVehicleReidError, OSError) as error:
        print(f"ERROR: no metrics: {shown(error)}", file=sys.stderr, flush=True)
        return 2
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
