"""Partially synchronised federated averaging: the round loop.

w_{r+1} = step(w_r, sum_k c_k u_k / sum_k c_k) over the shared arrays, u_k = client minus global, c_k = n_k / sum n by
default (McMahan et al., 2017, Alg. 1). The server only adds payloads; the step is computed by every client. Flower's
stock loop has no resume, no convergence rule, no deadline of its own, and holds all replies at once; this one folds
replies one at a time. A node that fails costs its own reply and nothing else.
"""

import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from strategies import messages as m
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError, ServerSum
from strategies.exchange import exchange
from strategies.nodes import Node, RefusedError, agreed_digests, read_node
from strategies.rounds import FederationError, RoundReport, RoundRules, ServerState

_QUERY_SECONDS = 600.0
_LOOK_SECONDS = 0.5  # between two looks for nodes


class PartialSync:
    """Runs the federation over a Flower grid.

    Args:
        rules: see `RoundRules`.
        new_sum: makes an empty running sum of payloads with this binding and key id.
        on_round: called after each complete round with its report and the state to be stored; a round whose call fails
            did not happen.
    """

    def __init__(
        self,
        rules: RoundRules,
        new_sum: Callable[[Binding, str], ServerSum],
        on_round: Callable[[RoundReport, ServerState], None],
    ) -> None:
        self.rules = rules
        self.new_sum = new_sum
        self.on_round = on_round
        self.nodes: dict[int, Node] = {}
        self.refused: dict[int, str] = {}
        self.key_id = rules.key_id
        self._expected = 0  # nodes of the federation, once they were there together

    def run(self, grid: Grid, state: ServerState) -> tuple[ServerState, RoundReport]:
        """Rounds `state.server_round` + 1 to the last; then every node gets and measures the final model.

        Raises FederationError if too few nodes are there, or a round stays below the quorum."""
        if self.key_id is None:
            self.key_id = state.key_id
        while state.server_round < self.rules.rounds and not state.convergence.reached:
            report, state = self._round(grid, state)
            self.on_round(report, state)
        return state, self._deliver(grid, state)

    def _round(self, grid: Grid, state: ServerState) -> tuple[RoundReport, ServerState]:
        started = time.monotonic()
        report = RoundReport(state.server_round + 1)
        self.refused.clear()
        for _ in range(self.rules.retries + 1):
            report.attempts += 1
            cohort = self._cohort(grid, report)
            names = tuple(node.client for node in cohort)
            rules, nonce = self.rules, secrets.token_hex(8)
            binding = Binding(rules.run_key, rules.layout, report.server_round, report.attempts, names, nonce)
            total = self.new_sum(binding, self.key_id or "")
            coefficients: list[float] = []
            measured: dict[str, tuple[int, dict[str, float]]] = {}
            for node, reply in self._ask(grid, self._train_messages(grid, cohort, binding, state, report), report):
                try:
                    coefficients.append(self._fold(total, node, reply, self._coefficient(node, cohort)))
                except (CipherError, m.MessageError, RefusedError) as error:
                    self._leave_out(report, node, str(error))
                    continue
                measured[node.client] = (node.num_examples, m.measures_of(reply.content))
            aggregate = b""
            if len(measured) >= self._needed() and self._unmask(grid, total, binding, cohort, set(measured), report):
                try:
                    aggregate = total.payload()
                except CipherError as error:
                    report.leave_out("the sum", str(error))
            if aggregate:
                break
        else:
            reasons = "; ".join(f"{row['client']}: {row['reason']}" for row in report.left_out) or "no replies"
            raise FederationError(f"round {report.server_round} stayed below the quorum: {reasons}")
        report.clients = {client: measures for client, (_, measures) in sorted(measured.items())}
        report.measures = _weighted_means(measured)
        coefficient_sum = math.fsum(coefficients)  # rounded once: the order of arrival does not matter
        report.coefficient_sum = coefficient_sum
        convergence = state.convergence
        if "global_mAP" in report.measures:
            convergence = convergence.after(report.measures["global_mAP"])
        after = ServerState(report.server_round, convergence, aggregate, coefficient_sum, self.key_id)
        report.seconds = time.monotonic() - started
        return report, after

    def _unmask(
        self, grid: Grid, total: ServerSum, binding: Binding, cohort: list[Node], present: set[str], report: RoundReport
    ) -> bool:
        """Where somebody dropped out of a masked round, ask the others for the seeds they share with it.

        Returns whether the sum can be opened; without an answer of every client in it, the round has to be repeated."""
        missing = [node.client for node in cohort if node.client not in present]
        if not self.rules.masking or not missing:
            return True
        config = self._attempt_config(binding, cohort) | {m.ACTION: m.ACTION_DISCLOSE, m.MISSING: missing}
        asked = [
            (node, self._message(node.node_id, MessageType.QUERY, str(report.server_round), _with_config(config)))
            for node in cohort
            if node.client in present
        ]
        answered = set()
        for node, reply in self._ask(grid, asked, report):
            try:
                total.disclose(node.client, m.bytes_of(reply.content, m.SEEDS))
                answered.add(node.client)
            except (CipherError, m.MessageError) as error:
                self._leave_out(report, node, str(error))
        return answered == present

    def _attempt_config(self, binding: Binding, cohort: list[Node]) -> dict[str, Any]:
        """What a client needs to bind its payload to this attempt and to share masks with the cohort."""
        return {
            m.RUN_KEY: binding.run_key,
            m.SERVER_ROUND: binding.server_round,
            m.ATTEMPT: binding.attempt,
            m.NONCE: binding.nonce,
            m.COHORT: [node.client for node in cohort],
            m.MASK_CARDS: [node.mask_card for node in cohort],
        }

    def _deliver(self, grid: Grid, state: ServerState) -> RoundReport:
        """Give every node the final model and collect its measures."""
        started = time.monotonic()
        report = RoundReport(state.server_round + 1)
        self.refused.clear()
        nodes = self._gather(grid, report)
        outgoing = self._messages(grid, nodes, state, report, MessageType.EVALUATE, lambda _: {m.MEASURE: True})
        measured = {}
        for node, reply in self._ask(grid, outgoing, report):
            measured[node.client] = (node.num_examples, m.measures_of(reply.content))
        if not measured:
            raise FederationError("the final model reached no node: " + str(report.left_out))
        report.clients = {client: measures for client, (_, measures) in sorted(measured.items())}
        report.measures = _weighted_means(measured)
        report.seconds = time.monotonic() - started
        return report

    def _needed(self) -> float:
        """Replies that make a round: a share of those that a full federation would send."""
        return max(self.rules.min_clients, self.rules.quorum * max(1, round(self.rules.fraction * self._expected)))

    def _cohort(self, grid: Grid, report: RoundReport) -> list[Node]:
        """The nodes of this round, by client name: a seeded draw from those that are there."""
        nodes = self._gather(grid, report)
        count = min(max(1, round(self.rules.fraction * len(nodes))), self.rules.max_clients or len(nodes))
        draw = np.random.default_rng((self.rules.seed, report.server_round)).permutation(len(nodes))[:count]
        return [nodes[index] for index in sorted(draw)]

    def _gather(self, grid: Grid, report: RoundReport) -> list[Node]:
        """The nodes that are there, by client name.

        A server that has just started, or started again, waits for all of them, and after the start timeout goes on
        with a quorum; later rounds take who is there."""
        wanted = 1 if self._expected else self.rules.num_clients
        deadline = time.monotonic() + self.rules.start_timeout
        while True:
            self._look_up(grid, report)
            wanted = min([wanted, *(node.num_nodes for node in self.nodes.values() if node.num_nodes)])
            enough = len(self.nodes) >= max(1.0, self.rules.quorum * wanted)
            if enough and len(self.nodes) + len(self.refused) >= wanted:  # a refused node is not waited for
                break
            if time.monotonic() > deadline:
                if enough:
                    break
                refused = "; ".join(self.refused.values()) or "none refused"
                raise FederationError(f"{len(self.nodes)} of {wanted} nodes after the start timeout ({refused})")
            time.sleep(_LOOK_SECONDS)
        self._expected = self._expected or wanted
        return sorted(self.nodes.values(), key=lambda node: node.client)

    def _look_up(self, grid: Grid, report: RoundReport) -> None:
        """Ask nodes that are new or have to describe themselves again; forget those that went away."""
        present = set(grid.get_node_ids())
        self.nodes = {node_id: node for node_id, node in self.nodes.items() if node_id in present}
        self.refused = {node_id: reason for node_id, reason in self.refused.items() if node_id in present}
        unknown = sorted(present - self.nodes.keys() - self.refused.keys())
        asked = [
            (
                Node(node_id, f"node {node_id}", 0, {}),
                self._message(node_id, MessageType.QUERY, "0", self._describe()),
            )
            for node_id in unknown
        ]
        seconds = min(_QUERY_SECONDS, self.rules.deadline)
        replies = list(self._ask(grid, asked, report, seconds=seconds))
        if self.key_id is None and replies:
            self.key_id = _most_common_key(reply.content for _, reply in replies)
        for node, reply in replies:
            try:
                known = self._read(node, m.config_of(reply.content, m.INFO))
                if any(other.client == known.client for other in self.nodes.values()):
                    raise RefusedError(f"another node already calls itself {known.client!r}")
                self.nodes[node.node_id] = known
            except (RefusedError, m.MessageError) as error:
                self._leave_out(report, node, f"refused: {error}")
        reasons = {row["client"]: row["reason"] for row in report.left_out}
        for node, _ in asked:  # whoever gave no good answer is not asked again in this round
            if node.node_id not in self.nodes:
                self.refused[node.node_id] = f"{node.client}: {reasons.get(node.client, 'no answer')}"

    def _train_messages(
        self, grid: Grid, cohort: list[Node], binding: Binding, state: ServerState, report: RoundReport
    ) -> list[tuple[Node, Message]]:
        every = self.rules.measure_every
        measure = every > 0 and state.server_round > 0 and state.server_round % every == 0
        shares = {node.node_id: self._coefficient(node, cohort) for node in cohort}
        attempt = self._attempt_config(binding, cohort)
        return self._messages(
            grid,
            cohort,
            state,
            report,
            MessageType.TRAIN,
            lambda node: {m.COEFFICIENT: shares[node.node_id], m.MEASURE: measure, **attempt},
        )

    def _coefficient(self, node: Node, cohort: list[Node]) -> float:
        if self.rules.weighting == "examples":
            return node.num_examples / sum(other.num_examples for other in cohort)
        return 1.0 / len(cohort)  # "cosine_distance" scales this share on the client

    def _messages(
        self,
        grid: Grid,
        nodes: list[Node],
        state: ServerState,
        report: RoundReport,
        message_type: str,
        config: Callable[[Node], dict[str, Any]],
    ) -> list[tuple[Node, Message]]:
        """One message a node, with what it needs to reach the current global model: nothing, the last aggregate, or the
        whole model from an up-to-date node."""
        version = state.server_round
        digests = agreed_digests(self.nodes.values())
        aggregate = m.bytes_record(m.AGGREGATE, state.aggregate) if state.aggregate else None
        relayed: ArrayRecord | None = None
        result = []
        for node in nodes:
            content = _with_config(
                {
                    m.RUN_KEY: self.rules.run_key,
                    m.SERVER_ROUND: report.server_round,
                    m.COEFFICIENT_SUM: state.coefficient_sum,
                    **config(node),
                }
            )
            if _holds(node, version, digests):
                pass
            elif aggregate is not None and _holds(node, version - 1, digests):
                content[m.AGGREGATE] = aggregate
            else:
                try:
                    relayed = relayed or self._relay(grid, state, digests, report)
                except FederationError as error:
                    self._leave_out(report, node, str(error))
                    continue
                content[m.GLOBAL] = relayed
            result.append((node, self._message(node.node_id, message_type, str(report.server_round), content)))
        return result

    def _relay(self, grid: Grid, state: ServerState, digests: dict[int, str], report: RoundReport) -> ArrayRecord:
        """The current global model, sealed by an up-to-date node."""
        version = state.server_round
        for node in sorted(self.nodes.values(), key=lambda node: node.client):
            content = _with_config(
                {
                    m.RUN_KEY: self.rules.run_key,
                    m.ACTION: m.ACTION_SEND_GLOBAL,
                    m.SERVER_ROUND: version + 1,
                    m.COEFFICIENT_SUM: state.coefficient_sum,
                }
            )
            if not _holds(node, version, digests):
                if not state.aggregate or not _holds(node, version - 1, digests):
                    continue
                content[m.AGGREGATE] = m.bytes_record(m.AGGREGATE, state.aggregate)
            message = self._message(node.node_id, MessageType.QUERY, str(version), content)
            for _, reply in self._ask(grid, [(node, message)], report):
                try:
                    return m.bytes_record(m.GLOBAL, m.bytes_of(reply.content, m.GLOBAL))
                except m.MessageError as error:
                    self._leave_out(report, node, str(error))
        raise FederationError(f"no node holds the global model of round {version}")

    def _ask(
        self, grid: Grid, outgoing: list[tuple[Node, Message]], report: RoundReport, seconds: float | None = None
    ) -> Iterator[tuple[Node, Message]]:
        """Good replies one at a time as they come; failed and late nodes are reported."""
        for node, answer in exchange(grid, outgoing, report, seconds or self.rules.deadline):
            if isinstance(answer, str):
                self._leave_out(report, node, answer)
            else:
                yield node, answer

    def _fold(self, total: ServerSum, node: Node, reply: Message, share: float) -> float:
        """Add one reply to the sum; its coefficient. Raises an error of the reply's own and adds nothing."""
        info = m.config_of(reply.content, m.INFO)
        known = self._read(node, info)
        if known.client != node.client:
            raise RefusedError(f"answers as {known.client!r}")
        coefficient = info.get(m.COEFFICIENT)
        scaled = self.rules.weighting == "cosine_distance"  # the client may lower its share, and never raise it
        if not isinstance(coefficient, float) or not (0 < coefficient <= share if scaled else coefficient == share):
            raise m.MessageError(f"{m.COEFFICIENT} is {coefficient!r}, the share of this client is {share!r}")
        total.add(m.bytes_of(reply.content, m.UPDATE), node.client)
        self.nodes[node.node_id] = replace(known, num_examples=node.num_examples)
        return coefficient

    def _read(self, node: Node, info: ConfigRecord) -> Node:
        """What a node says of itself."""
        rules = self.rules
        return read_node(node.node_id, info, task=rules.task, layout=rules.layout, key_id=self.key_id or "")

    def _describe(self) -> RecordDict:
        return _with_config({m.RUN_KEY: self.rules.run_key, m.ACTION: m.ACTION_DESCRIBE, m.SERVER_ROUND: 0})

    def _message(self, node_id: int, message_type: str, group_id: str, content: RecordDict) -> Message:
        """A message that nobody works on any more once its deadline has passed."""
        return Message(content, node_id, message_type, ttl=self.rules.deadline, group_id=group_id)

    def _leave_out(self, report: RoundReport, node: Node, reason: str) -> None:
        """Count and name it; the node describes itself again before its next round."""
        self.nodes.pop(node.node_id, None)
        report.leave_out(node.client, reason)


def _most_common_key(contents: Iterable[RecordDict]) -> str:
    """The key id that most of the first nodes name; ties go to the smaller one."""
    infos = [content.config_records.get(m.INFO, ConfigRecord()) for content in contents]
    count = Counter(str(info.get(m.KEY_ID, "")) for info in infos)
    return min(count, key=lambda key_id: (-count[key_id], key_id))


def _with_config(config: dict[str, Any]) -> RecordDict:
    return RecordDict({m.CONFIG: ConfigRecord(config)})


def _holds(node: Node, version: int, digests: dict[int, str]) -> bool:
    return version in node.held and node.held[version] == digests.get(version)


def _weighted_means(measured: dict[str, tuple[int, dict[str, float]]]) -> dict[str, float]:
    """Mean of each measure over the clients that have it, weighted by their examples."""
    names = sorted({name for _, measures in measured.values() for name in measures})
    means = {}
    for name in names:
        rows = [(count, measures[name]) for _, (count, measures) in sorted(measured.items()) if name in measures]
        means[name] = float(np.average([value for _, value in rows], weights=[count for count, _ in rows]))
    return means
