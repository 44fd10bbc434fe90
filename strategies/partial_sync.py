"""Partially synchronised federated averaging, as a strategy of Flower's Message API.

w_{r+1} = step(w_r, sum_k c_k u_k / sum_k c_k) over the shared arrays, u_k = client minus global, c_k = n_k / sum n by
default (McMahan et al., 2017, Alg. 1), where no claim n_k counts beyond `max_share`. The server only adds payloads; the
step is computed by every client, on the sum that the next message brings. Flower's stock `start` has no resume, no rule
of convergence, no deadline, and holds all replies at once; this one folds them one by one, and goes on without a node.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from strategies import messages as m
from strategies.attempt import Attempt
from strategies.ciphers.binding import Binding, new_nonce
from strategies.ciphers.cipher import CipherError, ServerSum
from strategies.claims import capped, mean_measures
from strategies.delivery import ModelDelivery
from strategies.directory import NodeDirectory
from strategies.nodes import Node, RefusedError, share_key_digest
from strategies.proofs import Names
from strategies.round_reply import RoundReply
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
Aggregated = tuple[ArrayRecord | None, MetricRecord | None]
CentralEvaluation = Callable[[int, ArrayRecord], MetricRecord | None]


class PartialSync(Strategy):
    """Flower strategy over updates that the server cannot read.

    Arrays that a hook of Flower's takes or returns are the sum of a round: one payload, `messages.AGGREGATE`, which the
    clients open; none before the first round, since each client builds the first model itself. A subclass may override
    one hook: `select_cohort` (the clients that train), `coefficients` (their averaging factors), or any of Flower's.

    Args:
        rules: see `RoundRules`.
        new_sum: makes an empty running sum of payloads with this binding and key id.
        listener: stores what a resumed run needs, and shows how rounds go.
        names: who may carry which name; None takes each node at its word.
        state: at the begin of the run, or to resume from; afterwards the last one.
    """

    def __init__(
        self,
        rules: RoundRules,
        new_sum: Callable[[Binding, str], ServerSum],
        listener: RoundListener,
        names: Names | None = None,
        *,
        state: ServerState,
    ) -> None:
        self.new_sum = new_sum
        self.listener = listener
        self.state = state
        self.report = RoundReport(state.server_round + 1)
        """Of the current round; in the end of the final model."""
        self.attempt: Attempt
        self._undone: dict[int, list[str]] = {}  # round -> why it was rolled back, each time
        self._asked: dict[int, Node] = {}  # by the last `configure_train` or `configure_evaluate`
        self.directory = NodeDirectory(rules, names, listener.waiting, listener.alive, listener.dropped)
        if self.directory.key_id is None:
            self.directory.key_id = state.key_id
        self.delivery = ModelDelivery(self.directory)

    @property
    def rules(self) -> RoundRules:
        """Those of the directory."""
        return self.directory.rules

    def summary(self) -> None:
        """Log the rules of the rounds."""
        rules = self.rules
        _log.info(
            "%s: %d rounds of %s, %d clients, fraction %g, quorum %g, weighting %s, deadline %g s, layout %s",
            *(type(self).__name__, rules.rounds, rules.task, rules.num_clients, rules.fraction, rules.quorum),
            *(rules.weighting, rules.deadline, rules.layout),
        )

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord | None = None,
        num_rounds: int | None = None,
        timeout: float | None = None,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: CentralEvaluation | None = None,
    ) -> Result:
        """Rounds `state.server_round` + 1 to the last; then every node gets and measures the final model. `state` and
        `report` hold the outcome in the project's own types.

        Args:
            initial_arrays: sum of the last round; None for that of `state`.
            num_rounds: number of the last round; None for that of the rules.
            timeout: seconds to wait for a reply; None for the deadline of the rules.
            train_config, evaluate_config: further config for every training or evaluation message.
            evaluate_fn: called with the round and its sum, before the first round and after each.

        Raises FederationError if too few nodes are connected, or a round stays below the quorum."""
        if initial_arrays is not None:
            self.state = replace(self.state, aggregate=_payload(initial_arrays))
        rules = self.rules if num_rounds is None else replace(self.rules, rounds=num_rounds)
        self.directory.use(rules if timeout is None else replace(rules, deadline=timeout, final_seconds=0.0))
        self.summary()
        result = Result()
        self._evaluate_centrally(evaluate_fn, result)
        while True:
            try:
                while self.state.server_round < self.rules.rounds and not self.state.convergence.reached:
                    metrics = self._round(grid, train_config or ConfigRecord())
                    result.train_metrics_clientapp[self.state.server_round] = metrics
                    self._evaluate_centrally(evaluate_fn, result)
                measured = self._evaluate(grid, evaluate_config or ConfigRecord())
            except UnusableSumError as error:
                self._take_back(error)
                continue
            result.arrays = self.state.arrays
            result.evaluate_metrics_clientapp[self.state.server_round] = measured
            return result

    def _evaluate_centrally(self, evaluate_fn: CentralEvaluation | None, result: Result) -> None:
        if evaluate_fn and (found := evaluate_fn(self.state.server_round, self.state.arrays)) is not None:
            result.evaluate_metrics_serverapp[self.state.server_round] = found

    def _take_back(self, error: UnusableSumError) -> None:
        """Roll back to the state before the last round: an unusable sum must not end a run.

        Raises FederationError if the round was rolled back before; the checkpoint is the state before it in any case.
        """
        times = self._undone.setdefault(self.state.server_round, [])
        times.append(str(error))
        self.state = self.state.before()
        self.listener.undone(self.state)
        if len(times) > self.rules.retries:
            raise FederationError(str(error))
        _log.warning("%s; the round is rolled back", error)

    def _begin(self, server_round: int) -> float:
        """A new report, with the sums that were rolled back; every node describes itself again."""
        self.report = RoundReport(server_round)
        self.directory.start_round()
        for reason in self._undone.get(server_round, ()):
            self.report.leave_out(THE_SUM, reason)
        return time.monotonic()

    def _round(self, grid: Grid, config: ConfigRecord) -> MetricRecord:
        """One round, repeated while it stays below the quorum; its measures."""
        server_round = self.state.server_round + 1
        started, report = self._begin(server_round), self.report
        for _ in range(self.rules.retries + 1):
            try:
                messages = self.configure_train(server_round, self.state.arrays, config, grid)
            except CipherError as error:  # too few clients for a sum that hides each
                report.leave_out(THE_SUM, str(error))
                continue
            arrays, metrics = self.aggregate_train(server_round, self._replies(grid, messages))
            if arrays is not None:
                break
            self.directory.raise_if_unusable(grid, self.state.server_round, report)
        else:
            reasons = "; ".join(f"{row['client']}: {row['reason']}" for row in report.left_out) or "no replies"
            raise FederationError(f"round {server_round} stayed below the quorum: {reasons}")
        report.clients = {client: measures for client, (_, measures) in sorted(self.attempt.measured.items())}
        report.measures = _plain(metrics)
        report.coefficient_sum = self.attempt.coefficient_sum
        after = self.state.after(report, _payload(arrays), self.rules, self.directory.key_id)
        report.seconds = time.monotonic() - started
        self.listener.finished(report, after)
        self.state = after
        return metrics or MetricRecord()

    def _evaluate(self, grid: Grid, config: ConfigRecord) -> MetricRecord:
        """Give every node the final model and collect its measures."""
        server_round = self.state.server_round
        started = self._begin(server_round + 1)
        messages = self.configure_evaluate(server_round, self.state.arrays, config, grid)
        metrics = self.aggregate_evaluate(server_round, self._replies(grid, messages))
        if metrics is None:
            self.directory.raise_if_unusable(grid, server_round, self.report)
            raise FederationError("the final model reached no node: " + str(self.report.left_out))
        self.report.measures = _plain(metrics)
        self.report.seconds = time.monotonic() - started
        return metrics

    def _replies(self, grid: Grid, messages: Iterable[Message]) -> Iterator[Message]:
        """Good replies one at a time, as they come."""
        outgoing = [(self._asked[message.metadata.dst_node_id], message) for message in messages]
        return (reply for _, reply in self.directory.ask(grid, outgoing, self.report))

    # Flower's hooks -----------------------------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """A training message for each client of a new cohort, with its missing part of the current global model."""
        report, rules = self.report, self.rules
        report.attempts += 1
        cohort = self.select_cohort(server_round, self.directory.gather(grid, report))
        clients = tuple(node.client for node in cohort)
        self.listener.started(server_round, report.attempts, clients)
        attempt = (server_round, report.attempts, clients, new_nonce(), share_key_digest(cohort))
        binding = Binding(rules.run_key, rules.layout, *attempt)
        shares = self.coefficients(cohort)
        total = self.new_sum(binding, self.directory.key_id or "")
        self.attempt = Attempt(grid, self.directory, binding, cohort, shares, total)
        self._asked = {node.node_id: node for node in cohort}
        version, every = server_round - 1, rules.measure_every
        measure = every > 0 and version > 0 and version % every == 0
        asked = {**config, m.MEASURE: measure, **self.attempt.config()}
        configs = {node_id: {**asked, m.COEFFICIENT: share} for node_id, share in shares.items()}
        return self.delivery.messages(grid, cohort, self.state, arrays, report, MessageType.TRAIN, configs)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregated:  # noqa: ARG002
        """Fold replies into the sum, one at a time: the sum and the mean measures; None for both below the quorum."""
        attempt, report = self.attempt, self.report
        for reply in replies:
            node = self._asked[reply.metadata.src_node_id]
            try:
                attempt.fold(node, reply)
            except (CipherError, m.MessageError, RefusedError) as error:
                self.directory.leave_out(report, node, str(error))
                continue
            self.listener.replied(node.client)
        if not (aggregate := attempt.close(report, self.listener.sharing)):
            return None, None
        means = mean_measures(attempt.measured, self.rules.max_share)
        return m.bytes_record(m.AGGREGATE, aggregate), MetricRecord(dict(means))

    def configure_evaluate(
        self,
        server_round: int,  # noqa: ARG002
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: Grid,
    ) -> Iterable[Message]:
        """A message for every node, with its missing part of the final model; training measures earlier ones."""
        nodes = self.directory.gather(grid, self.report)
        self._asked = {node.node_id: node for node in nodes}
        self.listener.delivering(self.report.server_round, [node.client for node in nodes], self.rules.whole_final)
        configs = {node.node_id: {**config, m.MEASURE: True} for node in nodes}
        return self.delivery.messages(grid, nodes, self.state, arrays, self.report, MessageType.EVALUATE, configs)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:  # noqa: ARG002
        """Mean measures of the final model; None if nobody measured it."""
        measured = {}
        for reply in replies:
            node = self._asked[reply.metadata.src_node_id]
            try:
                received = RoundReply.evaluated(reply.content, self.rules.measures)
            except m.MessageError as error:
                self.directory.leave_out(self.report, node, str(error))
                continue
            measured[node.client] = (node.num_examples, received.measures)
            self.listener.replied(node.client)
        self.report.clients = {client: dict(measures) for client, (_, measures) in sorted(measured.items())}
        return MetricRecord(dict(mean_measures(measured, self.rules.max_share))) if measured else None

    # Hooks of its own ---------------------------------------------------------------------------------------------

    def select_cohort(self, server_round: int, nodes: Sequence[Node]) -> list[Node]:
        """The nodes that train in a round: `cohort_size` of the connected ones, sampled by the seed."""
        draw = np.random.default_rng((self.rules.seed, server_round)).permutation(len(nodes))
        return [nodes[index] for index in sorted(draw[: self.cohort_size(len(nodes))])]

    def cohort_size(self, present: int) -> int:
        """Clients of a round with this number of connected nodes."""
        return min(max(1, round(self.rules.fraction * present)), self.rules.max_clients or present)

    def coefficients(self, cohort: Sequence[Node]) -> dict[int, float]:
        """The averaging factor of each node of a cohort, by node id; they sum to 1. With "cosine_distance" they are
        equal, and each client scales its own. A client refuses a factor above `federation.max_share`."""
        if self.rules.weighting != "examples":
            return {node.node_id: 1.0 / len(cohort) for node in cohort}
        counts = capped([node.num_examples for node in cohort], self.rules.max_share)
        return {node.node_id: count / math.fsum(counts) for node, count in zip(cohort, counts, strict=True)}


def _payload(arrays: ArrayRecord) -> bytes:
    return arrays[m.AGGREGATE].data if arrays else b""


def _plain(metrics: MetricRecord | None) -> dict[str, float]:
    return {name: value for name, value in (metrics or {}).items() if isinstance(value, int | float)}
