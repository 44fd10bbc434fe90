"""Checks of a machine before it joins: each fault is named with its remedy, against real servers with TLS."""

import contextlib
import ipaddress
import json
import socket
import ssl
import threading
import time
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from party_folders import run

from app.deployment import certificates
from app.deployment.certificates import Issued, new_authority, new_server
from app.deployment.env_file import read_env
from app.deployment.parties import DeploymentError, read_party
from app.deployment.preflight import Means, preflight
from app.deployment.renewal import give_access
from scripts import federation

GIB = 2**30
ENOUGH = Means(time.time, lambda _: 100 * GIB, lambda: 100 * GIB)


class Answers(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response_only(404 if self.path.startswith("/v1/control/") else 403)
        self.send_header("Date", formatdate(time.time(), usegmt=True))
        self.end_headers()

    def log_message(self, *_):
        pass


class Quiet(ThreadingHTTPServer):
    def handle_error(self, *_):
        pass


@contextlib.contextmanager
def serving(folder, issued, **choices):
    """A server with this certificate on loopback; its port."""
    for name, data in (("server.crt", issued.certificate), ("server.key", issued.private_key)):
        (folder / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    for name, value in choices.items():
        if name == "ca":
            context.load_verify_locations(value)
            context.verify_mode = ssl.CERT_REQUIRED
    httpd = Quiet(("127.0.0.1", 0), Answers)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield httpd.server_port
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def authority_of(root):
    return Issued(*((root / "authority" / name).read_bytes() for name in ("ca.crt", "ca.key")))


@pytest.fixture
def ready(root, tmp_path):
    """A site whose machine is in order; its server's host is changed by `of`."""
    (tmp_path / "venv/bin").mkdir(parents=True)
    for name in ("flower-supernode", "flwr", "python"):
        (tmp_path / "venv/bin" / name).touch(mode=0o755)
    (tmp_path / "images/a").mkdir(parents=True)
    (tmp_path / "images/a/1.jpg").write_bytes(b"x")
    env = f"VENV={tmp_path}/venv\nDATA=manifest\nDATA_ROOT='{tmp_path}/images' # here\nRUNTIME_PORT=9094\n"
    (root / "sites/north/site.env").write_text(env)
    (root / "server/server.env").write_text(f"VENV={tmp_path}/venv\nBIND=0.0.0.0\nPORT=8443\n")
    (root / "operator/operator.env").write_text(f"VENV={tmp_path}/venv\nPROJECT={tmp_path}\n")
    (tmp_path / "pyproject.toml").touch()
    return root


def of(root, party, **changes):
    """The folder of a party whose server is this one."""
    replace(read_party(root / party), **changes).write(root / party)
    return root / party


def faults(found):
    return {row.item: f"{row.fault}. {row.remedy}" for row in found if row.fault}


@pytest.fixture
def server(ready, tmp_path):
    with serving(tmp_path, new_server(authority_of(ready), "localhost")) as port:
        yield port


def test_a_machine_that_is_in_order(ready, server):
    found = preflight(of(ready, "sites/north", host="localhost", port=server), ENOUGH)
    assert faults(found) == {}
    items = ["folder", "installation", "disk", "memory", "images", "name", "port", "TLS", "clock"]
    assert [row.item for row in found] == items
    found = preflight(of(ready, "operator", host="localhost", port=server), ENOUGH)
    assert faults(found) == {}
    assert [row.item for row in found] == ["folder", "installation", "project", "name", "port", "TLS", "access"]
    assert faults(preflight(ready / "authority", ENOUGH)) == {}


@pytest.mark.slow
def test_a_server_is_checked_before_its_start_and_after(ready, server):
    folder = of(ready, "server", host="localhost", port=server)
    for name in ("server.crt", "server.key"):  # of this host
        (folder / name).write_bytes((ready.parent / name).read_bytes())
    env = (folder / "server.env").read_text()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        unused = free.getsockname()[1]
    for port, items in ((unused, ["name", "port"]), (server, ["name", "port", "TLS"])):
        (folder / "server.env").write_text(env.replace("PORT=8443", f"PORT={port}"))
        found = preflight(folder, ENOUGH)
        assert faults(found) == {}
        assert [row.item for row in found][-len(items) :] == items
    for change in ("BIND=192.0.2.77", "PORT=99999", "PORT=none"):
        name = change.partition("=")[0]
        lines = [change if line.startswith(name) else line for line in env.splitlines()]
        (folder / "server.env").write_text("\n".join(lines))
        found = faults(preflight(folder, ENOUGH))
        assert list(found) == [*(["folder"] if name == "BIND" else []), "port"]
        assert f"{change} " in found["port"]
        assert "cannot be opened" in found["port"]


def no_address(*_, **__):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_name_without_an_address_is_named_and_ends_the_way(ready, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    found = preflight(of(ready, "sites/north", host="fed.example.org"), ENOUGH)
    assert list(faults(found)) == ["name"]
    assert "fed.example.org has no address: Name or service not known. Put the server's name" in faults(found)["name"]
    assert found[-1].item == "name"


def test_a_closed_port_is_named(ready):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        found = faults(preflight(of(ready, "sites/north", host="127.0.0.1", port=port), ENOUGH))
    assert list(found) == ["port"]
    assert f"127.0.0.1 port {port} cannot be reached: Connection refused. Start the server" in found["port"]


def not_for_loopback(authority, name):
    """A server certificate as they were, for one name."""
    return certificates._signed(authority, "server", 1, ExtendedKeyUsageOID.SERVER_AUTH, [name])


@pytest.mark.parametrize(
    ("issue", "host", "reason"),
    [
        (lambda own: new_server(own, "localhost", days=0), "localhost", "certificate has expired by this machine's"),
        (
            lambda own: not_for_loopback(own, x509.DNSName("other.example.org")),
            "localhost",
            "is for other.example.org and not for localhost",
        ),
        (
            lambda own: not_for_loopback(own, x509.IPAddress(ipaddress.ip_address("192.0.2.7"))),
            "127.0.0.1",
            "is for 192.0.2.7 and not for 127.0.0.1",
        ),
        (
            lambda _: new_server(new_authority("parks"), "localhost"),
            "localhost",
            "is not by the authority of this federation",
        ),
    ],
)
def test_a_certificate_that_does_not_fit_is_named(ready, tmp_path, issue, host, reason):
    with serving(tmp_path, issue(authority_of(ready))) as port:
        found = faults(preflight(of(ready, "sites/north", host=host, port=port), ENOUGH))
    assert list(found) == ["TLS"]
    assert reason in found["TLS"]


def test_a_server_without_tls_is_named(ready):
    with Quiet(("127.0.0.1", 0), Answers) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        folder = of(ready, "sites/north", host="127.0.0.1", port=httpd.server_port)
        found = faults(preflight(folder, ENOUGH))
        httpd.shutdown()
        thread.join()
    assert list(found) == ["TLS"]
    assert "does not speak TLS" in found["TLS"]


@pytest.mark.parametrize(("ahead", "words"), [(10, "10 s ahead of"), (-60, "60 s behind"), (3, ""), (-3, "")])
def test_a_clock_more_than_five_seconds_off_is_named(ready, server, ahead, words):
    means = replace(ENOUGH, now=lambda: time.time() + ahead)
    found = faults(preflight(of(ready, "sites/north", host="localhost", port=server), means))
    assert list(found) == (["clock"] if words else [])
    if words:
        sign = words.split("s ", 1)[1]
        assert f" s {sign} the server's. Set the clocks of all machines by NTP" in found["clock"]
        seconds = int(found["clock"].split("clock is ")[1].split(" s")[0])
        assert seconds == pytest.approx(abs(ahead), abs=1.5)  # dates of HTTP are whole seconds


@pytest.mark.parametrize(
    ("item", "means", "change", "reason"),
    [
        ("disk", {"disk": lambda _: GIB}, None, "has 1.0 GiB left, and 2 are needed at least. Make room"),
        ("memory", {"memory": lambda: GIB}, None, "1.0 GiB of memory are free, and 2 are needed at least"),
        ("images", {}, "DATA_ROOT=images", "is no absolute path. Set DATA_ROOT"),
        ("images", {}, "DATA_ROOT=/nowhere/at/all", "cannot be read: No such file or directory: /nowhere/at/all. Set"),
        ("images", {}, "DATA_ROOT='{venv}/lib'", "holds no file. Set DATA_ROOT"),
        ("images", {}, "DATA=manifset", "there is no data=manifset; known: ccpd, manifest"),
        ("installation", {}, "VENV=/nowhere", "VENV=/nowhere in"),
        ("folder", {}, "policy", "policy.toml: unknown key leest"),
        ("folder", {}, "expired", "ca.crt holds no certificate"),
    ],
)
def test_what_the_machine_lacks_is_named(ready, server, item, means, change, reason):
    folder = of(ready, "sites/north", host="localhost", port=server)
    venv = read_env(folder / "site.env")["VENV"]
    (ready.parent / "venv/lib").mkdir()
    if change == "policy":
        (folder / "policy.toml").write_text("format = 1\nleest = 2\n")
    elif change == "expired":
        (folder / "ca.crt").write_text("nothing")
    elif change:
        text = (folder / "site.env").read_text()
        name = change.partition("=")[0]
        kept = [line for line in text.splitlines() if not line.startswith(f"{name}=")]
        (folder / "site.env").write_text("\n".join([*kept, change.replace("{venv}", venv)]) + "\n")
    found = faults(preflight(folder, replace(ENOUGH, **means)))
    assert item in found
    assert reason in found[item]
    assert set(found) - {item} <= ({"TLS"} if change == "expired" else set())


def test_images_that_may_not_be_read_are_named(ready, server, monkeypatch):
    """Root reads everything, and tests may run as root: the folder refuses by itself."""
    folder = of(ready, "sites/north", host="localhost", port=server)

    def refused(*_):
        raise PermissionError(13, "Permission denied", "/srv/vehicles")

    monkeypatch.setattr("os.scandir", refused)
    found = faults(preflight(folder, ENOUGH))
    assert "cannot be read: Permission denied: /srv/vehicles" in found["images"]


def test_an_operator_elsewhere_shows_its_certificate(ready, tmp_path):
    give_access(ready, 8444)
    with serving(tmp_path, new_server(authority_of(ready), "localhost"), ca=ready / "authority/ca.crt") as port:
        folder = of(ready, "operator", host="localhost", control_port=port)
        assert faults(preflight(folder, ENOUGH)) == {}
    (folder / "operator.crt").unlink()
    found = faults(preflight(folder, ENOUGH))
    assert "operator.crt is missing" in found["folder"]


def test_the_command_names_faults_and_ends_with_status_2(ready, server, capsys):
    folder = of(ready, "operator", host="localhost", port=server)
    lines, found = run(capsys, "preflight", folder)
    assert lines[0] == "folder: in order"
    assert (found["problems"], [row["item"] for row in found["items"]][-1]) == (0, "access")
    (ready.parent / "pyproject.toml").unlink()
    with pytest.raises(DeploymentError, match=r"1 item of .* is not in order"):
        federation.main(["preflight", str(folder)])
    *_, last = capsys.readouterr().out.splitlines()
    assert json.loads(last)["problems"] == 1
    with pytest.raises(DeploymentError, match="is no party's folder"):
        federation.main(["preflight", str(ready)])
