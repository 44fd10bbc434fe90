"""Directory of a federation's nodes: connected nodes, refused nodes, and requests to them."""

import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from models.names import look
from strategies import messages as m
from strategies.client_names import name_fault
from strategies.exchange import NO_REPLY, Patience, exchange
from strategies.nodes import Node, RefusedError, agreed_digests, read_node
from strategies.proofs import Names, reply_statement
from strategies.rounds import SIMULATED_AT_ONCE, FederationError, Missing, RoundReport, RoundRules, UnusableSumError
from strategies.share_keys import ShareKeyRules

_LOOK_SECONDS = 0.5  # seconds between two queries for nodes


class NodeDirectory:
    """Finds nodes, keeps their descriptions, and drops a node without a good answer until its next query.

    Args:
        rules: see `RoundRules`.
        names: who may carry which name; None takes each node at its word, as in a simulation.
        waiting: called while too few nodes are connected.
        alive: called while there is no reply.
        dropped: called with a client's name and the reason why it takes no part for now.
    """

    def __init__(
        self,
        rules: RoundRules,
        names: Names | None = None,
        waiting: Callable[[Missing], None] = lambda _: None,
        alive: Callable[[], None] = lambda: None,
        dropped: Callable[[str, str], None] = lambda _, __: None,
    ) -> None:
        self.rules = rules
        self.names = names
        self.waiting = waiting
        self.alive = alive
        self.dropped = dropped
        self.nodes: dict[int, Node] = {}
        self.key_id = rules.key_id
        """The federation key that nodes must hold; None until the first ones have answered."""
        self.unusable: dict[str, str] = {}
        """Clients that could not take the last aggregate over in this round, with their reasons."""
        self.accused: set[str] = set()
        """Clients that dealt bad shares in an attempt at this round that failed: they are not in the next one."""
        self._refused: dict[int, str] = {}
        self._names: dict[int, str] = {}  # of every node that has ever described itself
        self._patience = Patience(rules)
        self._late: dict[int, list[str]] = {}  # node -> ids of its messages without an answer in time
        self._expected = 0  # nodes of the federation, once they were there together

    def start_round(self) -> None:
        """Let refused nodes describe themselves again."""
        self._refused.clear()
        self.unusable.clear()
        self.accused.clear()

    @property
    def _at_once(self) -> int:
        """Messages that wait for a reply at once, 0 for all.

        In a simulation few clients compute at once, and Flower looks through all waiting messages for each client, over
        and over: with 256 of them that took three quarters of a core."""
        return max(SIMULATED_AT_ONCE, 2 * self.rules.simulated_at_once) if self.rules.simulated else 0

    def needed(self) -> float:
        """Replies that make a round: a share of those that a full federation would send."""
        return max(self.rules.min_clients, self.rules.quorum * max(1, round(self.rules.fraction * self._expected)))

    def gather(self, grid: Grid, report: RoundReport) -> list[Node]:
        """The connected nodes, by client name.

        A server after its start, or restart, waits for all of them, and after the start timeout continues with a
        quorum; later rounds take the connected ones."""
        required = 1 if self._expected else self.rules.num_clients
        deadline = time.monotonic() + self.rules.start_timeout
        while True:
            self._look_up(grid, report)
            if self.rules.simulated:  # in Flower's simulation nodes know their number; a real one may lie
                required = min([required, *(node.num_nodes for node in self.nodes.values() if node.num_nodes)])
            enough = len(self.nodes) >= max(1.0, self.rules.quorum * required)
            # The server does not wait for a refused node, and for a silent one only if the round needs it.
            lacking = len(self.nodes) < self.needed() and not self._patience.silent.isdisjoint(self._refused)
            if enough and not lacking and len(self.nodes) + len(self._refused) >= required:
                break
            if time.monotonic() > deadline:
                if enough:
                    break
                refused = "; ".join(self._refused.values()) or "none refused"
                here = ", ".join(sorted(node.client for node in self.nodes.values())) or "none"
                raise FederationError(
                    f"{len(self.nodes)} of {required} nodes after the start timeout (here: {here}; {refused})"
                )
            names = sorted(node.client for node in self.nodes.values())
            at_least = max(required, math.ceil(self.needed()))
            self.waiting(Missing(at_least, names, list(self._refused.values()), deadline - time.monotonic()))
            time.sleep(_LOOK_SECONDS)
        self._expected = self._expected or required
        present = [node for node in self.nodes.values() if node.client not in self.accused]
        return sorted(present, key=lambda node: node.client)

    def _look_up(self, grid: Grid, report: RoundReport) -> None:
        """Query nodes that are new or have to describe themselves again; forget those that disconnected."""
        present = set(grid.get_node_ids())
        self.nodes = {node_id: node for node_id, node in self.nodes.items() if node_id in present}
        self._refused = {node_id: reason for node_id, reason in self._refused.items() if node_id in present}
        self._wake_the_late(grid, present)
        unknown = sorted(present - self.nodes.keys() - self._refused.keys())
        asked = [(Node(node_id, self._name(node_id), 0, {}), self._describe(node_id)) for node_id in unknown]
        replies = list(self.ask(grid, asked, report))
        if self.key_id is None and replies:
            self.key_id = _most_common_key(reply.content for _, reply in replies)
        for node, reply in replies:
            try:
                known = self.read(node, m.config_of(reply.content, m.INFO))
                self._require_own(known)
                if self.rules.check_versions is not None:
                    self.rules.check_versions(known.client, m.config_of(reply.content, m.INFO))
                self.nodes[node.node_id] = known
                self._names[node.node_id] = known.client
            except (RefusedError, m.MessageError) as error:
                named = replace(node, client=self._named(node, reply.content))
                self.leave_out(report, named, f"refused: {error}")
                self._refused[node.node_id] = f"{named.client}: refused: {error}"
        reasons = {row["client"]: row["reason"] for row in report.left_out}
        for node, _ in asked:  # a node without a good answer is not queried again in this round
            if node.node_id not in self.nodes:
                self._refused.setdefault(node.node_id, f"{node.client}: {reasons.get(node.client, 'no answer')}")

    def _require_own(self, node: Node) -> None:
        """Raise RefusedError for the name or share key of another node, and, where no certificate proves names, for a
        name that looks like it."""
        name = node.client
        for other in self.nodes.values():
            if node.share_key and other.share_key == node.share_key and other.client != name:
                raise RefusedError(f"it has the share key of {other.client!r}")
            if other.client == name:
                raise RefusedError(f"another node already calls itself {name!r}")
            if self.names is None and look(other.client) == look(name):
                raise RefusedError(f"its name {name!r} looks like that of {other.client!r}; choose another")

    def _named(self, node: Node, content: RecordDict) -> str:
        """A refused node by its name, or by its number and what it calls itself if it was never let in."""
        said = str(content.config_records.get(m.INFO, ConfigRecord()).get(m.CLIENT, ""))
        known = node.node_id in self._names or bool(name_fault(said))
        return node.client if known else f"{said} ({node.client})"

    def _wake_the_late(self, grid: Grid, present: set[int]) -> None:
        """Readmit nodes that answer a message after its deadline.

        Their late answers are not used: they describe an earlier state."""
        self._patience.present(present)
        self._late = {node_id: ids for node_id, ids in self._late.items() if node_id in self._patience.silent}
        for node_id, ids in list(self._late.items()):
            for message_id in list(ids):
                for reply in grid.pull_messages([message_id]):
                    ids.remove(message_id)  # answered, or no longer kept by Flower
                    if not reply.has_error():
                        self._patience.silent.discard(node_id)
                        self._refused.pop(node_id, None)

    def ask(
        self, grid: Grid, outgoing: list[tuple[Node, Message]], report: RoundReport
    ) -> Iterator[tuple[Node, Message]]:
        """Good replies, one at a time as they arrive; failed and late nodes, and those under another's name, are
        reported."""
        asked = {node.node_id: message for node, message in outgoing}
        started = time.monotonic()

        def seconds(node: Node) -> float:
            kind = asked[node.node_id].metadata.message_type
            return self._patience.seconds(node, kind, report.server_round)

        for node, answer in exchange(grid, outgoing, report, seconds, self._at_once, self.alive):
            metadata = asked[node.node_id].metadata
            if answer == NO_REPLY:
                if node.node_id in self._patience.silent:
                    answer = f"silent still: no reply within {seconds(node):g} s"
                self._patience.missed(node, metadata.message_type)
                if metadata.message_type == MessageType.QUERY:  # any other late reply is large and useless
                    self._late.setdefault(node.node_id, []).append(metadata.message_id)
            if isinstance(answer, str):
                self.leave_out(report, node, answer)
                continue
            self._patience.answered(node, metadata.message_type, time.monotonic() - started, report.server_round)
            if answer.metadata.src_node_id != node.node_id:  # hooks of a strategy identify a reply by its sender
                self.leave_out(report, node, f"refused: its reply names node {answer.metadata.src_node_id} as sender")
            elif reason := self._not_itself(node, asked[node.node_id], answer):
                self.leave_out(report, node, f"refused: {reason}")
            elif reason := m.unusable_sum(answer.content):
                self.unusable[node.client] = reason
                self.leave_out(report, node, reason)
            else:
                yield node, answer

    def _not_itself(self, node: Node, asked: Message, answer: Message) -> str:
        """Why a reply does not prove the name of its sender; "" if it does, or if names are not checked."""
        if self.names is None:
            return ""
        proof = answer.content.config_records.get(m.PROOF, ConfigRecord())
        certificate, signature = proof.get(m.CERTIFICATE), proof.get(m.SIGNATURE)
        if not isinstance(certificate, str) or not isinstance(signature, bytes):
            return "its reply proves no name"
        config = m.config_of(asked.content, m.CONFIG)
        statement = reply_statement(node.node_id, asked.metadata.message_type, config, answer.content)
        try:
            name = self.names.proven(certificate, signature, statement)
        except RefusedError as error:
            return str(error)
        said = answer.content.config_records.get(m.INFO, ConfigRecord()).get(m.CLIENT, name)
        if said != name:
            return f"calls itself {said!r}, and its certificate is of {name!r}"
        known = self.nodes.get(node.node_id)
        return f"answers with the certificate of {name!r}" if known and known.client != name else ""

    def _name(self, node_id: int) -> str:
        return self._names.get(node_id, f"node {node_id}")

    def read(self, node: Node, info: Mapping[str, Any]) -> Node:
        """Query for a node's description."""
        rules, key_id = self.rules, self.key_id or ""
        shares = None if rules.share_authority is None else ShareKeyRules(rules.share_authority(), key_id)
        return read_node(node.node_id, info, task=rules.task, layout=rules.layout, key_id=key_id, share_keys=shares)

    def use(self, rules: RoundRules) -> None:
        """Use these rules from now on; knowledge about the nodes stays."""
        self.rules = self._patience.rules = rules

    def message(self, node_id: int, message_type: str, server_round: int, content: RecordDict) -> Message:
        """A message that expires with its deadline, with a challenge for the proof of the node's name."""
        m.config_of(content, m.CONFIG).setdefault(m.CHALLENGE, secrets.token_hex(16))
        seconds = self._patience.whole(message_type)  # a silent node may answer late that it is back
        if (
            message_type == MessageType.TRAIN and node_id in self.nodes and not self.rules.simulated
        ):  # nobody needs it late
            seconds = self._patience.seconds(self.nodes[node_id], message_type, server_round)
        return Message(content, node_id, message_type, ttl=seconds, group_id=str(server_round))

    def _describe(self, node_id: int) -> Message:
        config = {m.RUN_KEY: self.rules.run_key, m.ACTION: m.ACTION_DESCRIBE, m.SERVER_ROUND: 0}
        return self.message(node_id, MessageType.QUERY, 0, m.with_config(config))

    def raise_if_unusable(self, grid: Grid, version: int, report: RoundReport) -> None:
        """Raise UnusableSumError if a quorum could not apply the last aggregate, and fewer report that they have.

        Args:
            version: of the global model that the aggregate makes."""
        refusals = dict(self.unusable)
        if not refusals or len(refusals) < self.needed():
            return
        self.start_round()  # nodes left out in this round can still report what they hold
        nodes = self.gather(grid, report)
        holders = sum(version in node.held for node in nodes)  # a lying node must not hold the others back
        if holders < self.needed() and version - 1 in agreed_digests(nodes):
            reasons = "; ".join(f"{client}: {reason}" for client, reason in sorted(refusals.items()))
            raise UnusableSumError(
                f"{'too few clients' if holders else 'no client'} can use the sum of round {version}: {reasons}"
            )

    def leave_out(self, report: RoundReport, node: Node, reason: str) -> None:
        """Count and name it; the node describes itself again before its next round."""
        self.nodes.pop(node.node_id, None)
        report.leave_out(node.client, reason)
        self.dropped(node.client, reason)


def _most_common_key(contents: Iterable[RecordDict]) -> str:
    """The key id that most of the first nodes name; ties go to the smaller one."""
    infos = [content.config_records.get(m.INFO, ConfigRecord()) for content in contents]
    count = Counter(str(info.get(m.KEY_ID, "")) for info in infos)
    return min(count, key=lambda key_id: (-count[key_id], key_id))
