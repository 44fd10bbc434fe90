"""Real receivers of events: a server of HTTP, and a broker of MQTT where Debian's mosquitto is installed."""

import base64
import hashlib
import hmac
import ipaddress
import json
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.core.sample import Box
from app.register.matcher import Candidate, Decision, Outcome
from app.register.records import NewView, SeenBy

KEY = b"0123456789abcdefghijklmnopqrstuv"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
HTTP = """
[[webhook]]
name = "desk"
url = "{url}"
secret = "{secret}"
{more}
"""


class WebhookServer:
    """Events that came to a server, each with its signature checked; `status` is what it answers."""

    def __init__(self):
        self.bodies, self.faults, self.status, self.delay = [], [], 200, 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                content = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(outer.delay)
                outer.take(self.headers, content)
                self.send_response(outer.status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/events?key=secret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, headers, content):
        message = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
        digest = base64.b64encode(hmac.new(KEY, message, hashlib.sha256).digest()).decode()
        body = json.loads(content)
        is_signed = headers["webhook-signature"] == f"v1,{digest}" and headers["webhook-id"] == body["id"]
        if not is_signed or abs(int(headers["webhook-timestamp"]) - time.time()) > 60:
            self.faults.append(body)
        elif self.status == 200:
            self.bodies.append(body)

    def ids(self):
        """Of the events that came, each once, in the order of their first coming."""
        return list(dict.fromkeys(body["id"] for body in self.bodies))

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def webhook():
    server = WebhookServer()
    yield server
    assert server.faults == []
    server.close()


def name_receivers(folder, text):
    """Write the file of receivers, readable by its owner alone."""
    path = folder / "events.toml"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def desk(url, more=""):
    """One webhook in the words of the file."""
    return HTTP.format(url=url, secret=SECRET, more=more)


def see(
    held,
    outcome=Outcome.unknown,
    vehicle=None,
    *,
    camera="gate",
    decided_by="fused",
    plate="",
    count=1,
    enrolled=None,
    listed=(),
):
    """Keep a sighting with its events, as an identification does, or several; the last one's number."""
    candidates = {"fused": [Candidate(vehicle, 0.95)]} if vehicle else {}
    decision = Decision(outcome, vehicle, decided_by, 0.95, 0.9, None, candidates)
    views = [NewView(f"{0:032x}.jpg", {}, Box(1, 2, 3, 4))]
    seen_by = SeenBy(camera, f"{camera} north", plate) if camera else None
    with held.database.writing() as session:
        for _ in range(count):
            about = {"camera": seen_by, "enrolled": enrolled, "listed": listed}
            number = held.journal.record_sighting(session, decision, views, "camera", **about)
            held.outbox.add(session, number)
    return number


@contextmanager
def broker(folder, *lines):
    """A broker on loopback that lets anybody in; its port, and the process."""
    if (program := shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")) is None:
        pytest.skip("mosquitto is missing: apt-get install mosquitto")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "mosquitto.conf"
    given = lines or ("allow_anonymous true",)
    given = (*given, "user root")  # else one that is started by root may not read the folder of a test
    config.write_text("\n".join([f"listener {port} 127.0.0.1", *given, ""]), encoding="utf-8")
    process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port))
        yield port, process
    finally:
        process.terminate()
        process.wait(10)


def answers(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def wait_until(is_so, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def expired_certificate(folder, days=-1):
    """A certificate of 127.0.0.1 that signs itself and ended yesterday, or ends in some days, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")]), datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days=days))
    made = made.add_extension(address, critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    paths = folder / "expired.crt", folder / "expired.key"
    paths[0].write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    words = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(*words))
    return paths
