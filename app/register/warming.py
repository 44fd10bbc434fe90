"""Densities of a register's embeddings found beforehand, in a thread beside the service.

Among 300,000 vectors a search that needs the densities around a hundred of them takes about ten times as long as one
that knows them. They are found a few at a time, and hardly in the way of a query: the thread rests as long as it
worked, and while queries come.
"""

import logging
import threading
import time

from app.register.identification import Identification
from models.errors import FedVehicleReidError

_REST = 0.05
_QUIET = 1.0
"""Seconds without a query before the thread goes on."""
_IDLE = 30.0
"""Seconds until it looks for new vehicles."""
_log = logging.getLogger(__name__)


class Warming:
    """The thread, from now until `stop`."""

    def __init__(self, identification: Identification) -> None:
        self._identification = identification
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="densities", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        rest = 0.0
        while not self._stopped.wait(rest):
            started = time.monotonic()
            if started - self._identification.last_query < _QUIET:
                rest = _QUIET
                continue
            try:
                more = self._identification.warm()
            except (FedVehicleReidError, OSError) as error:  # the database is away, or no model is there: later
                _log.debug("densities: %s", error)
                more = False
            rest = max(_REST, time.monotonic() - started) if more else _IDLE
