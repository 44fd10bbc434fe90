"""The clock of a site against a server with TLS on loopback, whose answers carry the time as Flower's do."""

import re
import ssl
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.deployment import clock
from app.deployment.certificates import new_authority, new_server


class Answers(BaseHTTPRequestHandler):
    shift = 0.0

    def do_HEAD(self):
        self.send_response_only(404)
        self.send_header("Date", formatdate(time.time() + self.shift, usegmt=True))
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address, certificate of the authority, and the handler, whose clock can be shifted."""
    folder = tmp_path_factory.mktemp("tls")
    authority = new_authority("parks")
    issued = new_server(authority, "127.0.0.1")
    for name, data in (
        ("ca.crt", authority.certificate),
        ("server.crt", issued.certificate),
        ("server.key", issued.private_key),
    ):
        (folder / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{httpd.server_port}", folder / "ca.crt"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("ahead", "words", "refused"),
    [
        (1.0, "", False),
        (3.0, "this machine's clock is 3 s ahead of the server's: set", False),
        (8.0, "8 s ahead of the server's, and the server refuses a site from 5 s ahead: set", True),
        (-60.0, "60 s behind the server's: set", False),
        (-400.0, "400 s behind the server's, and the server refuses a site from 305 s behind: set", True),
    ],
)
def test_what_is_said_of_a_clock(ahead, words, refused):
    sentence, stops = clock.verdict(ahead)
    assert words in sentence
    assert stops is refused
    assert ("chrony" in sentence) == bool(words)


@pytest.mark.parametrize(("ahead", "status"), [(0, 0), (8, 2), (-60, 0), (-400, 2), (3e5, 2)])
def test_a_clock_that_the_server_refuses_is_told_so(server, capsys, ahead, status):
    assert clock.main(*server, now=lambda: time.time() + ahead) == status
    said = capsys.readouterr().err
    assert ("this machine's clock is" in said) == (ahead != 0)
    found = re.search(r"clock is (\d+) s", said)
    assert not found or int(found[1]) == pytest.approx(abs(ahead), abs=1.5)  # dates of HTTP are whole seconds


def test_what_is_no_matter_of_the_clock_is_left_to_the_supernode(server, tmp_path, capsys):
    address, certificate = server
    assert clock.main("127.0.0.1:9", certificate) == 0
    other = tmp_path / "ca.crt"
    other.write_bytes(new_authority("others").certificate)
    assert clock.main(address, other) == 0
    assert clock.main(address, tmp_path / "missing.crt") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("date", ["", "tomorrow"])
def test_a_server_without_a_date_says_nothing_of_the_clock(server, monkeypatch, date):
    monkeypatch.setattr(clock, "server_date", lambda *_: (date, 0.0, 0.0))
    assert clock.main(*server) == 0


def test_the_start_command_stops_before_a_supernode_is_started(server, root, tmp_path, monkeypatch):
    address, certificate = server
    monkeypatch.setattr(Answers, "shift", -30.0)  # the server is behind, so the site is ahead
    site = root / "sites/north"
    (site / "ca.crt").write_bytes(certificate.read_bytes())
    script = site / "start.sh"
    script.write_text(script.read_text(encoding="utf-8").replace("fed.example.org:8443", address), encoding="utf-8")
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    (programs / "python").chmod(0o755)
    (programs / "flower-supernode").write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n")
    (programs / "flower-supernode").chmod(0o755)
    (site / "site.env").write_text(f"VENV='{tmp_path}/venv'\nDATA=manifest\nDATA_ROOT='{tmp_path}'\nRUNTIME_PORT=1\n")
    done = subprocess.run(["/bin/sh", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "s ahead of the server's, and the server refuses a site" in done.stderr
    assert not (tmp_path / "started").exists()
