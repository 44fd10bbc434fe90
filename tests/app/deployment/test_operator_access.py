"""Certificate of an operator on another machine: made, replaced, checked by `verify`, and shown by Flower's command."""

import shutil
import ssl
import stat
import subprocess
import sys
import tomllib

import pytest
from flwr.supercore.protobuf import client as flower
from party_folders import run
from start_scripts import executable, stand_ins

from app.deployment import control_client
from app.deployment.certificates import Issued, new_authority, new_operator, read_certificate
from app.deployment.operator_access import serial_of
from app.deployment.parties import DeploymentError, parties_of, read_party
from app.deployment.renewal import give_access, rotate_key
from app.deployment.setup import add_site, make_federation
from app.deployment.verify import problems
from strategies.ciphers.keys import FederationKey


def all_problems(root):
    return [sentence for folder in parties_of(root) for sentence in problems(folder)]


def test_an_operator_elsewhere_gets_a_certificate_and_the_server_settings_that_take_it(
    plan, first_key, tmp_path, capsys
):
    root = tmp_path / "parks"
    make_federation(plan(operator_port=8444), root, first_key)
    assert all_problems(root) == []
    operator, server = root / "operator", root / "server"
    assert stat.S_IMODE((operator / "operator.key").stat().st_mode) == 0o600
    assert {path.parent.name for path in root.rglob("operator.*") if path.suffix != ".env"} == {"operator", "first"}
    settings = (server / "control.conf").read_text()
    first = serial_of(operator / "operator.crt")
    number = read_certificate(operator / "operator.crt").serial_number
    assert int(first, 16) == number
    assert len(first) % 2 == 0
    for line in (
        f'"{first}" operator;',
        "listen 8444 ssl;",
        "ssl_verify_client on;",
        "ssl_client_certificate /opt/x/parks-server/ca.crt;",
        "proxy_pass https://127.0.0.1:8443;",
        "proxy_ssl_name fed.example.org;",
        "location @refused {",
    ):
        assert line in settings
    assert "@" not in settings.replace("@refused", "")
    assert 'address = "fed.example.org:8444"' in (operator / "connect.sh").read_text()
    assert "fed.example.org:8443" in (root / "sites/north/start.sh").read_text()
    add_site(root, "east")
    rotate_key(root, FederationKey({"seal": b"\x08" * 40}, "2026-01-02"))
    assert all_problems(root) == []
    assert serial_of(operator / "operator.crt") == first
    shutil.rmtree(server)  # handed over
    lines, made = run(capsys, "operator-access", root, "--port", 8555)
    assert serial_of(operator / "operator.crt") != first
    assert first not in (server / "control.conf").read_text()
    assert "listen 8555 ssl;" in (server / "control.conf").read_text()
    assert 'address = "fed.example.org:8555"' in (operator / "connect.sh").read_text()
    assert lines[0].startswith(f"{root}/updates/operator.tar: to operator, over a safe channel; there: ")
    assert any(line.startswith(f"{root}/updates/server.tar: to server, over a") for line in lines)
    assert str(server / "control.conf") in made["files"]
    assert read_party(server).control_port == read_party(root / "authority").control_port == 8555


def test_a_federation_without_a_remote_operator_is_as_before(root):
    assert not list(root.rglob("control.conf"))
    assert all("control_port" not in path.read_text() for path in root.rglob("party.json"))
    with pytest.raises(DeploymentError, match="give --port"):
        give_access(root)
    with pytest.raises(DeploymentError, match="port 8443 is the sites' port"):
        give_access(root, 8443)
    with pytest.raises(DeploymentError, match="port 70000 is not between"):
        give_access(root, 70000)
    assert not list(root.rglob("operator.crt"))
    give_access(root, 8444)
    assert all_problems(root) == []
    (root / "authority/ca.key").unlink()
    with pytest.raises(DeploymentError, match="authority is needed to sign a certificate"):
        give_access(root)


def test_an_address_of_ipv6_is_listened_on(plan, first_key, tmp_path):
    make_federation(plan(host="2001:db8::7", operator_port=8444), tmp_path / "parks", first_key)
    assert "listen [::]:8444 ssl;" in (tmp_path / "parks/server/control.conf").read_text()
    assert 'address = "[2001:db8::7]:8444"' in (tmp_path / "parks/operator/connect.sh").read_text()


