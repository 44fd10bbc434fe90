"""A server that listens at one address: its certificate has it, or each command that looks says that no run begins."""

import json
import socket
import subprocess

import pytest
from app_bundles import small_project
from cryptography import x509
from party_folders import run

from app.deployment import superlink
from app.deployment.applying import apply
from app.deployment.parties import DeploymentError
from app.deployment.preflight import preflight
from app.deployment.renewal import give_access, renew_server
from app.deployment.setup import add_site, make_federation
from app.deployment.verify import problems
from scripts import federation
from scripts.bench.loopback import Loopback

BEGUN = """
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client = ClientApp()
server = ServerApp()


@server.main()
def main(grid, context):
    print("this run has begun", flush=True)
"""


def addresses(server):
    names = x509.load_pem_x509_certificate((server / "server.crt").read_bytes()).extensions
    names = names.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(each.value) for each in names}


def bound(folder, bind):
    path = folder / "server.env"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("BIND=")]
    path.write_text("\n".join([*lines, f"BIND={bind}", ""]))


@pytest.mark.parametrize("bind", ["10.0.0.5", "127.0.0.2", "fd00::5", "fd00:0:0::5", "Gate.example.org", "ü", "''"])
def test_an_address_that_the_certificate_lacks_is_named_with_the_remedy(root, bind):
    bound(root / "server", bind)
    said = bind.strip("'")
    [found] = problems(root / "server")
    assert found == (
        f"{root}/server/server.crt is not for {said}, so that no run begins with BIND={said}: python -m "
        f"scripts.federation renew FOLDER --server --bind {said}, at the authority; "
        "or set BIND in server.env to 0.0.0.0"
    )
    assert str(preflight(root / "server")[0]).startswith(f"folder: {found}")


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "::1", "0:0:0:0:0:0:0:1", "localhost", "FED.example.org"])
def test_an_address_that_each_certificate_has_is_in_order(root, bind):
    bound(root / "server", bind)
    assert problems(root / "server") == []


@pytest.mark.parametrize("bind", ["10.0.0.5", "fd00:0:0::5", "gate.example.org"])
def test_init_and_renew_put_the_address_into_the_certificate(plan, first_key, tmp_path, capsys, bind):
    """A plain `renew` keeps it, as do other changes; the server's own folder is in order before and after."""
    root = tmp_path / "one"
    make_federation(plan(bind=bind), root, first_key)
    written = bind.replace("0:0::", ":")
    assert addresses(root / "server") == {"fed.example.org", "localhost", "127.0.0.1", "::1", written}
    assert f"\nBIND={bind}\n" in (root / "server/server.env").read_text()
    add_site(root, "east")
    renew_server(root)
    assert written in addresses(root / "server")
    assert problems(root / "server") == problems(root / "authority") == []
    for party in ("server", "operator", "sites/north"):
        assert "bind" not in json.loads((root / party / "party.json").read_text())

    renewed = tmp_path / "other"
    make_federation(plan(), renewed, first_key)
    bound(renewed / "server", bind)
    assert len(problems(renewed / "server")) == 1
    run(capsys, "renew", renewed, "--server", "--bind", bind)
    assert problems(renewed / "server") == []
    renew_server(renewed)
    assert problems(renewed / "server") == []


@pytest.mark.parametrize(
    ("before", "after", "others"),
    [("10.0.0.5", "10.0.0.6", " or 10.0.0.6"), ("10.0.0.5", "0.0.0.0", ""), ("gate.example.org", "::", ""),
     ("fd00::5", "gate.example.org", " or gate.example.org")],
)  # fmt: skip
def test_the_address_is_changed_by_renew_then_apply_then_the_setting(
    plan, first_key, tmp_path, capsys, before, after, others
):
    """In the documented order: in between the setting is for the certificate before, which `apply` and `verify` say."""
    root = tmp_path / "parks"
    make_federation(plan(bind=before), root, first_key)
    server = (root / "server").rename(tmp_path / "server")
    renew_server(root, after)
    lines, said = run(capsys, "apply", root / "updates/server.tar", "--folder", server)
    assert "server.crt" in said["applied"][0]["changed"]
    assert before not in addresses(server)
    [found] = problems(server)
    assert found in lines
    assert found.endswith(f"--server --bind {before}, at the authority; or set BIND in server.env to 0.0.0.0{others}")
    assert superlink.bind_fault(["--port", "1", "--host", before, "--ssl-certfile", str(server / "server.crt")])
    bound(server, after)
    assert problems(server) == []
    lines, said = run(capsys, "apply", root / "updates/server.tar", "--folder", server)
    assert said["applied"][0]["changed"] == []
    assert not any("BIND" in line for line in lines)


