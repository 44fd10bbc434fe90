"""Errors as they leave a site: an allow-list of the project's own, and one general sentence for all others.

Flower sends the text of whatever a client raises to the server. Texts of readers, decoders and libraries name images,
and names of images tell plates. A class is on the list only if none of its messages holds anything of the site's data.
"""

import errno
import logging
import os
from collections.abc import Callable, Mapping
from functools import wraps

from flwr.app import Context, Message

from app.core.node_store import NodeStoreError, OutdatedAttemptError
from app.federation.global_model import GlobalModelError, UnusableAggregateError
from app.federation.ledger import PrivacyBudgetError
from app.federation.refusals import IdentityError, PolicyError
from app.federation.round_request import ClientError
from app.settings.checks import NamedFileError, SettingsError
from app.settings.load import absolute
from app.training.trainer import TrainingError
from models.errors import FedVehicleReidError
from strategies.ciphers.binding import EnvelopeError
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.keys import KeyFileError
from strategies.messages import MessageError
from strategies.shared_arrays import LayoutError

_log = logging.getLogger("flwr")
Handler = Callable[[Message, Context], Message]

TOLD: frozenset[type[Exception]] = frozenset(
    {
        CipherError,
        ClientError,
        EnvelopeError,
        GlobalModelError,
        IdentityError,
        KeyFileError,
        LayoutError,
        MessageError,
        NodeStoreError,
        OutdatedAttemptError,
        PolicyError,
        PrivacyBudgetError,
        SettingsError,
        TrainingError,
        UnusableAggregateError,
    }
)
"""Classes whose text may leave a site; a subclass has to be named itself."""

_SIMULATED = {"partition-id", "num-partitions"}  # all that Flower's simulation gives a node
_FOLDERS = ("data-root", "state-dir", "key-file")
_OWN_PLACES = ("data-root", "state-dir")  # without them the run says where a site reads and writes
_OF_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # of no path


class SiteError(FedVehicleReidError, RuntimeError):
    """What a site says of an error of its own."""


def is_simulated(node_config: Mapping[str, object]) -> bool:
    """Whether the node is one of a simulation, on the engineer's own machine: a real one is told what it has."""
    return set(node_config) <= _SIMULATED and "partition-id" in node_config


def guarded(handler: Handler) -> Handler:
    """The handler of a message, from which no error leaves a real site as it is; the site's own log has all of it."""

    @wraps(handler)
    def handle(message: Message, context: Context) -> Message:
        if is_simulated(context.node_config):
            return handler(message, context)
        try:
            return handler(message, context)
        except Exception as error:
            config = {key: str(value) for key, value in context.node_config.items()}
            _log.exception("%s: the server is told less than this", config.get("client", "this site"))
            said = outgoing(error, config)
        raise SiteError(said)  # out here it has neither cause nor context

    return handle


def outgoing(error: Exception, node_config: Mapping[str, str]) -> str:
    """What the server may read of an error: its text if its class is on the list, without the site's own folders.

    A file that the run named, in its settings or for want of the node's own places, gets one answer for every reason:
    whether it exists is none of the run's business."""
    name, kind = node_config.get("client", "this site"), type(error).__name__
    if isinstance(error, NamedFileError):
        return f"{name}: {error.key}: the file that it names cannot be used at this site; the site's own log says why"
    if isinstance(error, OSError) and not all(map(node_config.get, _OWN_PLACES)) and error.errno not in _OF_MACHINE:
        return f"{name}: OSError; the site's own log says more"
    if type(error) not in TOLD:
        reason = f" ({os.strerror(number)})" if (number := _number(error)) else ""
        return f"{name}: {kind}{reason}; the site's own log says more"
    text = str(error)
    for key in _FOLDERS:
        if own := node_config.get(key):
            for path in sorted({own, str(absolute(own))}, key=len, reverse=True):
                text = text.replace(path, f"<{key}>")
    return text if text.startswith(name) else f"{name}: {text}"


def _number(error: Exception) -> int:
    """Errno of an error of the operating system, 0 for another one. Its text is of the system's own making."""
    if not isinstance(error, OSError):
        return 0
    return error.errno or (errno.ENOENT if isinstance(error, FileNotFoundError) else 0)
