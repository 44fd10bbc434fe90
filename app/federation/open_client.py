"""Construction of a federated client from its node's config and the run's overrides: settings, data, key, store,
policy."""

import logging
import shlex
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple, Protocol

from app.core.node_store import NodeStore
from app.core.printing import shown
from app.core.run_dir import run_dir
from app.core.sample import Sample
from app.core.shared_files import SharedFiles
from app.data.dataset import Source, open_source
from app.data.readers.reader import Direction
from app.experiment.held_out import HeldOut, hold_out
from app.experiment.measurable import evaluation_problems
from app.federation.build import client_key, key_path, make_client_cipher, make_server_optimiser, make_share_store
from app.federation.client import TaskClient
from app.federation.client_state import drop_old_means
from app.federation.ledger import PrivacyLedger
from app.federation.outgoing_errors import is_simulated
from app.federation.refusals import PolicyError
from app.federation.run_words import reader_of, run_words
from app.federation.share_key_files import read_share_keys, simulated_share_keys
from app.federation.site_model import keep_recipe
from app.federation.site_policy import SitePolicy
from app.settings.load import Settings, SettingsError, absolute, composed, load_settings
from app.settings.overrides import override
from app.settings.plug_in_names import refuse_plug_ins
from app.tasks import make_task
from models.plugins import is_place
from strategies.client_names import LONGEST_NAME, name_fault

_log = logging.getLogger("flwr")
SHARED = ".shared"
"""Folder beside those of a simulation's nodes with the files that they share."""


class NodeConfigError(SettingsError):
    """The node's own overrides conflict with those of the run; the message is for the site."""


class DataError(SettingsError):
    """The site's data cannot be used with these settings; the message is for the site."""


class Identity(Protocol):
    """A site's certified name."""

    def check_run(self, authority: str) -> None:
        """Raise IdentityError for a run whose `federation.authority` is not the site's own."""


def open_client(
    overrides: str, config: Mapping[str, str], run_key: str, run_id: int, identity: Identity | None = None
) -> TaskClient:
    """The client of a node.

    Args:
        overrides: of the run.
        config: of the node: `data`, `data-root`, `state-dir`, `key-file`, `client` and `policy` for a real one,
            `partition-id` and `num-partitions` for a simulated one.
        identity: of a site that has a certificate of its name.
    """
    partition_id = int(config.get("partition-id", 0))
    name = _name_of(config, partition_id)
    simulated = "partition-id" in config and "key-file" not in config
    policy = SitePolicy.read(name, absolute(config["policy"])) if "policy" in config else None
    settings = _settings_of(overrides, config, policy)
    if identity is not None:
        identity.check_run(settings.federation.authority)
    count = int(config.get("num-partitions", settings.federation.num_clients))
    divided = _simulated_data(overrides, count) if is_simulated(config) else _divided(settings, count)
    source = divided.source
    held_out, directions = _data_of(divided, settings, name, partition_id)
    task = make_task(settings)
    folder = _state_folder(settings, config, name, run_id)
    key_file = absolute(config["key-file"]) if "key-file" in config else None
    if simulated:  # a simulation keeps its key in the run folder
        key_file = key_path(run_dir(settings, run_id))
    key = client_key(settings, name, key_file, simulated=simulated)
    key_id = key.key_id if key else ""
    share_keys = partial(read_share_keys, name, config, key_id)
    if simulated:
        share_keys = partial(simulated_share_keys, run_dir(settings, run_id), name, key_id)
    client = TaskClient(
        name=name,
        task=task,
        settings=settings,
        samples=held_out.samples,
        directions=directions,
        store=NodeStore(folder / run_key, SharedFiles(folder.parent / SHARED) if simulated else None),
        cipher=lambda statistics: make_client_cipher(settings, statistics, client=name, key=key),
        shares=make_share_store(settings, folder, share_keys),
        ledger=PrivacyLedger(folder, name, settings.privacy.dp),
        server_optimiser=make_server_optimiser(settings.federation.server_optimiser),
        run_key=run_key,
        policy=policy,
        held_out=held_out if settings.personalise.enabled else None,
    )
    drop_old_means(client.store, name)
    if keep_recipe(client) and not simulated:  # once a run: a client without measures still trains
        for problem in evaluation_problems(settings, source, task):
            _log.warning("%s: %s", name, problem)
    return client


