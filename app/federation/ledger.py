"""Ledger of a node's epsilon: differential privacy spent over all runs and restarts.

One file in the node's state folder counts the updates that left with noise, by their noise multiplier. It is written
and synced before an update leaves: a crash at any moment counts an update too many, and never one too few. Updates
without noise have no finite epsilon and are not counted.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from app.core.files import replacing
from app.federation.dp import Vector, composed_epsilon, privatise
from app.settings.privacy import DpSettings
from models.errors import FedVehicleReidError

FILE = "privacy_ledger.json"


class PrivacyBudgetError(FedVehicleReidError, RuntimeError):
    """An update beyond the node's limit, or a ledger that cannot be read; nothing has left."""


class PrivacyLedger:
    """The ledger of one node.

    Args:
        folder: of the node's state, created at the first update; all runs of the node share it.
        client: name of the node in errors.
        settings: of the run.
    """

    def __init__(self, folder: Path, client: str, settings: DpSettings) -> None:
        self.path = folder / FILE
        self.client = client
        self.settings = settings

    def require(self) -> None:
        """Raise PrivacyBudgetError if one more update would be over the limit; called before training."""
        if self.settings.clip:
            self._after_one_more(self._read())

    def release(self, update: Vector) -> tuple[Vector, float]:
        """The noisy update (size,) that may leave, counted first, and epsilon of all that have left, at the run's
        delta.

        Without differential privacy the update itself. Raises PrivacyBudgetError as `spend` does."""
        if not self.settings.clip:
            return update, math.inf
        spent = self.spend()
        return privatise(update, self.settings), spent

    def spend(self) -> float:
        """Count one update that is about to leave; epsilon of all that have left.

        Raises PrivacyBudgetError if it is over the limit of the run, and counts nothing."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self.path.with_name(f".{FILE}.lock"), fallback_to_soft=False):
            counts = self._read()
            after, total = self._after_one_more(counts)
            if after != counts:
                self._write(after)
        return total

    def _after_one_more(self, counts: Mapping[float, int]) -> tuple[dict[float, int], float]:
        settings = self.settings
        if not settings.noise_multiplier:
            return dict(counts), math.inf
        after = {**counts, settings.noise_multiplier: counts.get(settings.noise_multiplier, 0) + 1}
        total = composed_epsilon(after, settings.delta)
        if settings.epsilon and total > settings.epsilon:
            spent = composed_epsilon(counts, settings.delta)
            raise PrivacyBudgetError(
                f"{self.client}: {sum(counts.values())} updates have cost epsilon {spent:.3g} at delta "
                f"{settings.delta:g}, one more would make it {total:.3g}: over privacy.dp.epsilon={settings.epsilon:g}"
            )
        return after, total

    def _read(self) -> dict[float, int]:
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))["updates"]
            counts = {float(row["noise_multiplier"]): int(row["count"]) for row in rows}
            if any(not 0 < noise < math.inf or count < 1 for noise, count in counts.items()):
                raise ValueError("a count or a multiplier is not above 0")
            return counts
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise PrivacyBudgetError(
                f"{self.client}: the privacy ledger {FILE} in the node's state folder cannot be read "
                f"({type(error).__name__}): restore it from a copy; without it nobody knows what has left"
            ) from error

    def _write(self, counts: Mapping[float, int]) -> None:
        rows = [{"noise_multiplier": noise, "count": count} for noise, count in sorted(counts.items())]
        with replacing(self.path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps({"updates": rows}, indent=1), encoding="utf-8")