def test_an_archive_that_takes_the_address_away_says_so(plan, first_key, tmp_path, capsys):
    """As of an authority that was restored to a time before `--bind`."""
    root = tmp_path / "parks"
    make_federation(plan(bind="10.0.0.5"), root, first_key)
    server = (root / "server").rename(tmp_path / "server")
    party = root / "authority/party.json"
    party.write_text(json.dumps({**json.loads(party.read_text()), "bind": ""}))
    renew_server(root)
    lines, _ = run(capsys, "apply", root / "updates/server.tar", "--folder", server)
    assert problems(server)[0] in lines
    renew_server(root, "10.0.0.5")
    lines, said = run(capsys, "apply", root / "updates/server.tar", "--folder", server)
    assert "server.crt" in said["applied"][0]["changed"]
    assert problems(server) == []
    assert not any("BIND" in line for line in lines)


def test_a_certificate_for_another_host_changes_nothing(plan, first_key, tmp_path):
    root = tmp_path / "parks"
    make_federation(plan(), root, first_key)
    server = (root / "server").rename(tmp_path / "server")
    party = root / "authority/party.json"
    party.write_text(json.dumps({**json.loads(party.read_text()), "host": "other.example.org"}))
    renew_server(root)
    before = (server / "server.crt").read_bytes()
    with pytest.raises(DeploymentError, match=r"nothing was changed: .*server\.crt is not for fed\.example\.org"):
        apply(root / "updates/server.tar", server)
    assert (server / "server.crt").read_bytes() == before


@pytest.mark.parametrize(("bind", "address"), [("10.0.0.5", "10.0.0.5:8443"), ("fd00::5", "[fd00::5]:8443")])
def test_nginx_finds_the_server_at_its_address(plan, first_key, tmp_path, bind, address):
    root = tmp_path / "parks"
    make_federation(plan(bind=bind, operator_port=8444), root, first_key)
    control = root / "server/control.conf"
    assert f"proxy_pass https://{address};" in control.read_text()
    renew_server(root, "0.0.0.0")
    assert "proxy_pass https://127.0.0.1:8443;" in control.read_text()
    assert bind not in addresses(root / "server")
    renew_server(root, bind)
    give_access(root)
    assert f"proxy_pass https://{address};" in control.read_text()


@pytest.mark.parametrize("bind", ["10.0.0.5/8", "fe80::1%eth0", "a b", "$(id)", "-x", "x:y"])
def test_what_is_no_address_is_refused_before_anything_is_made(plan, root, bind):
    with pytest.raises(DeploymentError, match="is no IP address and no DNS name of the server's machine"):
        plan(bind=bind)
    before = (root / "server/server.crt").read_bytes()
    with pytest.raises(DeploymentError, match="is no IP address and no DNS name"):
        renew_server(root, bind)
    with pytest.raises(DeploymentError, match="--bind is for the server's certificate"):
        federation.main(["renew", str(root), "--sites", "--bind", bind])
    assert (root / "server/server.crt").read_bytes() == before


def test_a_server_that_could_begin_no_run_does_not_start(root):
    """The words of start.sh; Flower says itself what else is wrong with its arguments."""
    crt = root / "server/server.crt"

    def fault(*words):
        return superlink.bind_fault(["--port", "1", *words, "--ssl-keyfile", "x"])

    assert "so that no run begins with BIND=10.0.0.5" in fault("--host", "10.0.0.5", "--ssl-certfile", str(crt))
    assert fault("--host", "0.0.0.0", "--ssl-certfile", str(crt)) == fault("--host", "10.0.0.5") == ""
    crt.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    assert f"{crt}" in fault("--host", "0.0.0.0", "--ssl-certfile", str(crt))


@pytest.mark.slow
def test_a_run_begins_at_a_server_that_listens_at_one_address(tmp_path):
    """A real SuperLink at 127.0.0.2: without `--bind` it ends with one line, with it a run begins."""
    sites = {name: tmp_path / name for name in ("north", "south")}
    for folder in (*sites.values(), tmp_path / "real"):
        folder.mkdir()
    app = small_project(tmp_path / "app", BEGUN)
    with Loopback(tmp_path / "real", sites) as parks:
        parks.set("server", BIND="127.0.0.2")
        assert parks.start("server").wait(timeout=120) == 2
        parks.wait_for(lambda: parks.log("server"), "the log")
        [line] = parks.log("server").splitlines()
        assert "is not for 127.0.0.2, so that no run begins with BIND=127.0.0.2" in line

        federation.main(["renew", str(parks.root), "--server", "--bind", "127.0.0.2"])
        process = parks.start("server")

        def listens():
            assert process.poll() is None, parks.log("server")
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.2", parks.port)) == 0

        parks.wait_for(listens, "the server to listen at 127.0.0.2", 120)
        subprocess.run([str(parks.root / "operator/flwr.sh"), "--version"], check=True, stdout=subprocess.DEVNULL)
        config = parks.root / "operator/flower/config.toml"
        config.write_text(config.read_text().replace("127.0.0.1:", "127.0.0.2:"))
        parks.start_app(app, "begun")
        parks.wait_for(lambda: "this run has begun" in parks.log("begun"), "the run to begin", 120)
