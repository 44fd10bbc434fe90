"""Request of a server to a client in a round: parsed once, typed and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.core.node_store import Order
from app.federation.global_model import PassedOn
from models.errors import FedVehicleReidError
from strategies import messages as m
from strategies.ciphers.binding import Binding
from strategies.claims import largest_share

Bytes = NDArray[np.uint8]
Number = TypeVar("Number", int, float)
_NOTHING = memoryview(b"")


class ClientError(FedVehicleReidError, RuntimeError):
    """The client cannot fulfil a request; the message names the client and the cause."""


@dataclass(frozen=True)
class RoundRequest:
    """Content of a message to a client in a round. Arrays are views of the message's bytes.

    Args:
        server_round: the round, whose model is the one after `server_round` - 1 rounds.
        order: of the message, by the server's own count; None for a query.
        cohort: names of the clients of the round, as the server sent them.
        share_keys: the authority's statements of the cohort's share keys, in any order.
        coefficient: this client's averaging factor; None without an update.
        measure: whether to measure the global model.
        clients: of the cohort, those whose updates are in the sum that shares are asked for.
        aggregate: the sum that leads to the required model from the one before; empty for none.
        coefficient_sum: of the clients in `aggregate`.
        mean_from: version of the first model in the mean of the last ones; 0 for no mean, None to go by the settings.
        global_version, global_digest: of a model from another node, or of one that this node has to send.
        sealed: that model; empty for none.
    """

    server_round: int
    order: Order | None = None
    attempt: int = 1
    nonce: str = ""
    cohort: tuple[str, ...] = ()
    share_keys: tuple[str, ...] = ()
    coefficient: float | None = None
    measure: bool = False
    clients: tuple[str, ...] = ()
    aggregate: memoryview = _NOTHING
    coefficient_sum: float = 0.0
    mean_from: int | None = None
    global_version: int | None = None
    global_digest: str = ""
    sealed: memoryview = _NOTHING

    @classmethod
    def of(cls, parameters: Sequence[Bytes], config: Mapping[str, Any]) -> "RoundRequest":
        """From Flower's arguments of `fit` and `evaluate`. Raises ClientError naming a key that is missing or of
        another type.

        Args:
            parameters: a model from another node, if the config names its version; then the aggregate, if there is one.
        """
        version = _number(config, m.GLOBAL_VERSION, int)
        views = [array.data for array in parameters]
        sealed = views.pop(0) if views and version is not None else _NOTHING
        if len(views) > 1:
            raise ClientError(f"{len(parameters)} arrays in a message that explains {len(parameters) - len(views) + 1}")
        server_round = _number(config, m.SERVER_ROUND, int)
        if server_round is None:
            raise ClientError(f"no {m.SERVER_ROUND} in the message")
        attempt, coefficient_sum = _number(config, m.ATTEMPT, int), _number(config, m.COEFFICIENT_SUM, float)
        return cls(
            server_round=server_round,
            order=order_of(config) if m.ORDER in config else None,
            attempt=1 if attempt is None else attempt,
            nonce=str(config.get(m.NONCE, "")),
            cohort=_strings(config, m.COHORT),
            share_keys=_strings(config, m.SHARE_KEYS),
            coefficient=_number(config, m.COEFFICIENT, float),
            measure=bool(config.get(m.MEASURE)),
            clients=_strings(config, m.CLIENTS),
            aggregate=views[0] if views else _NOTHING,
            coefficient_sum=coefficient_sum or 0.0,
            mean_from=_number(config, m.MEAN_FROM, int),
            global_version=version,
            global_digest=str(config.get(m.GLOBAL_DIGEST, "")),
            sealed=sealed,
        )

    def in_order(self) -> Order:
        """`order`. Raises ClientError for a message without it."""
        if self.order is None:
            raise ClientError(f"no {m.ORDER} in the message")
        return self.order

    @property
    def passed_on(self) -> PassedOn | None:
        """The model from another node, if there is one."""
        if self.global_version is None or not self.sealed:
            return None
        return PassedOn(self.sealed, self.global_version, self.global_digest)

    def binding(self, run_key: str, layout: str) -> Binding:
        """Binding of a payload for this attempt."""
        return Binding(run_key, layout, self.server_round, self.attempt, self.cohort, self.nonce)

    def share(self, client: str, max_share: float) -> float:
        """The client's share in the sum. Raises ClientError for one above the largest that the cohort allows."""
        if self.coefficient is None:
            raise ClientError(f"{client}: no {m.COEFFICIENT} in the message")
        limit = largest_share(max_share, len(self.cohort))
        if not 0 < self.coefficient <= limit * (1 + 1e-9):  # also where it is not a number
            raise ClientError(
                f"{client}: the server gives it a share of {self.coefficient:g}, and the largest is {limit:g}"
            )
        return self.coefficient


def order_of(config: Mapping[str, Any]) -> Order:
    """The order of the message, by the server's own count. Raises ClientError for anything but two numbers."""
    order = config.get(m.ORDER)
    if not isinstance(order, list) or len(order) != 2 or not all(isinstance(number, int) for number in order):
        raise ClientError(f"{m.ORDER} of a message is {order!r} instead of [start of the server, message]")
    return order[0], order[1]


def _number(config: Mapping[str, Any], key: str, kind: type[Number]) -> Number | None:
    """The number of a key; None if the key is missing."""
    value = config.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | kind):
        raise ClientError(f"{key} of a message is {value!r} instead of a number")
    return kind(value)


def _strings(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The texts of a key; empty if the key is missing."""
    values = config.get(key, [])
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise ClientError(f"{key} of a message is {values!r} instead of a list of texts")
    return tuple(values)
