"""The step from the averaged update to the next global model.

Every client computes it on the decrypted aggregate, so that adaptive server steps work under encryption. The
arithmetic is elementwise float32 in a fixed order: clients that start equal stay equal.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class ServerOptimiser(Protocol):
    """Turns (global, mean update) into the next global vector."""

    def initial_state(self, size: int) -> dict[str, Vector]:
        """The moments before round 1, by name."""

    def step(self, vector: Vector, update: Vector, state: dict[str, Vector]) -> tuple[Vector, dict[str, Vector]]:
        """The next global vector and moments; the arguments are not changed."""


@dataclass(frozen=True)
class Average:
    """w + lr u: federated averaging (McMahan et al., 2017, Alg. 1) for lr = 1."""

    lr: float = 1.0

    def initial_state(self, size: int) -> dict[str, Vector]:  # noqa: ARG002 - no moments
        return {}

    def step(self, vector: Vector, update: Vector, state: dict[str, Vector]) -> tuple[Vector, dict[str, Vector]]:
        return vector + np.float32(self.lr) * update, dict(state)


@dataclass(frozen=True)
class Momentum:
    """m = beta m + u; w + lr m, or w + lr (u + beta m) with Nesterov (FedAvgM, Hsu et al., 2019, arXiv:1909.06335)."""

    lr: float = 1.0
    momentum: float = 0.9
    nesterov: bool = False

    def initial_state(self, size: int) -> dict[str, Vector]:
        return {"momentum": np.zeros(size, np.float32)}

    def step(self, vector: Vector, update: Vector, state: dict[str, Vector]) -> tuple[Vector, dict[str, Vector]]:
        moment = np.float32(self.momentum) * state["momentum"] + update
        move = update + np.float32(self.momentum) * moment if self.nesterov else moment
        return vector + np.float32(self.lr) * move, {"momentum": moment}


@dataclass(frozen=True)
class Adam:
    """FedAdam (Reddi et al., 2021, arXiv:2003.00295, Alg. 2): no bias correction, epsilon is the paper's tau."""

    lr: float = 1e-2
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-3

    def initial_state(self, size: int) -> dict[str, Vector]:
        # v_{-1} >= tau^2 in the paper; tau^2 itself is its smallest choice.
        return {"first": np.zeros(size, np.float32), "second": np.full(size, self.epsilon**2, np.float32)}

    def step(self, vector: Vector, update: Vector, state: dict[str, Vector]) -> tuple[Vector, dict[str, Vector]]:
        beta1, beta2 = np.float32(self.beta1), np.float32(self.beta2)
        first = beta1 * state["first"] + (np.float32(1) - beta1) * update
        second = beta2 * state["second"] + (np.float32(1) - beta2) * update * update
        move = (first / (np.sqrt(second) + np.float32(self.epsilon))).astype(np.float32, copy=False)
        return vector + np.float32(self.lr) * move, {"first": first, "second": second}
