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
from start_scripts import executable

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
def test_a_clock_that_the_server_refuses_is_reported(server, capsys, ahead, status):
    assert clock.main(*server, now=lambda: time.time() + ahead) == status
    said = capsys.readouterr().err
    assert ("this machine's clock is" in said) == (ahead != 0)
    found = re.search(r"clock is (\d+) s", said)
    assert not found or int(found[1]) == pytest.approx(abs(ahead), abs=1.5)  # dates of HTTP are whole seconds


def test_what_is_no_matter_of_the_clock_is_left_to_the_supernode(server, tmp_path, capsys):
    address, certificate = server
    assert clock.main("127.0.0.1:9", certificate) == 3  # it is not there
    other = tmp_path / "ca.crt"
    other.write_bytes(new_authority("others").certificate)
    assert clock.main(address, other) == 0
    assert clock.main(address, tmp_path / "missing.crt") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("date", ["", "tomorrow"])
def test_a_server_without_a_date_says_nothing_of_the_clock(server, monkeypatch, date):
    monkeypatch.setattr(clock, "server_date", lambda *_: (date, 0.0, 0.0))
    assert clock.main(*server) == 0


@pytest.mark.parametrize(("ahead", "status"), [(0.0, 0), (8.0, 2)])
def test_a_server_that_is_not_up_yet_is_asked_until_it_has_answered_once(monkeypatch, capsys, ahead, status):
    answers, slept = [ConnectionRefusedError(), TimeoutError(), OSError("no route"), 1000.0, 1000.0], []

    def asked(*_):
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return formatdate(answer, usegmt=True), answer + 0.5 + ahead, answer + 0.5 + ahead

    monkeypatch.setattr(clock, "server_date", asked)
    assert clock.keep_asking("park:1", None, lambda: True, sleep=slept.append) == status
    assert len(slept) == 3
    assert answers == [1000.0]  # not asked again
    assert capsys.readouterr().err.count("8 s ahead of the server's") == (status == 2)


def test_retries_end_with_the_site_after_a_last_try(monkeypatch):
    asked, lives = [], [True, True, False]

    def away(*_):
        asked.append(1)
        raise ConnectionRefusedError

    monkeypatch.setattr(clock, "server_date", away)
    assert clock.keep_asking("park:1", None, lambda: lives.pop(0), sleep=lambda _: None) == 3
    assert len(asked) == 3


def started_site(root, tmp_path, address, certificate, supernode):
    """The start command of a site whose SuperNode is this shell script."""
    site = root / "sites/north"
    (site / "ca.crt").write_bytes(certificate.read_bytes())
    script = site / "start.sh"
    script.write_text(script.read_text(encoding="utf-8").replace("fed.example.org:8443", address), encoding="utf-8")
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    warm = 'case "$*" in *deployment.warm*) exit 0;; esac'
    executable(programs / "python", f"{warm}\nexec '{sys.executable}' \"$@\"")
    executable(programs / "flower-supernode", supernode)
    (site / "site.env").write_text(f"VENV='{tmp_path}/venv'\nDATA=manifest\nDATA_ROOT='{tmp_path}'\nRUNTIME_PORT=1\n")
    return ["/bin/sh", str(script)]


@pytest.mark.slow
def test_a_site_started_before_its_server_reports_its_clock_later(server, root, tmp_path, monkeypatch):
    """The first look, which `start.sh` waits for, finds nobody; the one beside the SuperNode does."""
    address, certificate = server
    monkeypatch.setattr(Answers, "shift", -30.0)
    command = started_site(root, tmp_path, address, certificate, "exec cat")  # runs until its input ends
    python = tmp_path / "venv" / "bin" / "python"
    first = f'case "$*" in *deployment.clock*"ca.crt") touch "{tmp_path}/asked"; exit 3;; esac'
    python.write_text(python.read_text().replace("exec", f"{first}\nexec", 1))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        said = next(line for line in started.stderr if "clock" in line)
        assert started.poll() is None  # a SuperNode that is connecting is left alone
        started.stdin.close()
    assert int(re.search(r"clock is (\d+) s ahead of the server's", said)[1]) == pytest.approx(30, abs=1.5)
    assert (tmp_path / "asked").exists()


@pytest.mark.slow
def test_the_start_command_stops_before_a_supernode_is_started(server, root, tmp_path, monkeypatch):
    address, certificate = server
    monkeypatch.setattr(Answers, "shift", -30.0)  # the server is behind, so the site is ahead
    command = started_site(root, tmp_path, address, certificate, f"touch '{tmp_path}/started'")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "s ahead of the server's, and the server refuses a site" in done.stderr
    assert not (tmp_path / "started").exists()
