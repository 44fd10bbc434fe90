"""Folders of a federation: each party has what it may have; `verify` finds what is wrong with them."""

import shutil
import stat
from pathlib import Path

import pytest
from party_folders import run

from app.deployment.certificates import new_authority, new_server
from app.deployment.parties import DeploymentError, parties_of, read_party, write_file
from app.deployment.renewal import rotate_key
from app.deployment.setup import add_site, make_federation
from app.deployment.verify import problems
from scripts import federation
from strategies.ciphers.keys import FederationKey, read_key
from strategies.signing import fingerprint, new_signing_key, public_pem, read_public_key, read_signing_key

SECRET_FILES = {
    "authority": {"ca.key", "signing.key", "federation.key"},
    "server": {"server.key"},
    "operator": set(),
    "north": {"site.key", "share.key", "federation.key"},
    "south": {"site.key", "share.key", "federation.key"},
}


def test_each_party_has_its_secrets_and_no_other(made):
    found = {}
    for folder in parties_of(made):
        assert problems(folder) == []
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        party = read_party(folder)
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert {path.name for path in files if path.parent == folder} == set(party.files())
        secret = {path.name for path in files if b"PRIVATE KEY" in path.read_bytes() or b"secrets" in path.read_bytes()}
        assert all(stat.S_IMODE((folder / name).stat().st_mode) == 0o600 for name in secret)
        found[party.name] = secret
    assert found == SECRET_FILES
    for name in ("site.key", "share.key"):
        assert (made / "sites/north" / name).read_bytes() != (made / "sites/south" / name).read_bytes()
    site_keys = {path.read_bytes() for path in made.rglob("*.pub") if path.name != "authority.pub"}
    assert site_keys == {(made / f"sites/{site}/site.pub").read_bytes() for site in ("north", "south")}
    public = public_pem(read_signing_key(made / "authority/signing.key"))
    assert {path: path.read_bytes() for path in made.rglob("authority.pub")} == {
        folder / "authority.pub": public for folder in parties_of(made)
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "Parks"}, "federation 'Parks': lower-case"),
        ({"sites": ["north", "../x"]}, "site '../x': lower-case"),
        ({"sites": ["north", "server"]}, "site 'server' has the name of another party"),
        ({"sites": ["north", "south", "north"]}, "sites named twice: north"),
        ({"sites": ["north"]}, "two sites or more"),
        ({"host": "fed example"}, "host 'fed example' is no DNS name"),
        ({"host": ""}, "host '' is no DNS name"),
        ({"port": 0}, "port 0 is not between"),
        ({"install": Path("/opt/x y")}, "install folder '/opt/x y': an absolute path"),
        ({"install": Path("opt")}, "install folder 'opt': an absolute path"),
    ],
)
def test_a_plan_that_cannot_be_is_named(plan, changes, reason):
    with pytest.raises(DeploymentError, match=reason):
        plan(**changes)


def test_names_of_sites_that_look_alike_are_refused_at_once_and_later(plan, first_key, root, tmp_path):
    with pytest.raises(DeploymentError, match="site 'site-1' looks like 'site-l'; choose another name"):
        make_federation(plan(sites=["site-1", "site-l"]), tmp_path / "other", first_key)
    with pytest.raises(DeploymentError, match="site 's0uth' looks like 'south'"):
        add_site(root, "s0uth")


