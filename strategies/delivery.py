"""Messages that bring a node to the current global model, whatever model it holds."""

import time
from collections.abc import Callable
from typing import Any

from flwr.app import ArrayRecord, Message, MessageType
from flwr.serverapp import Grid

from strategies import messages as m
from strategies.directory import NodeDirectory
from strategies.nodes import Node, agreed_digests
from strategies.rounds import FederationError, RoundReport, ServerState


class ModelDelivery:
    """Gives each node what it lacks, and asks up-to-date nodes for the models of those that are behind."""

    def __init__(self, directory: NodeDirectory) -> None:
        self.directory = directory
        self.rules = directory.rules

    def messages(
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
        version, asked = state.server_round, time.time()
        digests = agreed_digests(self.directory.nodes.values())
        aggregate = m.bytes_record(m.AGGREGATE, state.aggregate) if state.aggregate else None
        relayed: ArrayRecord | None = None
        result = []
        for node in nodes:
            content = m.with_config(
                {
                    m.RUN_KEY: self.rules.run_key,
                    m.SERVER_ROUND: report.server_round,
                    m.ASKED: asked,
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
                    self.directory.leave_out(report, node, str(error))
                    continue
                content[m.GLOBAL] = relayed
            result.append((node, self.directory.message(node.node_id, message_type, report.server_round, content)))
        return result

    def _relay(self, grid: Grid, state: ServerState, digests: dict[int, str], report: RoundReport) -> ArrayRecord:
        """The current global model, sealed by an up-to-date node."""
        version = state.server_round
        for node in sorted(self.directory.nodes.values(), key=lambda node: node.client):
            content = m.with_config(
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
            message = self.directory.message(node.node_id, MessageType.QUERY, version, content)
            for _, reply in self.directory.ask(grid, [(node, message)], report):
                try:
                    return m.bytes_record(m.GLOBAL, m.bytes_of(reply.content, m.GLOBAL))
                except m.MessageError as error:
                    self.directory.leave_out(report, node, str(error))
        raise FederationError(f"no node holds the global model of round {version}")


def _holds(node: Node, version: int, digests: dict[int, str]) -> bool:
    return version in node.held and node.held[version] == digests.get(version)
