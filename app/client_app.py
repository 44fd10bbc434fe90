"""Flower entry point of a client: messages in, messages out; the work is in `TaskClient`."""

import re
from functools import lru_cache, wraps
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from app.core.versions import installed
from app.deployment.site_names import SiteIdentity
from app.federation.client import TaskClient
from app.federation.global_model import UnusableAggregateError
from app.federation.message_record import recorded
from app.federation.open_client import open_client
from app.federation.outgoing_errors import Handler, guarded
from app.federation.site_model import keep_models
from app.settings.load import absolute
from strategies import messages as m
from strategies.ciphers.kahe.sharing import BadSharesError
from strategies.proofs import reply_statement
from strategies.round_reply import RoundReply

app = ClientApp()
_RUN_KEY = re.compile(r"[0-9a-f]{16}")
_KEPT_CLIENTS = 64  # a simulation process runs many clients in turn; each keeps its decoded images
# No lock guards the caches below, because no process handles two messages at once: `flwr-clientapp` of Flower 1.41
# handles one message and ends, and an actor of its simulation is a Ray actor without concurrency: it takes one message
# at a time. Another process may have the next one meanwhile: what is on disk has locks (`NodeStore`, `ShareStore`).

_Node = tuple[tuple[str, str], ...]


def _telling_of_unusable_sums(handler: Handler) -> Handler:
    """The reply makes the server roll the round back; an exception would be counted as any other failure."""

    @wraps(handler)
    def handle(message: Message, context: Context) -> Message:
        try:
            return handler(message, context)
        except UnusableAggregateError as error:
            return Message(RecordDict({m.INFO: ConfigRecord({m.UNUSABLE_SUM: str(error)})}), reply_to=message)

    return handle


def _proving_its_name(handler: Handler) -> Handler:
    """Signs the reply of a site that has a certificate of its name."""

    @wraps(handler)
    def handle(message: Message, context: Context) -> Message:
        reply = handler(message, context)
        if (identity := _identity_of(_node_of(context))) is not None:
            asked = m.config_of(message.content, m.CONFIG)
            statement = reply_statement(context.node_id, message.metadata.message_type, asked, reply.content)
            reply.content[m.PROOF] = ConfigRecord(identity.proof(statement))
        return reply

    return handle


@app.query()
@guarded
@recorded
@_proving_its_name
@_telling_of_unusable_sums
def query(message: Message, context: Context) -> Message:
    """Describe the client, send its global model for a node that lost its own, or sum the shares of a round."""
    client = _client_of(message, context)
    _, config = m.received(message.content)  # whatever arrays came with it: a query opens nothing
    if config.get(m.ACTION) == m.ACTION_SEND_GLOBAL:
        sealed = client.send_global(config)
        return Message(RecordDict({m.GLOBAL: m.bytes_record(m.GLOBAL, sealed)}), reply_to=message)
    if config.get(m.ACTION) == m.ACTION_SUM_SHARES:
        return _share_sum(client, message, config)
    known = [f"{name} {version}" for name, version in installed().items()]
    nodes = int(context.node_config.get("num-partitions", 0))
    info = {**client.get_properties({}), m.NUM_NODES: nodes, m.VERSIONS: known}
    return Message(RecordDict({m.INFO: ConfigRecord(info)}), reply_to=message)


def _share_sum(client: TaskClient, message: Message, config: dict[str, Any]) -> Message:
    """The reply to a question for shares; it names a client that dealt bad ones, so that the server can go on without
    it."""
    try:
        answer = client.sum_shares(config, m.bytes_of(message.content, m.SHARES))
    except BadSharesError as error:
        return Message(RecordDict({m.INFO: ConfigRecord({m.BAD_SHARES: error.dealer})}), reply_to=message)
    return Message(RecordDict({m.SHARE_SUM: m.bytes_record(m.SHARE_SUM, answer)}), reply_to=message)


@app.train()
@guarded
@recorded
@_proving_its_name
@_telling_of_unusable_sums
def train(message: Message, context: Context) -> Message:
    """One round: apply the aggregate, measure, train, send the update."""
    client = _client_of(message, context)
    (update,), num_examples, measures = client.fit(*m.received(message.content))
    _keep_models(client, context)
    reply = RoundReply.of(num_examples, measures, client.get_properties({}), update)
    return Message(reply.content(), reply_to=message)


@app.evaluate()
@guarded
@recorded
@_proving_its_name
@_telling_of_unusable_sums
def evaluate(message: Message, context: Context) -> Message:
    """Apply the last aggregate and measure the final model."""
    client = _client_of(message, context)
    _, num_examples, measures = client.evaluate(*m.received(message.content))
    _keep_models(client, context)
    reply = RoundReply.of(num_examples, measures, client.get_properties({}))
    return Message(reply.content(), reply_to=message)


def _keep_models(client: TaskClient, context: Context) -> None:
    """A real node writes checkpoints of its models; a simulation writes its own at the end."""
    if "state-dir" in context.node_config:
        keep_models(client, absolute(str(context.node_config["state-dir"])))


def _client_of(message: Message, context: Context) -> TaskClient:
    run_key = str(m.config_of(message.content, m.CONFIG).get(m.RUN_KEY))
    if not _RUN_KEY.fullmatch(run_key):  # it becomes a folder's name
        raise ValueError(f"run key of another form: {run_key!r}")
    return _make_client(str(context.run_config["overrides"]), _node_of(context), run_key, context.run_id)


def _node_of(context: Context) -> _Node:
    return tuple(sorted((key, str(value)) for key, value in context.node_config.items()))


@lru_cache(maxsize=_KEPT_CLIENTS)
def _identity_of(node: _Node) -> SiteIdentity | None:
    return SiteIdentity.of_node(dict(node))


@lru_cache(maxsize=_KEPT_CLIENTS)
def _make_client(overrides: str, node: _Node, run_key: str, run_id: int) -> TaskClient:
    return open_client(overrides, dict(node), run_key, run_id, _identity_of(node))