def issued_by(folder, authority, days=300):
    made = new_operator(authority, "parks operator", days)
    (folder / "operator.crt").write_bytes(made.certificate)
    (folder / "operator.key").write_bytes(made.private_key)


def own(root):
    return Issued(*((root / "authority" / name).read_bytes() for name in ("ca.crt", "ca.key")))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda root: issued_by(root / "operator", own(root), days=0), "operator.crt has expired: python -m"),
        (lambda root: issued_by(root / "operator", own(root), days=9), "operator.crt expires in 8 days: python -m"),
        (lambda root: issued_by(root / "operator", new_authority("parks")), "operator.crt is not signed by ca.crt"),
        (
            lambda root: shutil.copy(root / "authority/ca.key", root / "operator/operator.key"),
            "operator.key is not the key of operator.crt",
        ),
        (lambda root: (root / "operator/operator.key").unlink(), "operator-access FOLDER makes it, at the authority"),
        (lambda root: (root / "server/control.conf").unlink(), "control.conf is missing: python -m scripts.federation"),
        (lambda root: (root / "operator/flwr.sh").unlink(), "flwr.sh is missing: python -m scripts.federation refresh"),
        (
            lambda root: (root / "server/start.sh").write_text("exec flower-superlink"),
            "lets whoever has ca.crt and reaches its port start runs: write its start.sh anew",
        ),
    ],
)
def test_what_is_wrong_with_access_is_named(root, change, reason):
    give_access(root, 8444)
    change(root)
    [found] = all_problems(root)
    assert reason in found


@pytest.mark.slow
def test_the_operators_scripts_show_the_certificate_where_there_is_one(root, tmp_path):
    programs = stand_ins(tmp_path, root)
    executable(programs / "flwr", f'echo "plain $*" >> {tmp_path}/seen')
    subprocess.run([str(root / "operator/flwr.sh"), "list"], check=True, cwd="/")
    give_access(root, 8444)
    executable(
        programs / "python",
        f'case "$*" in *control_client*) echo "$*" >> {tmp_path}/seen;; *) exec {sys.executable} "$@";; esac',
    )
    subprocess.run([str(root / "operator/flwr.sh"), "stop", "a b"], check=True, cwd="/")
    subprocess.run([str(root / "operator/register.sh"), "north"], check=True)
    subprocess.run([str(root / "operator/run.sh")], check=False)  # this stand-in's run has no end
    plain, stop, register, start = (tmp_path / "seen").read_text().splitlines()
    shown = f"-P -m app.deployment.control_client {root}/operator"
    assert (plain, stop) == ("plain list", f"{shown} stop a b")
    assert register == f"{shown} supernode register sites/north.pub parks --name north"
    assert start.startswith(f"{shown} run {tmp_path}/project parks --stream -c")
    config = tomllib.loads((root / "operator/flower/config.toml").read_text())["superlink"]["parks"]
    assert config["address"] == "fed.example.org:8444"


def test_flowers_connections_show_the_certificate(root, monkeypatch, capsys):
    give_access(root, 8444)
    loaded = []
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", lambda _, *files: loaded.append(files))
    monkeypatch.setattr(flower.ProtobufClient, "__init__", flower.ProtobufClient.__init__)
    files = (root / "operator/operator.crt", root / "operator/operator.key")
    control_client.show_certificate(*files)
    authority = (root / "operator/ca.crt").read_bytes()
    flower.ProtobufClient.from_server_address("fed.example.org:8444", False, authority, [])
    assert loaded == [files, files]  # once to find a damaged file, once for the connection
    monkeypatch.delattr(flower, "ProtobufClient")
    with pytest.raises(RuntimeError, match="this version of Flower is unknown"):
        control_client.show_certificate(*files)
    monkeypatch.undo()
    files[1].unlink()
    assert control_client.main(str(root / "operator"), "list") == 2
    assert "operator.crt and operator.key cannot be used" in capsys.readouterr().err
