"""Seconds that the server waits for an answer, learnt from a client's earlier answers."""

from collections.abc import Collection

from flwr.app import MessageType

from strategies.nodes import Node
from strategies.rounds import RoundRules

_QUERY_SECONDS = 600.0
"""Longest wait for a query: for the first, a site imports its libraries and opens its data; no query trains."""


class Patience:
    """Learns the seconds that each client takes to answer, by kind of message.

    The longest wait is `deadline`, and ten minutes at most for a query. It applies to a client's first answer of a
    kind, and to its first training from `long_round` on. Then the straggler rule applies, see `RoundRules`:

    - Measuring the final model is also part of a training, so that the times of trainings count for it.
    - A client that did not answer in time gets the longest wait once more, as it may have become slower. If it misses
      that too, the slowest answer of any client replaces its own.
    - A silent node, which missed its last message, gets `silent_seconds` for a query: it has to describe itself before
      it gets any other message. Any answer ends the silence.
    """

    def __init__(self, rules: RoundRules) -> None:
        self.rules = rules
        self.silent: set[int] = set()
        """Ids of the nodes that left their last message unanswered."""
        self._slowest: dict[tuple[str, str], float] = {}  # (client, kind) -> seconds of its slowest answer
        self._gave_up: set[tuple[str, str]] = set()  # (client, kind) that missed the longest wait
        self._trained: dict[str, int] = {}  # client -> the last round whose training it answered

    def whole(self, kind: str) -> float:
        """The longest wait for a kind of message (a Flower message type)."""
        return min(_QUERY_SECONDS, self.rules.deadline) if kind == MessageType.QUERY else self.rules.deadline

    def seconds(self, node: Node, kind: str, server_round: int) -> float:
        """Seconds to wait for this node's answer."""
        rules, whole = self.rules, self.whole(kind)
        if not rules.straggler_factor:
            return whole
        if kind == MessageType.QUERY and node.node_id in self.silent:
            return min(whole, rules.silent_seconds)
        gave_up = (node.client, kind) in self._gave_up
        first = self._trained.get(node.client, 0) < rules.long_round <= server_round
        if kind == MessageType.TRAIN and first and not gave_up:
            return whole
        kinds = {kind}
        if kind == MessageType.EVALUATE and rules.measure_every:
            kinds.add(MessageType.TRAIN)
        known = [
            seconds
            for (client, asked), seconds in self._slowest.items()
            if asked in kinds and (gave_up or client == node.client)
        ]
        slowest = max(known, default=None)
        if slowest is None:
            return whole
        return min(whole, max(rules.straggler_seconds, rules.straggler_factor * slowest))

    def answered(self, node: Node, kind: str, seconds: float, server_round: int) -> None:
        """Record the seconds of an answer."""
        key = node.client, kind
        self.silent.discard(node.node_id)
        self._gave_up.discard(key)
        self._slowest[key] = max(seconds, self._slowest.get(key, 0.0))
        if kind == MessageType.TRAIN:
            self._trained[node.client] = server_round

    def missed(self, node: Node, kind: str) -> None:
        """Record that an answer did not arrive in time."""
        key = node.client, kind
        self.silent.add(node.node_id)
        if self._slowest.pop(key, None) is None:
            self._gave_up.add(key)

    def present(self, node_ids: Collection[int]) -> None:
        """Forget the silence of disconnected nodes."""
        self.silent.intersection_update(node_ids)
