"""Webhooks: their signature, and what is said of a server that refuses, is away or cannot be trusted."""

import ssl

import pytest
from event_receivers import SECRET, expired_certificate

from app.register.receivers import Webhook
from app.register.webhook import DeliveryError, WebhookSender, signed


def test_the_signature_is_that_of_the_standard():
    """The example of its reference implementations."""
    headers = signed(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        1614265330,
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def post(url, **more):
    WebhookSender(Webhook(name="desk", url=url, secret=SECRET, **more)).send("a", "test", '{"id": "a"}')


def test_failures_are_named_without_the_path_of_the_url(webhook):
    webhook.status = 302
    with pytest.raises(DeliveryError, match=f"^127.0.0.1:{webhook.port} answered 302, and redirections are not"):
        post(webhook.url)
    webhook.status = 401
    with pytest.raises(DeliveryError, match=f"^127.0.0.1:{webhook.port} answered 401 Unauthorized$"):
        post(webhook.url)
    webhook.delay = 2
    with pytest.raises(DeliveryError, match=f"^127.0.0.1:{webhook.port}: no answer in time$"):
        post(webhook.url, timeout_seconds=1)
    with pytest.raises(DeliveryError, match=r"^127.0.0.1:9: Connection refused$"):
        post("http://127.0.0.1:9/secret")
    with pytest.raises(DeliveryError, match="ca_file nowhere cannot be used: No such file"):
        post("https://127.0.0.1:9/", ca_file="nowhere")


def test_a_server_whose_certificate_has_expired_gets_nothing(webhook, tmp_path):
    certificate, key = expired_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    webhook.server.socket = context.wrap_socket(webhook.server.socket, server_side=True)
    url = webhook.url.replace("http:", "https:")
    with pytest.raises(DeliveryError, match="its certificate is refused: certificate has expired"):
        post(url, ca_file=str(certificate))
    with pytest.raises(DeliveryError, match="its certificate is refused: self"):
        post(url)
    assert webhook.bodies == []
