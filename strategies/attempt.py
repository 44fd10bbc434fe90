"""One attempt at a training round: its cohort, and the sum of the replies so far."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from strategies import messages as m
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError, ServerSum, SharedSum
from strategies.directory import NodeDirectory
from strategies.nodes import Node, RefusedError
from strategies.round_reply import RoundReply
from strategies.rounds import THE_SUM, RoundReport


class Attempt:
    """State between `configure_train` and the end of `aggregate_train`.

    Args:
        grid, directory: to read what nodes say of themselves, and to ask for share sums.
        binding: what payloads must be for.
        coefficients: of the cohort, by node id.
        total: the running sum, empty.
    """

    def __init__(
        self,
        grid: Grid,
        directory: NodeDirectory,
        binding: Binding,
        cohort: Sequence[Node],
        coefficients: Mapping[int, float],
        total: ServerSum,
    ) -> None:
        self.grid = grid
        self.directory = directory
        self.binding = binding
        self.cohort = cohort
        self.coefficients = coefficients
        self.total = total
        self.measured: dict[str, tuple[int, dict[str, float]]] = {}
        """Client in the sum -> its examples and measures."""
        self._added: list[float] = []

    @property
    def coefficient_sum(self) -> float:
        """Of the replies in the sum. Rounded once, so that the order of arrival does not matter."""
        return math.fsum(self._added)

    def config(self) -> dict[str, Any]:
        """What a client needs to bind its payload to this attempt and to share keys with the cohort."""
        binding = self.binding
        shown = {m.SHARE_KEYS: [node.statement for node in self.cohort]} if binding.members else {}
        return shown | {
            m.RUN_KEY: binding.run_key,
            m.SERVER_ROUND: binding.server_round,
            m.ATTEMPT: binding.attempt,
            m.NONCE: binding.nonce,
            m.COHORT: [node.client for node in self.cohort],
        }

    def fold(self, node: Node, reply: Message) -> None:
        """Add one reply to the sum. Raises an error of the reply's own, and adds nothing."""
        received = RoundReply.trained(reply.content, self.directory.rules.measures)  # before anything is added
        known = self.directory.read(node, received.info)
        if known.client != node.client:
            raise RefusedError(f"answers as {known.client!r}")
        coefficient = self._coefficient(node, received.measures)
        if isinstance(self.total, SharedSum):
            self.total.expect(node.client, coefficient)
        self.total.add(received.update, node.client)
        self.directory.nodes[node.node_id] = replace(known, num_examples=node.num_examples)
        self._added.append(coefficient)
        self.measured[node.client] = (node.num_examples, dict(received.measures))

    def _coefficient(self, node: Node, measures: Mapping[str, float]) -> float:
        """Coefficient that a client applied to its update: with "cosine_distance" it may lower its share, not raise
        it."""
        share = self.coefficients[node.node_id]
        if self.directory.rules.weighting != "cosine_distance":
            return share
        if not measures.get(m.FEATURE_SHIFT, 0.0) > 0:
            raise m.MessageError(f"{m.FEATURE_SHIFT} is missing, or 0: it scales the share of a client")
        return share * measures[m.FEATURE_SHIFT]

    def close(self, report: RoundReport, sharing: Callable[[Sequence[str]], None] = lambda _: None) -> bytes:
        """The sum, with its share sums where it needs them; b"" below the quorum, or if share sums are missing.

        Args:
            sharing: called with the clients whose share sum is missing, when they are asked and after each answer."""
        if len(self.measured) < self.directory.needed():
            return b""
        accused: set[str] = set()
        try:
            if isinstance(self.total, SharedSum):
                accused = self._ask_for_shares(self.total, report, sharing)
            return self.total.payload()
        except CipherError as error:
            report.leave_out(THE_SUM, str(error))
            self.directory.accused |= accused  # whoever deals bad shares costs one attempt
            return b""

    def _ask_for_shares(
        self, total: SharedSum, report: RoundReport, sharing: Callable[[Sequence[str]], None]
    ) -> set[str]:
        """Announce the clients of the sum to each of them, and take in their share sums; nothing is added afterwards.
        Returns the clients that dealt bad shares, as those say that got one.

        Raises CipherError if the sum has too few clients to be opened."""
        clients = sorted(self.measured)
        if len(clients) < total.needed:
            raise CipherError(
                f"{len(clients)} updates arrived, and {total.needed} clients are needed to open their sum"
            )
        asked, accused = [], set()
        for node in self.cohort:
            if node.client in self.measured:
                content = m.with_config(self.config() | {m.ACTION: m.ACTION_SUM_SHARES, m.CLIENTS: clients})
                content[m.SHARES] = m.bytes_record(m.SHARES, total.question(node.client))
                message = self.directory.message(node.node_id, MessageType.QUERY, report.server_round, content)
                asked.append((node, message))
        missing = list(clients)
        sharing(missing)
        for node, reply in self.directory.ask(self.grid, asked, report):
            missing.remove(node.client)
            sharing(missing)
            if (dealer := m.bad_dealer(reply.content)) in self.measured:
                report.leave_out(dealer, f"dealt bad shares, says {node.client}")
                accused.add(dealer)
                continue
            try:
                total.disclose(node.client, m.bytes_of(reply.content, m.SHARE_SUM))
            except (CipherError, m.MessageError) as error:
                self.directory.leave_out(report, node, str(error))
        return accused
