"""Flower entry point of a client: messages in, messages out; the work is in `ReidClient`."""

import logging
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache, partial, wraps
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from app.data.source import open_source
from app.federated import client_key, key_path, make_client_cipher, make_mask_store, make_server_optimiser
from app.global_model import UnusableSumError
from app.node_store import NodeStore
from app.overrides import override
from app.reid_client import RECEIVED, ClientError, Guard, ReidClient
from app.run_dir import run_dir
from app.settings import Settings, SettingsError, absolute, load_settings
from app.tasks import make_task
from strategies import messages as m

app = ClientApp()
_log = logging.getLogger("flwr")
_RUN_KEY = re.compile(r"[0-9a-f]{16}")
_KEPT_CLIENTS = 64  # a simulation process plays many clients in turn; each keeps its decoded pictures

_Handler = Callable[[Message, Context], Message]


def _telling_of_unusable_sums(handler: _Handler) -> _Handler:
    """The reply tells the server to take the round back; an exception would tell it of any mishap."""

    @wraps(handler)
    def handle(message: Message, context: Context) -> Message:
        try:
            return handler(message, context)
        except UnusableSumError as error:
            return Message(RecordDict({m.INFO: ConfigRecord({m.UNUSABLE_SUM: str(error)})}), reply_to=message)

    return handle


@app.query()
@_telling_of_unusable_sums
def query(message: Message, context: Context) -> Message:
    """Describe the client, send the global model it holds for a node that lost its own, or disclose leftover masks."""
    client = _client_of(message, context)
    parameters, config = _received(message)
    if config.get(m.ACTION) == m.ACTION_SEND_GLOBAL:
        sealed = client.send_global(parameters, config).tobytes()
        return Message(RecordDict({m.GLOBAL: m.bytes_record(m.GLOBAL, sealed)}), reply_to=message)
    if config.get(m.ACTION) == m.ACTION_DISCLOSE:
        return Message(RecordDict({m.SEEDS: m.bytes_record(m.SEEDS, client.disclose(config))}), reply_to=message)
    info = {**client.get_properties({}), m.NUM_NODES: int(context.node_config.get("num-partitions", 0))}
    return Message(RecordDict({m.INFO: ConfigRecord(info)}), reply_to=message)


@app.train()
@_telling_of_unusable_sums
def train(message: Message, context: Context) -> Message:
    """One round: take the aggregate over, measure, train, send the update."""
    client = _client_of(message, context)
    parameters, config = _received(message)
    payload, _, measures = client.fit(parameters, config)
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
@_telling_of_unusable_sums
def evaluate(message: Message, context: Context) -> Message:
    """Take the final model over and measure it."""
    client = _client_of(message, context)
    parameters, config = _received(message)
    _, _, measures = client.evaluate(parameters, config)
    content = RecordDict({m.INFO: ConfigRecord(client.get_properties({})), m.MEASURES: MetricRecord(measures)})
    return Message(content, reply_to=message)


def _received(message: Message) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Plain arrays and config of a message."""
    config: dict[str, Any] = dict(m.config_of(message.content, m.CONFIG))
    for name in (m.AGGREGATE, m.GLOBAL):
        if name in message.content.array_records:
            data = np.frombuffer(m.bytes_of(message.content, name), np.uint8)
            return [data], {**config, RECEIVED: name}
    return [], config


def _client_of(message: Message, context: Context) -> ReidClient:
    run_key = str(m.config_of(message.content, m.CONFIG).get(m.RUN_KEY))
    if not _RUN_KEY.fullmatch(run_key):  # it becomes a folder's name
        raise ValueError(f"run key of another form: {run_key!r}")
    node = tuple(sorted((key, str(value)) for key, value in context.node_config.items()))
    return _make_client(str(context.run_config["overrides"]), node, run_key, context.run_id)


@lru_cache(maxsize=_KEPT_CLIENTS)
def _make_client(overrides: str, node: tuple[tuple[str, str], ...], run_key: str, run_id: int) -> ReidClient:
    """The client of this node. Node config: `data`, `data-root`, `state-dir`, `key-file`, `client` for a real node,
    `partition-id` and `num-partitions` for a simulated one."""
    config = dict(node)
    own = [f"data={config['data']}"] if "data" in config else []
    if "data-root" in config:
        own.append(override("data.root", config["data-root"]))
    if "partition-id" not in config:  # a real node: all that it has is its own
        own.append("data.partition.by=none")
    if "state-dir" in config:
        for setting, below in (("data.cache_dir", "pictures"), ("data.equalise.folder", "equalised")):
            own.append(override(setting, absolute(config["state-dir"]) / below))
    settings = load_settings(f"{overrides} {shlex.join(own)}")
    partition_id = int(config.get("partition-id", 0))
    name = config.get("client", f"client-{partition_id}")
    count = int(config.get("num-partitions", settings.federation.num_clients))
    simulated = "partition-id" in config and "key-file" not in config
    guard: Guard = nullcontext if simulated else partial(_no_names_of_pictures, name)
    with guard():
        source = open_source(settings.data, settings.seed)
        parts = source.parts(count)
        if not 0 <= partition_id < len(parts):
            raise SettingsError(f"{name}: partition-id {partition_id}, but the data has {len(parts)} parts")
        samples = parts[partition_id]
        split = settings.data.val_split
        directions = source.evaluation_parts(split, count)[partition_id] if split else []
    task = make_task(settings)
    folder = _state_folder(settings, config, name, run_id)
    key_file = absolute(config["key-file"]) if "key-file" in config else None
    if simulated:  # a simulation keeps the key that it makes for itself in the run folder
        key_file = key_path(run_dir(settings, run_id))
    key = client_key(settings, name, key_file, simulated=simulated)
    return ReidClient(
        name=name,
        task=task,
        settings=settings,
        samples=samples,
        directions=directions,
        store=NodeStore(folder / run_key),
        cipher=lambda statistics: make_client_cipher(settings, statistics, client=name, key=key),
        masks=make_mask_store(settings, name, folder, key),
        server_optimiser=make_server_optimiser(settings.federation.server_optimiser),
        run_key=run_key,
        guard=guard,
    )


@contextmanager
def _no_names_of_pictures(name: str) -> Iterator[None]:
    """What is wrong with a site's pictures stays in its own log: an error travels to the server, and the names of
    pictures and lines of lists tell plates. Settings, which the server has, may be named."""
    try:
        yield
    except SettingsError:
        raise
    except (ValueError, OSError) as error:
        _log.error("%s: %s", name, error)
        kind = type(error).__name__
        raise ClientError(f"{name}: its pictures cannot be read ({kind}); the site's own log says which") from None


def _state_folder(settings: Settings, config: dict[str, str], name: str, run_id: int) -> Path:
    if "state-dir" in config:
        return absolute(config["state-dir"])
    return run_dir(settings, run_id) / "nodes" / name
