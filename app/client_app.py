"""Flower entry point of a client: messages in, messages out; the work is in `ReidClient`."""

import logging
import re
import shlex
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from app.core.node_store import NodeStore
from app.core.run_dir import run_dir
from app.core.sample import Sample
from app.data.dataset import Source, open_source
from app.data.readers.reader import Direction
from app.deployment.site_names import SiteIdentity
from app.experiment.measurable import evaluation_problems
from app.federation.build import client_key, key_path, make_client_cipher, make_mask_store, make_server_optimiser
from app.federation.client import RECEIVED, ReidClient
from app.federation.global_model import UnusableAggregateError
from app.federation.ledger import PrivacyLedger
from app.federation.outgoing_errors import Handler, guarded, is_simulated
from app.federation.refusals import PolicyError
from app.federation.run_words import reader_of, run_words
from app.federation.site_model import keep_models, keep_recipe
from app.federation.site_policy import SitePolicy
from app.settings.load import Settings, SettingsError, absolute, load_settings
from app.settings.overrides import override
from app.tasks import make_task
from strategies import messages as m
from strategies.ciphers.keys import read_key
from strategies.proofs import reply_statement

app = ClientApp()
_log = logging.getLogger("flwr")
_RUN_KEY = re.compile(r"[0-9a-f]{16}")
_KEPT_CLIENTS = 64  # a simulation process plays many clients in turn; each keeps its decoded pictures
# No lock guards the caches below, because no process handles two messages at once: `flwr-clientapp` of Flower 1.41
# handles one message and ends, and an actor of its simulation is a Ray actor without concurrency: it takes one message
# at a time. Another process may have the next one meanwhile: what is on disk has locks (`NodeStore`, `MaskStore`).

_IDENTITY = {"key": "site-key", "certificate": "site-cert", "authority": "authority"}
"""Parts of a `SiteIdentity` by key of the node config."""

_Node = tuple[tuple[str, str], ...]


class NodeConfigError(SettingsError):
    """The node's own words cannot be used together with those of the run; the message is for the site."""


class DataError(SettingsError):
    """The site's data cannot be used as the settings say; the message is for the site."""


def _telling_of_unusable_sums(handler: Handler) -> Handler:
    """The reply tells the server to take the round back; an exception would tell it of any mishap."""

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
@_proving_its_name
@_telling_of_unusable_sums
def query(message: Message, context: Context) -> Message:
    """Describe the client, send the global model it holds for a node that lost its own, or disclose leftover masks."""
    client = _client_of(message, context)
    _, config = _received(message)  # whatever arrays came with it: a query opens nothing
    if config.get(m.ACTION) == m.ACTION_SEND_GLOBAL:
        sealed = client.send_global(config).tobytes()
        return Message(RecordDict({m.GLOBAL: m.bytes_record(m.GLOBAL, sealed)}), reply_to=message)
    if config.get(m.ACTION) == m.ACTION_DISCLOSE:
        return Message(RecordDict({m.SEEDS: m.bytes_record(m.SEEDS, client.disclose(config))}), reply_to=message)
    info = {**client.get_properties({}), m.NUM_NODES: int(context.node_config.get("num-partitions", 0))}
    return Message(RecordDict({m.INFO: ConfigRecord(info)}), reply_to=message)


@app.train()
@guarded
@_proving_its_name
@_telling_of_unusable_sums
def train(message: Message, context: Context) -> Message:
    """One round: take the aggregate over, measure, train, send the update."""
    client = _client_of(message, context)
    parameters, config = _received(message)
    payload, _, measures = client.fit(parameters, config)
    _keep_models(client, context)
    info = {**client.get_properties({}), m.COEFFICIENT: measures.pop(m.COEFFICIENT)}
    content = RecordDict(
        {
            m.UPDATE: m.bytes_record(m.UPDATE, payload[0].tobytes()),
            m.INFO: ConfigRecord(info),
            m.MEASURES: MetricRecord(measures),
        }
    )
    return Message(content, reply_to=message)


@app.evaluate()
@guarded
@_proving_its_name
@_telling_of_unusable_sums
def evaluate(message: Message, context: Context) -> Message:
    """Take the final model over and measure it."""
    client = _client_of(message, context)
    parameters, config = _received(message)
    _, _, measures = client.evaluate(parameters, config)
    _keep_models(client, context)
    content = RecordDict({m.INFO: ConfigRecord(client.get_properties({})), m.MEASURES: MetricRecord(measures)})
    return Message(content, reply_to=message)


def _keep_models(client: ReidClient, context: Context) -> None:
    """A real node has checkpoints of what it holds; a simulation makes its own in the end."""
    if "state-dir" in context.node_config:
        keep_models(client, absolute(str(context.node_config["state-dir"])))


