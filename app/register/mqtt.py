"""Delivery of an event to a broker of MQTT 5, at QoS 1: it counts as delivered when the broker acknowledged it."""

import importlib.util
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.core.errors import MissingPackageError
from app.register.receivers import Broker
from app.register.webhook import DeliveryError, reason, tls

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.reasoncodes import ReasonCode

_PORTS = {"mqtt": 1883, "mqtts": 8883}


def require_mqtt() -> None:
    """Raise MissingPackageError without the package."""
    if importlib.util.find_spec("paho") is None:
        raise MissingPackageError("MQTT needs the package paho-mqtt: pip install 'fed-vehicle-reid[mqtt]'")


class BrokerSender:
    """Publishes events to a broker, over one connection as long as it lasts. Implements `Sender`."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._client: Client | None = None
        parts = urlsplit(broker.url)
        self._host, self._port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
        self._tls = parts.scheme == "mqtts"
        self._answers: dict[int, ReasonCode] = {}
        self._connected = threading.Event()
        self._answer: ReasonCode | None = None

    def send(self, key: str, kind: str, body: str) -> None:
        """Deliver an event. Raises DeliveryError unless the broker acknowledges it."""
        del key  # it stands in the body
        try:
            client = self._open()
            info = client.publish(f"{self.broker.topic}/{kind}", body.encode(), qos=1)
            info.wait_for_publish(self.broker.timeout_seconds)
            if not info.is_published():
                raise DeliveryError(f"{self._place}: no acknowledgement in time")
            answer = self._answers.pop(info.mid, None)
            if answer is not None and answer.is_failure:
                raise DeliveryError(f"{self._place} refuses the topic {self.broker.topic}/{kind}: {answer}")
        except (OSError, ValueError, RuntimeError) as error:
            self.close()  # with what it would send again by itself
            raise error if isinstance(error, DeliveryError) else self._failed(error) from error

    def _open(self) -> "Client":
        """The connection that is there, or a new one."""
        if self._client is not None and self._client.is_connected():
            return self._client
        self.close()
        require_mqtt()
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        self._client = client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        client.on_connect, client.on_publish = self._on_connect, self._on_publish
        client.connect_timeout = self.broker.timeout_seconds
        if self.broker.user:
            client.username_pw_set(self.broker.user, self.broker.password)
        if self._tls:
            client.tls_set_context(tls(self.broker.ca_file))
        self._connected.clear()
        self._answer = None
        client.connect(self._host, self._port)
        client.loop_start()
        if not self._connected.wait(self.broker.timeout_seconds):
            raise DeliveryError(f"{self._place}: no answer in time")
        if self._answer is None or self._answer.is_failure:
            raise DeliveryError(f"{self._place} refuses the connection: {self._answer}")
        return client

    def _on_connect(self, client: Any, data: Any, flags: Any, answer: "ReasonCode", properties: Any) -> None:
        del client, data, flags, properties
        self._answer = answer
        self._connected.set()

    def _on_publish(self, client: Any, data: Any, number: int, answer: "ReasonCode", properties: Any) -> None:
        del client, data, properties
        self._answers[number] = answer

    @property
    def _place(self) -> str:
        return f"{self._host}:{self._port}"

    def _failed(self, error: BaseException) -> DeliveryError:
        return DeliveryError(f"{self._place}: {reason(error)}")

    def close(self) -> None:
        """Let the connection go."""
        client, self._client = self._client, None
        self._answers.clear()
        if client is not None:
            client.disconnect()
            client.loop_stop()
