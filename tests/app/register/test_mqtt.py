"""Delivery of events to a real broker of MQTT, where one is installed."""

import json
import threading

import pytest
from event_receivers import broker, name_receivers, see, wait_until
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from app.core.errors import MissingPackageError
from app.register.delivery import Delivery
from app.register.folder import RegisterFolder
from app.register.matcher import Outcome
from app.register.mqtt import BrokerSender
from app.register.receivers import Broker
from app.register.webhook import DeliveryError

HUB = """
[[mqtt]]
name = "hub"
url = "mqtt://127.0.0.1:{port}"
topic = "park/north"
events = ["match", "unknown"]
"""


@pytest.fixture
def held(tmp_path):
    held = RegisterFolder(tmp_path / "register")
    yield held
    held.close()


def subscribed(port):
    """What is published from now on, by topic."""
    got, ready = [], threading.Event()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _, __, message: got.append((message.topic, json.loads(message.payload), message.qos))
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", port)
    client.subscribe("park/#", qos=1)
    client.loop_start()
    assert ready.wait(10)
    return got, client


def test_events_are_published_and_outlast_an_outage(held, tmp_path):
    with broker(tmp_path) as (port, process):
        name_receivers(held.folder, HUB.format(port=port))
        got, client = subscribed(port)
        delivery = Delivery(held.outbox, held.folder, first_pause=0.05)
        numbers = [see(held) for _ in range(3)]
        see(held, Outcome.unsure, 1)
        wait_until(lambda: len(got) == 3)
        assert [(topic, body["sighting"], qos) for topic, body, qos in got] == [
            ("park/north/unknown", number, 1) for number in numbers
        ]
        client.disconnect()
        client.loop_stop()
        process.terminate()
        process.wait(10)
        late = [see(held) for _ in range(20)]
        wait_until(lambda: held.outbox.queues()[0].tries)
        assert f"127.0.0.1:{port}: " in held.outbox.queues()[0].error
    with broker(tmp_path) as (port, _):
        got, client = subscribed(port)
        name_receivers(held.folder, HUB.format(port=port))
        wait_until(lambda: len({body["id"] for _, body, _ in got}) == 20)
        assert [body["sighting"] for _, body, _ in got] == late
        wait_until(lambda: not held.outbox.queues())
        delivery.stop()
        client.disconnect()
        client.loop_stop()


def test_a_broker_that_refuses_is_named(tmp_path):
    (tmp_path / "acl").write_text("topic read #\n", encoding="utf-8")
    (tmp_path / "acl").chmod(0o600)
    lines = ("allow_anonymous true", f"acl_file {tmp_path}/acl")
    with broker(tmp_path, *lines) as (port, _):
        sender = BrokerSender(Broker(name="hub", url=f"mqtt://127.0.0.1:{port}"))
        with pytest.raises(DeliveryError, match="refuses the topic vehicles/match: Not authorized"):
            sender.send("a", "match", "{}")
        sender.close()
    with broker(tmp_path, "allow_anonymous false") as (port, _):
        sender = BrokerSender(Broker(name="hub", url=f"mqtt://127.0.0.1:{port}", user="me", password="word"))
        with pytest.raises(DeliveryError, match=f"127.0.0.1:{port} refuses the connection: Not authorized"):
            sender.send("a", "match", "{}")
        sender.close()
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.1:9: Connection refused"):
        BrokerSender(Broker(name="hub", url="mqtt://127.0.0.1:9")).send("a", "match", "{}")


def test_without_the_package_the_extra_is_named(held, monkeypatch):
    name_receivers(held.folder, HUB.format(port=1883))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'fed-vehicle-reid\[mqtt\]'"):
        Delivery(held.outbox, held.folder)