def _received(message: Message) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Plain arrays and config of a message."""
    names = [name for name in (m.GLOBAL, m.AGGREGATE) if name in message.content.array_records]
    arrays = [np.frombuffer(m.bytes_of(message.content, name, beside=names), np.uint8) for name in names]
    return arrays, {**m.config_of(message.content, m.CONFIG), RECEIVED: names}


def _client_of(message: Message, context: Context) -> ReidClient:
    run_key = str(m.config_of(message.content, m.CONFIG).get(m.RUN_KEY))
    if not _RUN_KEY.fullmatch(run_key):  # it becomes a folder's name
        raise ValueError(f"run key of another form: {run_key!r}")
    return _make_client(str(context.run_config["overrides"]), _node_of(context), run_key, context.run_id)


def _node_of(context: Context) -> _Node:
    return tuple(sorted((key, str(value)) for key, value in context.node_config.items()))


@lru_cache(maxsize=_KEPT_CLIENTS)
def _identity_of(node: _Node) -> SiteIdentity | None:
    """The certified name of a node, if its node config has `site-cert`."""
    config = dict(node)
    if "site-cert" not in config:
        return None
    name = config.get("client", "")
    files = {part: absolute(config[key]) for part, key in _IDENTITY.items() if key in config}
    if missing := [key for key in (*_IDENTITY.values(), "key-file") if key not in config]:
        raise SettingsError(f"{name}: site-cert needs the node config {', '.join(missing)}")
    return SiteIdentity.read(name, **files, key_id=read_key(absolute(config["key-file"])).key_id)


@lru_cache(maxsize=_KEPT_CLIENTS)
def _make_client(overrides: str, node: _Node, run_key: str, run_id: int) -> ReidClient:
    """The client of this node. Node config: `data`, `data-root`, `state-dir`, `key-file`, `client`, `policy`,
    `site-key`, `site-cert` and `authority` for a real node, `partition-id` and `num-partitions` for a simulated one."""
    config = dict(node)
    partition_id = int(config.get("partition-id", 0))
    name = config.get("client", f"client-{partition_id}")
    simulated = "partition-id" in config and "key-file" not in config
    policy = SitePolicy.read(name, absolute(config["policy"])) if "policy" in config else None
    identity = _identity_of(node)
    settings = _settings_of(overrides, config, policy)
    if identity is not None:
        identity.check_run(settings.federation.authority)
    count = int(config.get("num-partitions", settings.federation.num_clients))
    source = _source_of(settings)
    samples, directions = _data_of(source, settings, name, partition_id, count)
    task = make_task(settings)
    folder = _state_folder(settings, config, name, run_id)
    key_file = absolute(config["key-file"]) if "key-file" in config else None
    if simulated:  # a simulation keeps the key that it makes for itself in the run folder
        key_file = key_path(run_dir(settings, run_id))
    key = client_key(settings, name, key_file, simulated=simulated)
    client = ReidClient(
        name=name,
        task=task,
        settings=settings,
        samples=samples,
        directions=directions,
        store=NodeStore(folder / run_key),
        cipher=lambda statistics: make_client_cipher(settings, statistics, client=name, key=key),
        masks=make_mask_store(settings, name, folder, key, identity),
        ledger=PrivacyLedger(folder, name, settings.privacy.dp),
        server_optimiser=make_server_optimiser(settings.federation.server_optimiser),
        run_key=run_key,
        policy=policy,
    )
    if keep_recipe(client) and not simulated:  # once a run: what cannot be measured is no reason to stay away
        for problem in evaluation_problems(settings, source, task):
            _log.warning("%s: %s", name, problem)
    return client


def _settings_of(overrides: str, config: dict[str, str], policy: SitePolicy | None) -> Settings:
    """The run's settings with what the node decides itself, within the site's policy. Raises SettingsError for the
    overrides of the run alone: the server has them, and what is wrong with a site's own is for its log."""
    if not is_simulated(config):
        run_words(overrides)
    chosen = [f"data={config['data']}"] if "data" in config else []
    try:
        own = _own_settings(config)
        words = [*chosen, *(override(key, value) for key, value in own.items())]
        together = f"{overrides} {shlex.join(words)}"
        return load_settings(together) if policy is None else policy.settings(together, own)
    except PolicyError:
        raise
    except SettingsError as error:
        if policy is None:
            load_settings(overrides)
        else:
            policy.check_words(overrides)
        raise NodeConfigError(str(error)) from error


def _own_settings(config: dict[str, str]) -> dict[str, object]:
    """What a node decides itself, whatever the run says."""
    own: dict[str, object] = {}
    if "data-root" in config:
        own["data.root"] = config["data-root"]
    if "partition-id" not in config:  # a real node: all that it has is its own
        own["data.partition.by"] = "none"
        if "data" in config:  # a run could pass by the data set with another reader
            own["data.reader"] = reader_of(config["data"])
    if "state-dir" in config:
        for setting, below in (("data.cache_dir", "pictures"), ("data.equalise.folder", "equalised")):
            own[setting] = str(absolute(config["state-dir"]) / below)
    return own


def _source_of(settings: Settings) -> Source:
    """The node's data. Raises DataError for whatever a reader says of it."""
    try:
        return open_source(settings.data, settings.seed)
    except (OSError, ValueError) as error:  # may quote what a reader found
        raise DataError(str(error)) from error


def _data_of(
    source: Source, settings: Settings, name: str, partition_id: int, count: int
) -> tuple[list[Sample], list[Direction]]:
    """Training pictures and validation directions of a node. Raises DataError for whatever a reader says of them."""
    try:
        parts = source.parts(count)
        if not 0 <= partition_id < len(parts):
            raise SettingsError(f"{name}: partition-id {partition_id}, but the data has {len(parts)} parts")
        split = settings.data.val_split
        return parts[partition_id], source.evaluation_parts(split, count)[partition_id] if split else []
    except (OSError, ValueError) as error:
        raise DataError(str(error)) from error


def _state_folder(settings: Settings, config: dict[str, str], name: str, run_id: int) -> Path:
    if "state-dir" in config:
        return absolute(config["state-dir"])
    return run_dir(settings, run_id) / "nodes" / name
