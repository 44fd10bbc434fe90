"""A Flower grid in one process: messages go straight to the ClientApp, and every one of them is recorded."""

from collections.abc import Callable, Iterable
from itertools import count

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity


class InProcessGrid(Grid):
    """Nodes 1..n with a context each.

    Args:
        app: the client's app.
        overrides: the run config.
        node_configs: one a node.
        tamper: sees each reply before it is delivered, and may change it or return None to lose it.
    """

    def __init__(
        self,
        app: ClientApp,
        overrides: str,
        node_configs: list[dict[str, object]],
        tamper: Callable[[Message, Message], Message | None] = lambda _, reply: reply,
    ) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1  # what Flower's processes set
        self.app = app
        self.tamper = tamper
        self.sent: list[Message] = []
        self.received: list[Message] = []
        self.contexts = {
            node_id: Context(1, node_id, dict(config), RecordDict(), {"overrides": overrides})
            for node_id, config in enumerate(node_configs, start=1)
        }
        self._replies: dict[str, Message] = {}
        self._ids = count(1)

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        raise NotImplementedError

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            message_id = f"message-{next(self._ids)}"
            message.metadata.__dict__["_message_id"] = message_id
            self.sent.append(message)
            try:
                reply = self.app(message, self.contexts[message.metadata.dst_node_id])
            except Exception as error:  # Flower turns whatever a client raises into an error reply
                reply = Message(Error(2, f"{type(error).__name__}: {error}"), reply_to=message)
            changed = self.tamper(message, reply)
            if changed is not None:
                self._replies[message_id] = changed
                self.received.append(changed)
            ids.append(message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError
