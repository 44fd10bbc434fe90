"""Partially synchronised federated averaging: the round loop.

w_{r+1} = step(w_r, sum_k c_k u_k / sum_k c_k) over the shared arrays, u_k = client minus global, c_k = n_k / sum n by
default (McMahan et al., 2017, Alg. 1), where no claim n_k counts beyond `max_share`. The server only adds payloads; the
step is computed by every client. Flower's stock loop has no resume, no convergence rule, no deadline of its own, and
holds all replies at once; this one folds replies one at a time. A node that fails costs its own reply and nothing else.
"""

import logging
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import Message, MessageType, MetricRecord
from flwr.serverapp import Grid

from strategies import messages as m
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError, ServerSum
from strategies.claims import capped, checked_measures, typical
from strategies.delivery import ModelDelivery
from strategies.directory import NodeDirectory
from strategies.nodes import Node, RefusedError, agreed_digests
from strategies.proofs import Names
from strategies.rounds import (
    THE_SUM,
    FederationError,
    RoundListener,
    RoundReport,
    RoundRules,
    ServerState,
    UnusableSumError,
)

_log = logging.getLogger("flwr")


class PartialSync:
    """Runs the federation over a Flower grid.

    Args:
        rules: see `RoundRules`.
        new_sum: makes an empty running sum of payloads with this binding and key id.
        listener: stores what a resumed run needs, and shows how rounds go.
        names: who may carry which name; None takes each node at its word.
    """

    def __init__(
        self,
        rules: RoundRules,
        new_sum: Callable[[Binding, str], ServerSum],
        listener: RoundListener,
        names: Names | None = None,
    ) -> None:
        self.rules = rules
        self.new_sum = new_sum
        self.listener = listener
        self._undone: dict[int, list[str]] = {}  # round -> why it was taken back, each time
        self.directory = NodeDirectory(rules, names, listener.waiting)
        self.delivery = ModelDelivery(self.directory)

    def run(self, grid: Grid, state: ServerState) -> tuple[ServerState, RoundReport]:
        """Rounds `state.server_round` + 1 to the last; then every node gets and measures the final model.

        Raises FederationError if too few nodes are there, or a round stays below the quorum."""
        if self.directory.key_id is None:
            self.directory.key_id = state.key_id
        while True:
            try:
                while state.server_round < self.rules.rounds and not state.convergence.reached:
                    report, state = self._round(grid, state)
                    self.listener.finished(report, state)
                return state, self._deliver(grid, state)
            except UnusableSumError as error:
                state = self._take_back(state, error)

    def _take_back(self, state: ServerState, error: UnusableSumError) -> ServerState:
        """The state before the last round, which every node still holds: a sum that nobody can use must not end a run.

        Raises FederationError if the round was taken back before; its checkpoint is the state before it all the same.
        """
        times = self._undone.setdefault(state.server_round, [])
        times.append(str(error))
        before = replace(state, server_round=state.server_round - 1, aggregate=b"", coefficient_sum=0.0)
        self.listener.undone(before)
        if len(times) > self.rules.retries:
            raise FederationError(str(error))
        _log.warning("%s; the round is taken back", error)
        return before

    def _round(self, grid: Grid, state: ServerState) -> tuple[RoundReport, ServerState]:
        started = time.monotonic()
        report = RoundReport(state.server_round + 1)
        self._begin(report)
        for _ in range(self.rules.retries + 1):
            report.attempts += 1
            cohort = self._cohort(grid, report)
            names = tuple(node.client for node in cohort)
            self.listener.started(report.server_round, report.attempts, names)
            rules, nonce = self.rules, secrets.token_hex(8)
            binding = Binding(rules.run_key, rules.layout, report.server_round, report.attempts, names, nonce)
            total = self.new_sum(binding, self.directory.key_id or "")
            coefficients: list[float] = []
            measured: dict[str, tuple[int, dict[str, float]]] = {}
            shares = self._shares(cohort)
            outgoing = self._train_messages(grid, cohort, shares, binding, state, report)
            for node, reply in self.directory.ask(grid, outgoing, report):
                try:
                    measures = self._measures(reply)  # before anything is added: the sum has whom the report names
                    coefficients.append(self._fold(total, node, reply, shares[node.node_id]))
                except (CipherError, m.MessageError, RefusedError) as error:
                    self.directory.leave_out(report, node, str(error))
                    continue
                measured[node.client] = (node.num_examples, measures)
                self.listener.replied(node.client)
            aggregate = b""
            enough = len(measured) >= self.directory.needed()
            if enough and self._unmask(grid, total, binding, cohort, set(measured), report):
                try:
                    aggregate = total.payload()
                except CipherError as error:
                    report.leave_out(THE_SUM, str(error))
            if aggregate:
                break
            self._raise_if_unusable(grid, state, report)
        else:
            reasons = "; ".join(f"{row['client']}: {row['reason']}" for row in report.left_out) or "no replies"
            raise FederationError(f"round {report.server_round} stayed below the quorum: {reasons}")
        report.clients = {client: measures for client, (_, measures) in sorted(measured.items())}
        report.measures = self._means(measured)
        coefficient_sum = math.fsum(coefficients)  # rounded once: the order of arrival does not matter
        report.coefficient_sum = coefficient_sum
        convergence = state.convergence
        headline = f"global_{self.rules.headline}"
        values = [row[headline] for row in report.clients.values() if headline in row]
        if values:
            convergence = convergence.after(typical(values), report.server_round - 1)
        after = ServerState(
            report.server_round, convergence, aggregate, coefficient_sum, self.directory.key_id, state.generation
        )
        report.seconds = time.monotonic() - started
        return report, after

    def _begin(self, report: RoundReport) -> None:
        """Let every node describe itself again, and name the sums that were taken back."""
        self.directory.start_round()
        for reason in self._undone.get(report.server_round, ()):
            report.leave_out(THE_SUM, reason)

    def _unmask(
        self, grid: Grid, total: ServerSum, binding: Binding, cohort: list[Node], present: set[str], report: RoundReport
    ) -> bool:
        """Where somebody dropped out of a masked round, ask the others for the seeds they share with it.

        Returns whether the sum can be opened; without an answer of every client in it, the round has to be repeated."""
        missing = [node.client for node in cohort if node.client not in present]
        if not self.rules.masking or not missing:
            return True
        content = m.with_config(
            self._attempt_config(binding, cohort) | {m.ACTION: m.ACTION_DISCLOSE, m.MISSING: missing}
        )
        asked = [
            (node, self.directory.message(node.node_id, MessageType.QUERY, report.server_round, content))
            for node in cohort
            if node.client in present
        ]
        answered = set()
        for node, reply in self.directory.ask(grid, asked, report):
            try:
                total.disclose(node.client, m.bytes_of(reply.content, m.SEEDS))
                answered.add(node.client)
            except (CipherError, m.MessageError) as error:
                self.directory.leave_out(report, node, str(error))
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
        self._begin(report)
        nodes = self.directory.gather(grid, report)
        outgoing = self.delivery.messages(grid, nodes, state, report, MessageType.EVALUATE, lambda _: {m.MEASURE: True})
        measured = {}
        for node, reply in self.directory.ask(grid, outgoing, report):
            try:
                measured[node.client] = (node.num_examples, self._measures(reply))
            except m.MessageError as error:
                self.directory.leave_out(report, node, str(error))
        if not measured:
            self._raise_if_unusable(grid, state, report)
            raise FederationError("the final model reached no node: " + str(report.left_out))
        report.clients = {client: measures for client, (_, measures) in sorted(measured.items())}
        report.measures = self._means(measured)
        report.seconds = time.monotonic() - started
        return report

    def _raise_if_unusable(self, grid: Grid, state: ServerState, report: RoundReport) -> None:
        """Raise UnusableSumError if a quorum could not take the last aggregate over, and fewer say that they have."""
        version, refusals = state.server_round, dict(self.directory.unusable)
        if not refusals or len(refusals) < self.directory.needed():
            return
        self.directory.start_round()  # they left something out in this round, and can tell what they hold all the same
        nodes = self.directory.gather(grid, report)
        holders = sum(version in node.held for node in nodes)  # one that lies about it must not keep the others there
        if holders < self.directory.needed() and version - 1 in agreed_digests(nodes):
            reasons = "; ".join(f"{client}: {reason}" for client, reason in sorted(refusals.items()))
            raise UnusableSumError(
                f"{'too few clients' if holders else 'no client'} can use the sum of round {version}: {reasons}"
            )

    def _cohort(self, grid: Grid, report: RoundReport) -> list[Node]:
        """The nodes of this round, by client name: a seeded draw from those that are there."""
        nodes = self.directory.gather(grid, report)
        count = min(max(1, round(self.rules.fraction * len(nodes))), self.rules.max_clients or len(nodes))
        draw = np.random.default_rng((self.rules.seed, report.server_round)).permutation(len(nodes))[:count]
        return [nodes[index] for index in sorted(draw)]

    def _train_messages(
        self,
        grid: Grid,
        cohort: list[Node],
        shares: dict[int, float],
        binding: Binding,
        state: ServerState,
        report: RoundReport,
    ) -> list[tuple[Node, Message]]:
        every = self.rules.measure_every
        measure = every > 0 and state.server_round > 0 and state.server_round % every == 0
        attempt = self._attempt_config(binding, cohort)
        return self.delivery.messages(
            grid,
            cohort,
            state,
            report,
            MessageType.TRAIN,
            lambda node: {m.COEFFICIENT: shares[node.node_id], m.MEASURE: measure, **attempt},
        )

    def _shares(self, cohort: list[Node]) -> dict[int, float]:
        """The coefficient of each node of a cohort; "cosine_distance" scales equal ones on the client."""
        if self.rules.weighting != "examples":
            return {node.node_id: 1.0 / len(cohort) for node in cohort}
        counts = capped([node.num_examples for node in cohort], self.rules.max_share)
        return {node.node_id: count / math.fsum(counts) for node, count in zip(cohort, counts, strict=True)}

    def _measures(self, reply: Message) -> dict[str, float]:
        record = reply.content.metric_records.get(m.MEASURES, MetricRecord())
        return checked_measures(record, self.rules.measures)

    def _fold(self, total: ServerSum, node: Node, reply: Message, share: float) -> float:
        """Add one reply to the sum; its coefficient. Raises an error of the reply's own and adds nothing."""
        info = m.config_of(reply.content, m.INFO)
        known = self.directory.read(node, info)
        if known.client != node.client:
            raise RefusedError(f"answers as {known.client!r}")
        coefficient = info.get(m.COEFFICIENT)
        scaled = self.rules.weighting == "cosine_distance"  # the client may lower its share, and never raise it
        if not isinstance(coefficient, float) or not (0 < coefficient <= share if scaled else coefficient == share):
            raise m.MessageError(f"{m.COEFFICIENT} is {coefficient!r}, the share of this client is {share!r}")
        total.add(m.bytes_of(reply.content, m.UPDATE), node.client)
        self.directory.nodes[node.node_id] = replace(known, num_examples=node.num_examples)
        return coefficient

    def _means(self, measured: dict[str, tuple[int, dict[str, float]]]) -> dict[str, float]:
        """Mean of each measure over the clients that have it, weighted by their examples as far as they count."""
        names = sorted({name for _, measures in measured.values() for name in measures})
        means = {}
        for name in names:
            rows = [(count, measures[name]) for _, (count, measures) in sorted(measured.items()) if name in measures]
            weights = capped([count for count, _ in rows], self.rules.max_share)
            means[name] = float(np.average([value for _, value in rows], weights=weights))
        return means
