"""Exchange of messages: sends them, yields the replies one at a time, and learns how long to wait for each client."""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from strategies import messages as m
from strategies.nodes import Node
from strategies.rounds import RoundReport, RoundRules

_POLL_SECONDS = (0.02, 0.2)  # first and longest pause between two polls for replies
_GONE = {5: "the site is gone, switched off or cut off", 8: "its client process ended"}
"""Meaning, by code, of Flower's own error replies, which no client has sent."""
NO_REPLY = "no reply before the deadline"
_EXPIRED = (3, 4)
"""Codes of Flower's error replies for a message that expired without a reply."""
_QUERY_SECONDS = 600.0
"""Longest wait for a query: for the first, a site imports its libraries and opens its data; no query trains."""


def exchange(
    grid: Grid,
    outgoing: list[tuple[Node, Message]],
    report: RoundReport,
    seconds: Callable[[Node], float],
    at_once: int = 0,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Node, Message | str]]:
    """Push, then yield each node with its reply, or with the reason why there is none within its `seconds`.

    A reply belongs to the message it answers: Flower's own error replies name another node as their sender.

    Replies are pulled one at a time, so that the server holds one payload whatever the number of nodes. Bytes are
    counted in the report.

    Args:
        at_once: messages that wait for a reply at the same time; 0 for all.
        alive: called while there is no reply.
    """
    report.bytes_down += sum(m.payload_bytes(message) for _, message in outgoing)
    unsent, waiting = deque(outgoing), dict[str, tuple[Node, float]]()
    pause = _POLL_SECONDS[0]
    while unsent or waiting:
        free = (at_once or len(outgoing)) - len(waiting)
        sent = [unsent.popleft() for _ in range(min(free, len(unsent)))]
        for node, message_id, started in _push(grid, sent):
            if message_id:
                waiting[message_id] = node, started
            else:
                yield node, "the message could not be sent"
        arrived = False
        for message_id in list(waiting):
            for reply in grid.pull_messages([message_id]):
                (node, _), arrived = waiting.pop(message_id), True
                report.bytes_up += m.payload_bytes(reply)
                yield node, _error(reply.error.code, reply.error.reason or "") if reply.has_error() else reply
        now = time.monotonic()
        late = [message_id for message_id, (node, started) in waiting.items() if now - started >= seconds(node)]
        for message_id in late:
            yield waiting.pop(message_id)[0], NO_REPLY
        pause = _POLL_SECONDS[0] if arrived else min(2 * pause, _POLL_SECONDS[1])
        if waiting and not arrived:
            alive()
            time.sleep(pause)


def _push(grid: Grid, sent: Sequence[tuple[Node, Message]]) -> list[tuple[Node, str, float]]:
    """Each node with the id of its message, and when it was sent; "" for one that could not be."""
    if not sent:
        return []
    started = time.monotonic()
    # A grid returns an empty id for a message that it could not send, and no ids at all if it sent none.
    ids = list(grid.push_messages([message for _, message in sent])) or [""] * len(sent)
    return [(node, message_id, started) for message_id, (node, _) in zip(ids, sent, strict=True)]


def _error(code: int, reason: str | None) -> str:
    if code in _EXPIRED:  # the message expires shortly before the server stops waiting for its answer
        return NO_REPLY
    said = reason or "no reason given"
    return f"error {code}: {f'{_GONE[code]} ({said})' if code in _GONE else said}"


class Patience:
    """Learns the seconds that each client takes to answer, by kind of message.

    The longest wait is `deadline`, and ten minutes at most for a query. It applies to a client's first answer of a
    kind, and to its first training from `long_round` on; for the final model it is `final_seconds`, if there are some.
    Then the straggler rule applies, see `RoundRules`:

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
        if kind == MessageType.EVALUATE:
            return self.rules.whole_final
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
        if kind == MessageType.EVALUATE and rules.final_seconds and not gave_up:
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
