"""State of the federation at a node: global model, moments of the server optimiser, and the mean of the last models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.settings.federation import FederationSettings

Vector = NDArray[np.float32]
MEAN, _SINCE = "mean/vector", "mean/since"


class Mean(NamedTuple):
    """Mean of consecutive global models (stochastic weight averaging, Izmailov et al., 2018, arXiv:1803.05407).

    BatchNorm statistics are averaged like every other value: no client has the images of all, by which they could be
    estimated anew, and those of models so close to each other are close to their mean.

    Args:
        vector: the mean (size,).
        since: version of the first model in it.
    """

    vector: Vector
    since: int

    def with_next(self, vector: Vector, version: int) -> "Mean":
        """The mean with the model of `version`, which follows those in it."""
        share = np.float32(1 / (version - self.since + 1))
        return Mean((self.vector + share * (vector - self.vector)).astype(np.float32, copy=False), self.since)


@dataclass(frozen=True)
class GlobalModel:
    """State that all clients with the same version share.

    Args:
        vector: the shared values (size,), from which the next round trains.
        moments: of the server optimiser, (size,) each.
        state: of the cipher.
        mean: of the last models; None before the first of them, or if none is taken.
    """

    vector: Vector
    moments: dict[str, Vector]
    state: dict[str, NDArray[Any]]
    mean: Mean | None = None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays of the node store."""
        moments = {f"moment/{name}": moment for name, moment in self.moments.items()}
        found: dict[str, NDArray[Any]] = {"vector": self.vector, **moments}
        found |= {f"cipher/{name}": array for name, array in self.state.items()}
        if self.mean is not None:
            found |= {MEAN: self.mean.vector, _SINCE: np.array([self.mean.since], np.int64)}
        return found

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> "GlobalModel":
        """From the result of `arrays`."""
        parts = {
            kind: {k.removeprefix(f"{kind}/"): v for k, v in arrays.items() if k.startswith(f"{kind}/")}
            for kind in ("moment", "cipher")
        }
        mean = Mean(arrays[MEAN], int(arrays[_SINCE][0])) if MEAN in arrays else None
        return cls(arrays["vector"], parts["moment"], parts["cipher"], mean)

    def mean_after(self, vector: Vector, version: int, first: int | None) -> Mean | None:
        """The mean of the next version, whose values are `vector`.

        Args:
            first: version of the first model in the mean; None for no mean. A mean that began earlier, in a run that
                was to end earlier, begins anew.
        """
        if first is None or version < first:
            return None
        if self.mean is None or self.mean.since < first:
            return Mean(vector, version)
        return self.mean.with_next(vector, version)

    def averaged(self, federation: FederationSettings, version: int) -> int:
        """Number of models whose mean `result` is, if this is of `version`; 0 if it is no mean."""
        return version - self.mean.since + 1 if federation.averages and self.mean is not None else 0

    def result(self, federation: FederationSettings) -> Vector:
        """The values (size,) that a run results in with this as its newest model: with `federation.averaged_rounds` the
        mean of the last models, if there is one."""
        return self.mean.vector if federation.averages and self.mean is not None else self.vector
