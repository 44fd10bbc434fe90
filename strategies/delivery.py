"""Messages that bring a node to the current global model, whatever model it holds."""

from collections import Counter
from collections.abc import Mapping
from itertools import count
from typing import Any

from flwr.app import ArrayRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from strategies import messages as m
from strategies.directory import NodeDirectory
from strategies.nodes import Node, agreed_digests, disagreement
from strategies.rounds import FederationError, RoundReport, ServerState


class ModelDelivery:
    """Sends each node the part of the global model that it lacks, and requests models for it from up-to-date nodes."""

    def __init__(self, directory: NodeDirectory) -> None:
        self.directory = directory
        self._number = count(1)  # of the messages of this start of the server
        self._passed_on: Counter[str] = Counter()  # client -> how often its model was forwarded

    def messages(
        self,
        grid: Grid,
        nodes: list[Node],
        state: ServerState,
        arrays: ArrayRecord,
        report: RoundReport,
        message_type: str,
        configs: Mapping[int, dict[str, Any]],
    ) -> list[Message]:
        """One message a node, with its missing part of the current global model: nothing, the last aggregate
        (`arrays`), or a whole model from another node, with the last aggregate if that node has not used it yet.

        Args:
            configs: further config by node id."""
        version, order = state.server_round, [state.generation, next(self._number)]
        holders = list(self.directory.nodes.values())
        digests, split = agreed_digests(holders), disagreement(holders, version)
        relayed: RecordDict | None = None
        result = []
        for node in nodes:
            content = m.with_config(
                {
                    **configs[node.node_id],
                    m.RUN_KEY: self.directory.rules.run_key,
                    m.SERVER_ROUND: report.server_round,
                    m.ORDER: order,
                    m.COEFFICIENT_SUM: state.coefficient_sum,
                    **({} if state.mean_from is None else {m.MEAN_FROM: state.mean_from}),
                }
            )
            if split:
                self.directory.leave_out(report, node, split)
                continue
            if _holds(node, version, digests):
                pass
            elif arrays and version not in node.held and _holds(node, version - 1, digests):
                content[m.AGGREGATE] = arrays
            else:
                try:
                    relayed = relayed or self._relay(grid, version, arrays, digests, report)
                except FederationError as error:
                    self.directory.leave_out(report, node, str(error))
                    continue
                m.add_content(content, relayed)
            result.append(self.directory.message(node.node_id, message_type, report.server_round, content))
        return result

    def _relay(
        self, grid: Grid, current: int, arrays: ArrayRecord, digests: dict[int, str], report: RoundReport
    ) -> RecordDict:
        """The current global model, sealed by another node, or the one before with the last aggregate: nodes use an
        aggregate in a round, and not for others.

        The node that forwarded a model least often is asked first: a node that receives another model than most hold
        refuses it, and gets one from another node the next time."""
        for version in (current, current - 1):
            if version < current and not arrays:
                break
            holders = [node for node in self.directory.nodes.values() if _holds(node, version, digests)]
            for node in sorted(holders, key=lambda node: (self._passed_on[node.client], node.client)):
                named = {m.GLOBAL_VERSION: version, m.GLOBAL_DIGEST: digests[version]}
                sealed = self._sealed(grid, node, named, report)
                if sealed is None:
                    continue
                relayed = m.with_config(named)
                relayed[m.GLOBAL] = m.bytes_record(m.GLOBAL, sealed)
                if version < current:
                    relayed[m.AGGREGATE] = arrays
                return relayed
        raise FederationError(f"no node can forward the global model of round {current}")

    def _sealed(self, grid: Grid, node: Node, named: dict[str, Any], report: RoundReport) -> bytes | None:
        """The model named in `named`, sealed by this node; None without a good reply."""
        self._passed_on[node.client] += 1
        version = named[m.GLOBAL_VERSION]
        config = {
            m.RUN_KEY: self.directory.rules.run_key,
            m.ACTION: m.ACTION_SEND_GLOBAL,
            m.SERVER_ROUND: version + 1,
            **named,
        }
        message = self.directory.message(node.node_id, MessageType.QUERY, version, m.with_config(config))
        for _, reply in self.directory.ask(grid, [(node, message)], report):
            try:
                return m.bytes_of(reply.content, m.GLOBAL)
            except m.MessageError as error:
                self.directory.leave_out(report, node, str(error))
        return None


def _holds(node: Node, version: int, digests: dict[int, str]) -> bool:
    return version in node.held and node.held[version] == digests.get(version)
