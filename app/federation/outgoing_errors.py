"""Filter of outgoing errors: an allow-list of the project's own, and one general sentence for all others.

Flower sends the text of every error of a client to the server. Errors of readers, decoders and libraries name image
files, and file names may contain plates. A class is on the list only if none of its messages holds site data.
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
from strategies.share_keys import ShareKeyError
from strategies.shared_arrays import LayoutError

_log = logging.getLogger("flwr")
Handler = Callable[[Message, Context], Message]

LISTED: frozenset[type[Exception]] = frozenset(
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
        ShareKeyError,
        TrainingError,
        UnusableAggregateError,
    }
)
"""Classes whose text may leave a site; a subclass has to be listed itself."""

_SIMULATED = {"partition-id", "num-partitions"}  # the complete config of a node in Flower's simulation
_FOLDERS = ("data-root", "state-dir", "key-file")
_OWN_PLACES = ("data-root", "state-dir")  # without them the run sets the folders of a site
_OF_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # of no path


class SiteError(FedVehicleReidError, RuntimeError):
    """General sentence for an unlisted error of a site."""


def is_simulated(node_config: Mapping[str, object]) -> bool:
    """Whether the node is simulated, on the engineer's own machine: a real one has folders in its config."""
    return set(node_config) <= _SIMULATED and "partition-id" in node_config


def guarded(handler: Handler) -> Handler:
    """Wrapper of a message handler that filters every error of a real site; the site's own log has the whole error."""

    @wraps(handler)
    def handle(message: Message, context: Context) -> Message:
        if is_simulated(context.node_config):
            return handler(message, context)
        try:
            return handler(message, context)
        except Exception as error:
            config = {key: str(value) for key, value in context.node_config.items()}
            _log.exception("%s: the server reads less of this error", config.get("client", "this site"))
            said = outgoing(error, config)
        raise SiteError(said)  # outside of the except block it has neither cause nor context

    return handle


def outgoing(error: Exception, node_config: Mapping[str, str]) -> str:
    """The part of an error that the server may read: its text if its class is listed, without the site's own folders.

    For a file named by the run, in its settings or in place of the node's own, there is one answer for every reason:
    the run must not learn whether the file exists."""
    name, kind = node_config.get("client", "this site"), type(error).__name__
    if isinstance(error, NamedFileError):
        return f"{name}: {error.key}: the file that it names cannot be used at this site; the site's own log says why"
    if isinstance(error, OSError) and not all(map(node_config.get, _OWN_PLACES)) and error.errno not in _OF_MACHINE:
        return f"{name}: OSError; the site's own log says more"
    if type(error) not in LISTED:
        reason = f" ({os.strerror(number)})" if (number := _number(error)) else ""
        return f"{name}: {kind}{reason}; the site's own log says more"
    text = str(error)
    for key in _FOLDERS:
        if own := node_config.get(key):
            for path in sorted({own, str(absolute(own))}, key=len, reverse=True):
                text = text.replace(path, f"<{key}>")
    return text if text.startswith(name) else f"{name}: {text}"


def _number(error: Exception) -> int:
    """Errno of an error of the operating system, 0 for any other. The text of an errno is fixed by the system."""
    if not isinstance(error, OSError):
        return 0
    return error.errno or (errno.ENOENT if isinstance(error, FileNotFoundError) else 0)
