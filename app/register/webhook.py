"""Delivery of an event by HTTP POST, signed as the Standard Webhooks (standardwebhooks.com) have it."""

import base64
import hashlib
import hmac
import http.client
import ssl
import time
from urllib.parse import urlsplit

from app.register.receivers import SECRET_PREFIX, Gate, Webhook
from models.errors import FedVehicleReidError

_NAMES = {"id": "webhook-id", "timestamp": "webhook-timestamp", "signature": "webhook-signature"}


class DeliveryError(FedVehicleReidError, RuntimeError):
    """A receiver did not take an event; the message says why, without the path of its URL, which may be a secret."""


class LaterError(DeliveryError):
    """A receiver does not take this event now; it may take others."""


class RefusedEventError(DeliveryError):
    """A receiver will never take this event, but may take others."""


class WebhookSender:
    """Posts events to the URL of a webhook or a gate. Implements `Sender`."""

    def __init__(self, receiver: Webhook | Gate) -> None:
        self.receiver = receiver

    def send(self, key: str, kind: str, body: str) -> None:
        """Deliver an event. Raises DeliveryError unless the receiver answers with a status of success."""
        del kind
        parts = urlsplit(self.receiver.url)
        place = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        content = body.encode()
        headers = {"Content-Type": "application/json", **signed(self.receiver.secret, key, content)}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection = self._connection(str(parts.hostname), parts.port, parts.scheme)
            try:
                connection.request("POST", target, content, headers)
                status = connection.getresponse().status
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DeliveryError(f"{place}: {reason(error)}") from error
        if 300 <= status < 400:
            raise DeliveryError(f"{place} answered {status}, and redirections are not followed: give the URL behind it")
        if not 200 <= status < 300:
            raise DeliveryError(f"{place} answered {status} {http.client.responses.get(status, '')}".rstrip())

    def _connection(self, host: str, port: int | None, scheme: str) -> http.client.HTTPConnection:
        seconds = self.receiver.timeout_seconds
        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=seconds)
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=tls(self.receiver.ca_file))

    def close(self) -> None:
        """Nothing stays open between events."""


def signed(secret: str, key: str, content: bytes, timestamp: int | None = None) -> dict[str, str]:
    """Headers of an event: its key, the time, and the HMAC-SHA256 over both and the body."""
    at = int(time.time()) if timestamp is None else timestamp
    secret_key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.new(secret_key, f"{key}.{at}.".encode() + content, hashlib.sha256).digest()
    values = {"id": key, "timestamp": str(at), "signature": f"v1,{base64.b64encode(digest).decode()}"}
    return {_NAMES[name]: value for name, value in values.items()}


def tls(ca_file: str) -> ssl.SSLContext:
    """Checks of a server's certificate. Raises DeliveryError for a file that cannot be used."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as error:
        raise DeliveryError(f"ca_file {ca_file} cannot be used: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """A reason in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
