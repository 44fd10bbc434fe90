"""nginx with the settings of `operator-access`, before a stand-in for the server that says which paths reach it."""

import contextlib
import signal
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from nginx_proxy import asked, nginx_with

from app.deployment.certificates import Issued, new_authority, new_operator, new_server, read_certificate
from app.deployment.renewal import give_access
from app.deployment.setup import make_federation
from scripts.bench.loopback import free_port

NEWEST = {"detail": "this port takes the newest operator certificate of the federation, and no other"}


class Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def pair(folder, name):
    return Issued(*((folder / f"{name}.{end}").read_bytes() for end in ("crt", "key")))


@contextlib.contextmanager
def answering(folder, port):
    """A server with the certificate of the server's folder."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    httpd = ThreadingHTTPServer(("127.0.0.1", port), Answers)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def with_number(authority, root, monkeypatch):
    """A certificate that has the serial number of the operator's."""
    number = read_certificate(root / "operator/operator.crt").serial_number
    with monkeypatch.context() as patch:
        patch.setattr("app.deployment.certificates.x509.random_serial_number", lambda: number)
        return new_operator(authority, "parks operator")


@pytest.fixture
def ports():
    return free_port(), free_port()


def test_the_newest_certificate_of_the_operator_opens_the_control_api_and_nothing_else(
    plan, first_key, tmp_path, ports, monkeypatch
):
    port, operator_port = ports
    root = tmp_path / "parks"
    changes = {"host": "127.0.0.1", "port": port, "install": tmp_path, "operator_port": operator_port}
    make_federation(plan(**changes), root, first_key)
    (tmp_path / "parks-server").symlink_to(root / "server")
    authority, ca = pair(root / "authority", "ca"), root / "operator/ca.crt"
    first = pair(root / "operator", "operator")

    def answer(*given):
        found = asked(tmp_path, ca, operator_port, *given)
        assert found.status_code in (200, 403)
        return found.text if found.status_code == 200 else found.json()

    with answering(root / "server", port), nginx_with(root / "server/control.conf", operator_port, tmp_path) as nginx:
        assert answer(first) == "/v1/control/list-runs"
        strangers = {
            "nobody": None,
            "server": pair(root / "server", "server"),
            "another authority": new_operator(new_authority("parks"), "parks operator"),
            "another of this authority": new_operator(authority, "parks operator"),
            "expired": new_operator(authority, "parks operator", days=0),
            "another server": new_server(authority, "parks operator"),
            "forged with the same number": with_number(new_authority("parks"), root, monkeypatch),
        }
        assert {name: answer(issued) for name, issued in strangers.items()} == dict.fromkeys(strangers, NEWEST)
        others = [
            "/",
            "/health",
            "/v1/runtime/acquire-task",
            "/v1/fleet/register-node",
            "/v1/controlx/y",
            "//v1/runtime/x",
        ]
        others += [f"/v1/control/{dots}/runtime/acquire-task" for dots in ("..", "%2e%2e", "..%2f..%2fv1")]
        for path in others:
            assert answer(first, path) == NEWEST, path

        give_access(root)
        nginx.send_signal(signal.SIGHUP)  # what `systemctl reload nginx` sends
        newest, end = pair(root / "operator", "operator"), time.monotonic() + 20
        # For a moment the processes of before and after both take connections.
        while (answer(first), answer(newest)) != (NEWEST, "/v1/control/list-runs"):
            assert time.monotonic() < end
            time.sleep(0.05)
