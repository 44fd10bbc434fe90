"""Order of the server's messages, by its own count and no clock."""

from collections.abc import Mapping
from typing import Any

from app.node_store import Order
from strategies import messages as m


class MessageOrderError(ValueError):
    """A message that does not say when it was asked for."""


def order_of(config: Mapping[str, Any]) -> Order:
    """When the server asked: its start, and the message since then. Raises MessageOrderError for anything else than two
    whole numbers."""
    order = config.get(m.ORDER)
    if not isinstance(order, list) or len(order) != 2 or not all(isinstance(number, int) for number in order):
        raise MessageOrderError(f"{m.ORDER} of a message is {order!r} instead of [start of the server, message]")
    return order[0], order[1]
