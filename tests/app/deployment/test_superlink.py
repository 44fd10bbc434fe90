"""The SuperLink's guard: other machines reach the Fleet API and nothing else."""

import asyncio
import json

import pytest
from flwr.superlink import extensions, main

from app.deployment import superlink
from app.deployment.superlink import REFUSAL, LocalControl, guard


def answer(path, client, server=("192.0.2.7", 8443), kind="http"):
    """Status and body of a request; 0 if it is passed on."""
    sent = []

    async def inner(*_):
        sent.append({"status": 0})

    async def send(event):
        sent.append(event)

    scope = {"type": kind, "path": path, "client": client, "server": server}
    asyncio.run(LocalControl(inner)(scope, None, send))
    return sent[0].get("status", sent[0]), b"".join(event.get("body", b"") for event in sent)


OPEN = ["/v1/fleet/pull-messages", "/v1/fleet/register-node"]
CLOSED = [
    "/v1/control/start-run",
    "/v1/control/register-node",
    "/v1/runtime/acquire-task",
    "/",
    "/docs",
    "/v1/fleet",
    "//v1/fleet/x",
    "/v1/fleetx/y",
]


@pytest.mark.parametrize("client", ["198.51.100.9", "192.0.2.8", "::ffff:198.51.100.9", "2001:db8::9", "nonsense"])
def test_another_machine_reaches_the_fleet_api_alone(client):
    for path in OPEN:
        assert answer(path, (client, 5000))[0] == 0
    for path in CLOSED:
        status, body = answer(path, (client, 5000))
        assert (status, json.loads(body)["detail"]) == (403, REFUSAL)
    assert answer("/v1/runtime/x", (client, 5000), kind="websocket")[0]["type"] == "websocket.close"
    assert answer("/v1/control/start-run", None)[0] == 403


@pytest.mark.parametrize(
    ("client", "server"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.9", "192.0.2.7"),
        ("::1", "::1"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("192.0.2.7", "192.0.2.7"),  # over the machine's own address
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_this_machine_reaches_everything(client, server):
    for path in [*OPEN, *CLOSED]:
        assert answer(path, (client, 5000), (server, 8443))[0] == 0


def test_the_guard_stands_before_everything_else_of_flower(monkeypatch):
    monkeypatch.setattr(extensions, "get_middleware", extensions.get_middleware)
    for name, value in (("FORWARDED_ALLOW_IPS", "*"), ("FLWR_INTERNAL_GRPC_CONTROL_API", "1")):
        monkeypatch.setenv(name, value)
    guard()
    assert main._get_middleware()[0].cls is LocalControl
    assert main.create_app().user_middleware[0].cls is LocalControl
    assert superlink.os.environ["FORWARDED_ALLOW_IPS"] == ""  # else a header would make a stranger local
    assert "FLWR_INTERNAL_GRPC_CONTROL_API" not in superlink.os.environ


def test_another_version_of_flower_does_not_start_unguarded(monkeypatch):
    monkeypatch.setattr(extensions, "get_middleware", extensions.get_middleware)
    monkeypatch.setattr(main, "_get_middleware", lambda: [type("Other", (), {"cls": object})()])
    with pytest.raises(RuntimeError, match=r"this version of Flower is unknown: .* puts another middleware first"):
        guard()
    monkeypatch.delattr(extensions, "get_middleware")
    with pytest.raises(RuntimeError, match="has no get_middleware"):
        guard()
