"""Config of a server's message as a client reads it, checked."""

from collections.abc import Mapping
from typing import Any

from app.core.node_store import Order
from models.errors import FedVehicleReidError
from strategies import messages as m
from strategies.ciphers.binding import Binding
from strategies.claims import largest_share


class ClientError(FedVehicleReidError, RuntimeError):
    """The client cannot do what was asked; the message names the client and the cause."""


def attempt_of(config: Mapping[str, Any], run_key: str, layout: str) -> tuple[Binding, dict[str, str]]:
    """What a payload is bound to, and the mask cards of the cohort by client."""
    cohort = tuple(config.get(m.COHORT, ()))
    attempt, nonce = int(config.get(m.ATTEMPT, 1)), str(config.get(m.NONCE, ""))
    binding = Binding(run_key, layout, int(config[m.SERVER_ROUND]), attempt, cohort, nonce)
    return binding, dict(zip(cohort, config.get(m.MASK_CARDS, ()), strict=False))


def coefficient_of(config: Mapping[str, Any], client: str, max_share: float) -> float:
    """The client's share in the sum. Raises ClientError for one above the largest that the cohort allows."""
    coefficient, limit = float(config[m.COEFFICIENT]), largest_share(max_share, len(config.get(m.COHORT, ())))
    if not 0 < coefficient <= limit * (1 + 1e-9):  # also where it is not a number
        raise ClientError(f"{client}: the server gives it a share of {coefficient:g}, and {limit:g} is the most")
    return coefficient


def order_of(config: Mapping[str, Any]) -> Order:
    """When the server asked, by its own count. Raises ClientError for another thing than two numbers."""
    order = config.get(m.ORDER)
    if not isinstance(order, list) or len(order) != 2 or not all(isinstance(number, int) for number in order):
        raise ClientError(f"{m.ORDER} of a message is {order!r} instead of [start of the server, message]")
    return order[0], order[1]
