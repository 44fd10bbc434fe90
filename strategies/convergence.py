"""Convergence of a run: no gain of more than `min_delta` over `patience` measured rounds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Convergence:
    """The rule and its state. `patience` 0 never stops."""

    patience: int
    min_delta: float
    best: float = float("-inf")
    without_gain: int = 0
    version: int = -1
    """The version of the global model that was measured last."""

    def after(self, measure: float, version: int) -> "Convergence":
        """The rule after one more measure, larger is better. A version counts once, however often it is measured."""
        if version <= self.version:
            return self
        if measure > self.best + self.min_delta:
            return Convergence(self.patience, self.min_delta, measure, 0, version)
        return Convergence(self.patience, self.min_delta, self.best, self.without_gain + 1, version)

    @property
    def reached(self) -> bool:
        """Whether the run should stop."""
        return self.patience > 0 and self.without_gain >= self.patience
