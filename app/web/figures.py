"""Figures of the calibration page: renewed beside the service as the register grows, and the curve as points."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import log10
from typing import Any

from app.register.calibrate_own import renew_figures
from app.register.identification import Identification
from models.errors import FedVehicleReidError

_log = logging.getLogger(__name__)
CHANGED = 1.1
"""Growth, or its inverse, from which on the figures are measured again."""
_PAUSE_SECONDS = 600.0  # a register that many vehicles are imported into is not measured at each of them
WIDTH, HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 420, 260, 48, 12, 12, 44
_LEAST = 0.001  # the left edge of the logarithmic axis


class FiguresRenewal:
    """Measures the calibration on the register as it is, one at a time."""

    def __init__(self, identification: Identification) -> None:
        self._identification = identification
        self._thread = ThreadPoolExecutor(1, "figures")
        self._running: Future[None] | None = None
        self._begun = -_PAUSE_SECONDS
        self._lock = threading.Lock()  # pages are made in several threads

    @property
    def is_running(self) -> bool:
        """Whether figures are being measured."""
        return self._running is not None and not self._running.done()

    def begin(self) -> None:
        """Measure, unless that is under way or was begun a moment ago."""
        with self._lock:
            moment = time.monotonic()
            if not self.is_running and moment - self._begun >= _PAUSE_SECONDS:
                self._begun = moment
                self._running = self._thread.submit(self._renew)

    def close(self) -> None:
        """Wait for what is under way."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _renew(self) -> None:
        try:
            renew_figures(self._identification)
        except (FedVehicleReidError, OSError) as error:
            _log.error("the figures of the calibration were not renewed: %s", error)
        except Exception:
            _log.exception("the figures of the calibration were not renewed")


def latest_evidence(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """The latest measurement of all evidence in a report; empty without one."""
    evidence = report.get("evidence") or {}
    return evidence.get("now") or evidence


def growth(row: Mapping[str, Any], vehicles: int) -> float:
    """Vehicles of the register over those of a measurement; 1 where that is not known."""
    before = row.get("register") or row.get("registered") or 0
    return vehicles / before if before else 1.0


def curve(points: Sequence[Mapping[str, float]], working: tuple[float, float]) -> dict[str, Any]:
    """The curve of a calibration in pixels: strangers named from left to right, on a logarithmic axis, and residents
    named right upwards.

    Args:
        working: strangers named and residents named right at the thresholds.
    """
    ordered = sorted(points, key=lambda point: (point["strangers"], point["right"]))
    around = [(p["strangers"], p["low"]) for p in ordered] + [(p["strangers"], p["high"]) for p in reversed(ordered)]
    return {
        "line": _pixels([(point["strangers"], point["right"]) for point in ordered]),
        "band": _pixels(around),
        "working": _place(*working),
        "x_ticks": [(_place(share, 0)[0], f"{100 * share:g} %") for share in (0.001, 0.01, 0.1, 1.0)],
        "y_ticks": [(_place(1, share)[1], f"{100 * share:.0f} %") for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
        "box": (_LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM),
        "size": (WIDTH, HEIGHT),
    }


def _pixels(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in (_place(*each) for each in places))


def _place(strangers: float, right: float) -> tuple[float, float]:
    across = 1 - log10(max(strangers, _LEAST)) / log10(_LEAST)
    x = _LEFT + across * (WIDTH - _LEFT - _RIGHT)
    y = HEIGHT - _BOTTOM - right * (HEIGHT - _TOP - _BOTTOM)
    return round(x, 1), round(y, 1)