def _name_of(config: Mapping[str, str], partition_id: int) -> str:
    """The client's name. Raises NodeConfigError for one that the server would not take."""
    name = config.get("client", f"client-{partition_id}")
    if fault := name_fault(name):
        raise NodeConfigError(f"client={shown(name[:LONGEST_NAME])!r} in the node config {fault}")
    return name


def _settings_of(overrides: str, config: Mapping[str, str], policy: SitePolicy | None) -> Settings:
    """The run's settings with the node's own, within the site's policy. Raises SettingsError only for the overrides of
    the run, which the server knows; errors in a site's own are for its log."""
    if is_simulated(config):  # it has no settings of its own
        return _simulated_settings(overrides)
    run_words(overrides)
    if policy is None:
        refuse_plug_ins(composed(overrides), config)
    chosen = [f"data={'manifest' if is_place(config['data']) else config['data']}"] if "data" in config else []
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


@lru_cache(maxsize=2)
def _simulated_settings(words: str) -> Settings:
    """The same for all clients of a simulation, of which a process computes hundreds: composing them takes a third of a
    short round."""
    return load_settings(words)


def _own_settings(config: Mapping[str, str]) -> dict[str, object]:
    """Settings that the node decides itself, whatever the run says."""
    own: dict[str, object] = {}
    if "data-root" in config:
        own["data.root"] = config["data-root"]
    if "partition-id" not in config:  # a real node: all its data are its own
        own["data.partition.by"] = "none"
        if "data" in config:  # a run could bypass the data set with another reader
            own["data.reader"] = config["data"] if is_place(config["data"]) else reader_of(config["data"])
    if "state-dir" in config:
        for setting, below in (("data.cache_dir", "pictures"), ("data.equalise.folder", "equalised")):
            own[setting] = str(absolute(config["state-dir"]) / below)
    return own


class _Divided(NamedTuple):
    """A set, and its images for training and validation by client."""

    source: Source
    parts: list[list[Sample]]
    directions: list[list[Direction]]


def _divided(settings: Settings, count: int, *, remembered: bool = False) -> _Divided:
    """The node's data, the lists of its reader remembered or read anew whenever they are asked for.

    Raises DataError for any error of a reader."""
    try:
        source = open_source(settings.data, settings.seed)
        source = source.remembering() if remembered else source
        split = settings.data.val_split
        parts = source.parts(count)
        return _Divided(source, parts, source.by_day().evaluation_parts(split, count) if split else [[]] * len(parts))
    except (OSError, ValueError) as error:  # may quote content of the data
        raise DataError(str(error)) from error


@lru_cache(maxsize=1)
def _simulated_data(words: str, count: int) -> _Divided:
    """The same for all clients of a simulation: if each read the list of all images, a round's seconds would grow with
    the square of their number."""
    return _divided(_simulated_settings(words), count, remembered=True)


def _data_of(divided: _Divided, settings: Settings, name: str, partition_id: int) -> tuple[HeldOut, list[Direction]]:
    """Training images of a node with what is held out of them, and its validation directions.

    Raises DataError for any error of a reader."""
    source, parts = divided.source, divided.parts
    try:
        if not 0 <= partition_id < len(parts):
            raise SettingsError(f"{name}: partition-id {partition_id}, but the data has {len(parts)} parts")
        directions = divided.directions[partition_id]
        held_out = hold_out(settings, source, parts[partition_id], directions, name)
        return held_out._replace(samples=source.with_background(held_out.samples)), directions
    except (OSError, ValueError) as error:
        raise DataError(str(error)) from error


def _state_folder(settings: Settings, config: Mapping[str, str], name: str, run_id: int) -> Path:
    if "state-dir" in config:
        return absolute(config["state-dir"])
    return run_dir(settings, run_id) / "nodes" / name
