"""Names of the records and keys in messages between server and clients, and the one way to put bytes into a message."""

from collections.abc import Collection
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from models.errors import FedVehicleReidError

# Records of a message.
CONFIG = "config"
AGGREGATE = "aggregate"
GLOBAL = "global"
UPDATE = "update"
INFO = "info"
MEASURES = "measures"
SHARES = "shares"
SHARE_SUM = "share-sum"
PROOF = "proof"

# Keys of the config that a client gets.
SERVER_ROUND = "server-round"
RUN_KEY = "run-key"
CHALLENGE = "challenge"
ORDER = "order"
GLOBAL_VERSION = "global-version"
GLOBAL_DIGEST = "global-digest"
COEFFICIENT = "coefficient"
COEFFICIENT_SUM = "coefficient-sum"
MEAN_FROM = "mean-from"
MEASURE = "measure"
COHORT = "cohort"
ATTEMPT = "attempt"
NONCE = "nonce"
SHARE_KEYS = "share-keys"
ACTION = "action"
ACTION_DESCRIBE = "describe"
ACTION_SEND_GLOBAL = "send-global"
ACTION_SUM_SHARES = "sum-shares"
CLIENTS = "clients"

# Keys of the info that a client gives.
CLIENT = "client"
TASK = "task"
LAYOUT = "layout"
KEY_ID = "key-id"
NUM_EXAMPLES = "num-examples"
NUM_NODES = "num-nodes"
SHARE_KEY = "share-key"
HELD_ROUNDS = "held-rounds"
HELD_DIGESTS = "held-digests"
UNUSABLE_SUM = "unusable-sum"
BAD_SHARES = "bad-shares"
VERSIONS = "versions"

# Keys of the proof that a client gives.
CERTIFICATE = "certificate"
SIGNATURE = "signature"

# Measures that a client gives.
DP_EPSILON = "dp_epsilon"
FEATURE_SHIFT = "feature_shift"

_STYPE = "fed-vehicle-reid.bytes"


class MessageError(FedVehicleReidError, ValueError):
    """A message without a required part, or with a forbidden one."""


def with_config(config: dict[str, Any]) -> RecordDict:
    """A message's content with this config and nothing else."""
    return RecordDict({CONFIG: ConfigRecord(config)})


def bytes_behind(view: NDArray[np.uint8]) -> bytes:
    """The bytes of an array; those that it views as a whole, if there are any, without a copy."""
    whole = view.base
    return whole if isinstance(whole, bytes) and len(whole) == view.nbytes else view.tobytes()


def bytes_record(name: str, data: bytes) -> ArrayRecord:
    """An array record that holds `data` and nothing else."""
    return ArrayRecord({name: Array(dtype="uint8", shape=(len(data),), stype=_STYPE, data=data)})


def received(content: RecordDict) -> tuple[list[NDArray[np.uint8]], dict[str, Any]]:
    """Parameters and config of a server's message, as Flower's clients take them: a model from another node, then the
    aggregate, each if present, as views of the message's bytes. Raises MessageError for any other array."""
    names = [name for name in (GLOBAL, AGGREGATE) if name in content.array_records]
    arrays = [np.frombuffer(bytes_of(content, name, beside=names), np.uint8) for name in names]
    return arrays, dict(config_of(content, CONFIG))


def bytes_of(content: RecordDict, name: str, beside: Collection[str] = ()) -> bytes:
    """The bytes of record `name`.

    Raises MessageError if they are missing, or if the content holds any other array than those of records `beside`:
    only the joined and weighted shared part may travel; another array is a private one or a mistake.
    """
    strange = [
        f"{record}/{key}" if record != key else key
        for record, arrays in content.array_records.items()
        for key in arrays
        if record != key or record not in (name, *beside)
    ]
    if strange:
        raise MessageError(f"arrays that must not travel: {', '.join(sorted(strange))}")
    if name not in content.array_records or name not in content.array_records[name]:
        raise MessageError(f"no array {name!r} in the message")
    return content.array_records[name][name].data


def add_content(content: RecordDict, more: RecordDict) -> None:
    """Add the config and the arrays of `more`."""
    content.config_records[CONFIG].update(more.config_records[CONFIG])
    for name, record in more.array_records.items():
        content[name] = record


def config_of(content: RecordDict, name: str) -> ConfigRecord:
    """The config record `name`. Raises MessageError if it is missing."""
    if name not in content.config_records:
        raise MessageError(f"no record {name!r} in the message")
    return content.config_records[name]


def unusable_sum(content: RecordDict) -> str:
    """Why a client could not apply the last aggregate; "" if it could."""
    return str(content.config_records.get(INFO, ConfigRecord()).get(UNUSABLE_SUM, ""))


def bad_dealer(content: RecordDict) -> str:
    """The client that dealt bad shares to the one that replies; "" for none."""
    return str(content.config_records.get(INFO, ConfigRecord()).get(BAD_SHARES, ""))


def payload_bytes(message: Message) -> int:
    """Bytes of all arrays in a message."""
    if not message.has_content():
        return 0
    return sum(len(array.data) for record in message.content.array_records.values() for array in record.values())
