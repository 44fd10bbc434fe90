"""Record of each message that a real node handles, for the metrics of its site; what it says stays there."""

import logging
import time
from functools import wraps

from flwr.app import ConfigRecord, Context, Message, MetricRecord

from app.core.site_activity import ANSWERED, FAILED, REFUSED, UNUSABLE, Done, note
from app.federation.outgoing_errors import Handler
from app.federation.refusals import IdentityError, PolicyError
from app.settings.load import absolute
from strategies import messages as m

_log = logging.getLogger("flwr")


def recorded(handler: Handler) -> Handler:
    """Wrapper of a message handler that records what it did. A simulated node has no record. An obstacle to the record
    is logged at the site: it must not cost the reply."""

    @wraps(handler)
    def handle(message: Message, context: Context) -> Message:
        if "state-dir" not in context.node_config:
            return handler(message, context)
        began, started, reply, outcome = time.time(), time.perf_counter(), None, FAILED
        try:
            reply = handler(message, context)
            outcome = UNUSABLE if m.unusable_sum(reply.content) else ANSWERED
            return reply
        except (PolicyError, IdentityError):
            outcome = REFUSED
            raise
        finally:
            _note(message, reply, context, outcome, began, time.perf_counter() - started)

    return handle


def _note(
    message: Message, reply: Message | None, context: Context, outcome: str, began: float, seconds: float
) -> None:
    try:
        config = message.content.config_records.get(m.CONFIG, ConfigRecord())
        server_round = config.get(m.SERVER_ROUND, 0)
        done = Done(
            kind=message.metadata.message_type.partition(".")[0],
            outcome=outcome,
            run=str(config.get(m.RUN_KEY, "")),
            server_round=server_round if isinstance(server_round, int) else 0,
            began=began,
            seconds=seconds,
            bytes_received=m.payload_bytes(message),
            bytes_sent=0 if reply is None else m.payload_bytes(reply),
            measures={} if reply is None else reply.content.metric_records.get(m.MEASURES, MetricRecord()),
        )
        note(absolute(str(context.node_config["state-dir"])), done)
    except Exception:  # a by-product: the trained update must not be lost over it
        _log.warning("%s: no record for the metrics", context.node_config.get("client", "this site"), exc_info=True)
