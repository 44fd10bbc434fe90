"""Exchange of messages: sends them and yields the replies one at a time."""

import time
from collections.abc import Callable, Iterator

from flwr.app import Message
from flwr.serverapp import Grid

from strategies import messages as m
from strategies.nodes import Node
from strategies.rounds import RoundReport

_POLL_SECONDS = (0.02, 0.2)  # first and longest pause between two polls for replies
_GONE = {5: "the site is gone, switched off or cut off", 8: "its client process ended"}
"""Meaning, by code, of Flower's own error replies, which no client has sent."""
NO_REPLY = "no reply before the deadline"
_EXPIRED = (3, 4)
"""Codes of Flower's error replies for a message that expired without a reply."""


def exchange(
    grid: Grid, outgoing: list[tuple[Node, Message]], report: RoundReport, seconds: Callable[[Node], float]
) -> Iterator[tuple[Node, Message | str]]:
    """Push, then yield each node with its reply, or with the reason why there is none within its `seconds`.

    A reply belongs to the message it answers: Flower's own error replies name another node as their sender.

    Replies are pulled one at a time, so that the server holds one payload whatever the number of nodes. Bytes are
    counted in the report.
    """
    report.bytes_down += sum(m.payload_bytes(message) for _, message in outgoing)
    started = time.monotonic()
    # A grid returns an empty id for a message that it could not send, and no ids at all if it sent none.
    ids = list(grid.push_messages([message for _, message in outgoing])) or [""] * len(outgoing)
    waiting: dict[str, Node] = {}
    for message_id, (node, _) in zip(ids, outgoing, strict=True):
        if message_id:
            waiting[message_id] = node
        else:
            yield node, "the message could not be sent"
    pause = _POLL_SECONDS[0]
    while waiting:
        arrived = False
        for message_id in list(waiting):
            for reply in grid.pull_messages([message_id]):
                node, arrived = waiting.pop(message_id), True
                report.bytes_up += m.payload_bytes(reply)
                yield node, _error(reply.error.code, reply.error.reason or "") if reply.has_error() else reply
        past = time.monotonic() - started
        late = [message_id for message_id, node in waiting.items() if past >= seconds(node)]
        for message_id in late:
            yield waiting.pop(message_id), NO_REPLY
        pause = _POLL_SECONDS[0] if arrived else min(2 * pause, _POLL_SECONDS[1])
        if waiting and not arrived:
            time.sleep(pause)


def _error(code: int, reason: str | None) -> str:
    if code in _EXPIRED:  # the message expires shortly before the server stops waiting for its answer
        return NO_REPLY
    said = reason or "no reason given"
    return f"error {code}: {f'{_GONE[code]} ({said})' if code in _GONE else said}"