def test_a_folder_that_is_there_is_not_touched(plan, first_key, root):
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(DeploymentError, match="parks is there already"):
        make_federation(plan(), root, first_key)
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_failure_leaves_nothing(plan, first_key, tmp_path, monkeypatch):
    monkeypatch.setattr("app.deployment.setup._operator", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_federation(plan(), tmp_path / "parks", first_key)
    assert list(tmp_path.iterdir()) == []


def expired(root):
    authority = new_authority("parks")
    (root / "server/ca.crt").write_bytes(authority.certificate)
    server = new_server(authority, "fed.example.org", days=0)
    (root / "server/server.crt").write_bytes(server.certificate)
    (root / "server/server.key").write_bytes(server.private_key)


def short_lived(root):
    expired(root)
    authority = new_authority("parks")
    (root / "server/ca.crt").write_bytes(authority.certificate)
    server = new_server(authority, "other.example.org", days=20)
    (root / "server/server.crt").write_bytes(server.certificate)


def other_key(root):
    (root / "sites/north/site.key").write_bytes((root / "sites/south/site.key").read_bytes())
    (root / "sites/north/site.pub").write_bytes((root / "operator/sites/north.pub").read_bytes())


def rekeyed(root):
    path = root / "sites/south/federation.key"
    path.write_text(path.read_text().replace(read_key(path).key_id, "0" * 16))


@pytest.mark.parametrize(
    ("party", "change", "reasons"),
    [
        ("server", lambda root: (root / "server/server.key").chmod(0o640), ["server.key is secret and can be read"]),
        ("server", lambda root: (root / "server").chmod(0o750), ["server can be read by others: chmod 700"]),
        ("server", lambda root: (root / "server/start.sh").chmod(0o644), ["start.sh cannot be executed"]),
        (
            "server",
            lambda root: (root / "server/ca.crt").unlink(),
            ["ca.crt is missing", "ca.crt holds no certificate"],
        ),
        (
            "server",
            lambda root: shutil.copy(root / "authority/federation.key", root / "server/notes.txt"),
            ["notes.txt is a secret that the server must not have"],
        ),
        (
            "sites/north",
            lambda root: shutil.copy(root / "authority/ca.key", root / "sites/north/backup"),
            ["backup is a secret that the site must not have"],
        ),
        (
            "operator",
            lambda root: shutil.copy(root / "sites/north/site.key", root / "operator/sites/north.key"),
            ["north.key is a secret that the operator must not have"],
        ),
        ("server", expired, ["server.crt has expired"]),
        ("server", short_lived, ["expires in 19 days", "is not for fed.example.org", "is not the key of server.crt"]),
        (
            "server",
            lambda root: (root / "server/ca.crt").write_bytes(new_authority("parks").certificate),
            ["server.crt is not signed by ca.crt"],
        ),
        ("sites/north", other_key, ["site.pub is not the public half of site.key"]),
        (
            "authority",
            lambda root: (root / "authority/authority.pub").write_bytes(public_pem(new_signing_key())),
            ["authority.pub is not the public half of signing.key"],
        ),
        (
            "authority",
            lambda root: (root / "authority/signing.key").chmod(0o644),
            ["signing.key is secret and can be read by others", "signing.key can be read by others"],
        ),
        ("operator", lambda root: (root / "operator/authority.pub").unlink(), ["authority.pub is missing"]),
        (
            "sites/south",
            lambda root: (root / "sites/south/authority.pub").write_text("x"),
            ["authority.pub is damaged"],
        ),
        (
            "sites/north",
            lambda root: shutil.copy(root / "authority/signing.key", root / "sites/north/notes"),
            ["notes is a secret that the site must not have"],
        ),
        (
            "sites/north",
            lambda root: (root / "sites/north/policy.toml").write_text("format = 1\nleast = 2\n"),
            ["unknown key least"],
        ),
        ("sites/south", lambda root: (root / "sites/south/policy.toml").unlink(), ["policy.toml is missing"]),
        ("sites/south", rekeyed, ["federation.key is damaged"]),
    ],
)
def test_what_is_wrong_is_found_and_named(root, party, change, reasons):
    change(root)
    found = problems(root / party)
    assert len(found) == len(reasons), found
    for sentence, reason in zip(found, reasons, strict=True):
        assert reason in sentence
        assert str(root / party) in sentence


def test_the_commands_make_check_and_change_a_federation(tmp_path, capsys):
    root = tmp_path / "parks"
    words = [
        "--name",
        "parks",
        "--host",
        "fed.example.org",
        "--sites",
        "north,south",
        "--install",
        "/opt/x",
        "--out",
        root,
    ]
    lines, made = run(capsys, "init", *words)
    assert len(made["parties"]) == 5
    printed = "\n".join(lines)
    first = read_key(root / "authority/federation.key")
    assert made["key_id"] == first.key_id
    assert not any(secret.hex() in printed for secret in first.secrets.values())
    lines, checked = run(capsys, "verify", root)
    assert (checked["problems"], len(checked["folders"])) == (0, 5)
    assert lines == [f"{folder}: in order" for folder in checked["folders"]]

    both = run(capsys, "verify", root / "server", root / "sites/north")[1]
    assert both == {"problems": 0, "folders": {str(root / "server"): [], str(root / "sites/north"): []}}

    lines, _ = run(capsys, "add-site", root, "east")
    said = fingerprint(read_public_key(root / "authority/authority.pub"))
    safely = f"over a safe channel; there, apply it with --first {said}"
    assert lines[0] == f"{root}/first/east.tar: to the machine of east, {safely}"
    assert lines[-1] == "then, at the operator: register.sh east"
    assert problems(root / "sites/east") == []
    assert "VENV=/opt/x/.venv" in (root / "sites/east/site.env").read_text()  # the install folder given to `init`
    assert read_key(root / "sites/east/federation.key") == first
    assert (root / "operator/sites/east.pub").read_bytes() == (root / "sites/east/site.pub").read_bytes()
    assert "{1:-east north south}" in (root / "operator/register.sh").read_text()
    assert "federation.num_clients=3 " in (root / "operator/run.sh").read_text()
    with pytest.raises(DeploymentError, match="'east' is there already"):
        federation.main(["add-site", str(root), "east"])

    lines, left = run(capsys, "remove-site", root, "south")
    unregister = "then, at the operator: flwr.sh supernode unregister NUMBER; nodes.txt has the number of south"
    assert lines[-2] == unregister
    archives = [str(root / "updates/operator.tar")]
    assert left == {"removed": "south", "sites": ["east", "north"], "archives": archives}
    assert "{1:-east north}" in (root / "operator/register.sh").read_text()
    assert "federation.num_clients=2 " in (root / "operator/run.sh").read_text()
    for site, reason in (("west", "no site 'west'; there are east, north"), ("east", "two sites are left")):
        with pytest.raises(DeploymentError, match=reason):
            federation.main(["remove-site", str(root), site])

    shutil.rmtree(root / "sites/east")  # handed over
    lines, rotated = run(capsys, "rotate", root)
    parties = ("east", "north", "operator", "server")  # one file a party
    assert rotated["archives"] == [str(root / f"updates/{party}.tar") for party in parties]
    second = read_key(root / "sites/north/federation.key")
    assert rotated["key_id"] == second.key_id != first.key_id
    assert read_key(root / "authority/federation.key") == second
    assert read_key(root / f"authority/federation-{first.key_id}.key") == first
    assert f'privacy.key_id="{second.key_id}"' in (root / "operator/run.sh").read_text()

    old = (root / "server/server.crt").read_bytes()
    run(capsys, "renew", root)
    assert (root / "server/server.crt").read_bytes() != old
    assert run(capsys, "verify", root)[1]["problems"] == 0
    shutil.rmtree(root / "server")  # handed over
    run(capsys, "renew", root)
    assert sorted(path.name for path in (root / "server").iterdir()) == ["server.crt", "server.key"]
    (root / "sites/north/site.key").chmod(0o644)
    with pytest.raises(DeploymentError, match="1 problem in"):
        federation.main(["verify", str(root)])
    with pytest.raises(DeploymentError, match="is no folder of a federation"):
        federation.main(["verify", str(tmp_path)])


def test_a_party_file_that_is_damaged_is_named(root):
    (root / "server/party.json").write_text("{}")
    with pytest.raises(DeploymentError, match=r"server/party\.json is damaged"):
        read_party(root / "server")


def test_a_rotation_that_was_cut_short_can_be_repeated(root, monkeypatch):
    first = read_key(root / "authority/federation.key")
    second = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")
    with monkeypatch.context() as patch:
        patch.setattr("app.deployment.renewal.write_key", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rotate_key(root, second)
    assert read_key(root / "authority/federation.key") == first
    rotate_key(root, second)
    assert [read_key(path) for path in root.rglob("federation.key")] == [second] * 3
    assert all(problems(folder) == [] for folder in parties_of(root))


def test_a_running_server_is_in_order(root):
    """Flower unpacks the code there, which names what a secret looks like."""
    apps = root / "server/state/flower/apps"
    for package in ("app/deployment", "strategies/ciphers", "scripts"):
        shutil.copytree(Path(federation.__file__).parent.parent / package, apps / package)
    assert problems(root / "server") == []
    shutil.copy(root / "authority/federation.key", apps / "kept.json")
    assert problems(root / "server") == [f"{apps / 'kept.json'} is a secret that the server must not have"]


def test_a_secret_that_a_killed_process_left_half_written_goes_with_the_next_one(tmp_path):
    left = tmp_path / ".server.key.999999.tmp"
    left.write_bytes(b"half")
    write_file(tmp_path / "server.key", b"whole", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["server.key"]
    assert stat.S_IMODE((tmp_path / "server.key").stat().st_mode) == 0o600
