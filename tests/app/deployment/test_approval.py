"""Sites run approved app bundles alone: the signed list, and the client process that checks what it unpacks."""

import hashlib
import io
import json
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from app_bundles import small_project
from client_processes import case, run_clients

from app.deployment import approval, bundle
from app.deployment.parties import DeploymentError, read_party
from app.deployment.verify import problems
from scripts import federation
from strategies.signing import SigningError, new_signing_key, read_signing_key, signed_text

pytestmark = pytest.mark.slow

CODE = """
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

client, server = ClientApp(), None
Path({marker!r}).write_text(__file__)

@client.query()
def query(message, context):
    return Message(RecordDict({{"told": ConfigRecord({{"file": __file__}})}}), reply_to=message)
"""


def built(folder: Path, marker: Path, **names):
    """Bundle of a small app that leaves a file where it is imported."""
    content = bundle.build(small_project(folder, CODE.format(marker=str(marker)), **names))
    path = folder.with_suffix(".fab")
    path.write_bytes(content)
    return path


def with_one_byte_changed(path):
    """The same files, and a harmless byte of the archive's end another one: an unzip program sees no difference."""
    content = bytearray(path.read_bytes())
    content[4] ^= 1  # version needed to extract, in the first file's local header, which readers ignore
    changed = path.with_name("changed.fab")
    changed.write_bytes(content)
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    return changed


def planted(site, app_digest, marker):
    """A folder as Flower 1.41 would have left it of an earlier, unchecked bundle: its name has eight digits alone."""
    folder = site / "state" / "flower" / "apps" / f"tests.small.1.0.0.{app_digest[:8]}"
    small_project(folder, CODE.format(marker=str(marker)))
    return folder


def test_only_approved_bytes_are_unpacked_and_imported(root, tmp_path):
    site, marks = root / "sites/north", {name: tmp_path / name for name in ("good", "own", "bad", "old", "else")}
    (site / "state").mkdir()
    good = built(tmp_path / "a", marks["good"])
    own = built(tmp_path / "b", marks["own"], package="app")  # named like the site's own packages
    bad = built(tmp_path / "c", marks["bad"])
    for path in (good, own):
        federation.main(["approve", str(root), "--bundle", str(path)])
    digest = hashlib.sha256(good.read_bytes()).hexdigest()
    (root / "sites/south/state").mkdir()
    (root / "sites/south/state/apps").write_text("a file where the folder should be")
    old = planted(site, digest, marks["old"])
    elsewhere = small_project(tmp_path / "evil", CODE.format(marker=str(marks["else"])))
    climbing = f"1/../../../../../../../{elsewhere}/."
    done = run_clients(
        [
            case(site, good),
            case(site, own),
            case(site, bad),
            case(site, with_one_byte_changed(good)),
            case(site, bad, claimed=digest),
            case(site, good, fab_version=climbing),
            case(site, good, claimed="../../evil"),
            case(site, good, command="flwr-agentapp"),
            case(site, good, command="/x/state/bin/flwr-serverapp"),
            case(site, good, more=["--allow-runtime-dependency-installation"]),
            case(root / "sites/south", good),
        ]
    )
    fine, same_name, *refused = done
    file = Path(fine["reply"]["file"])
    assert file.parts[: len(site.parts) + 2] == (*site.parts, "state", "apps")  # a fresh folder, not the planted one
    assert not file.exists(), "what was unpacked goes with its process"
    assert list((site / "state" / "apps").iterdir()) == []
    assert same_name["reply"]["file"] == marks["own"].read_text()  # its own `app.main`
    foreign, byte, claim, climb, wrong, agent, server, packages, full = refused
    for row, path in ((foreign, bad), (claim, bad), (byte, tmp_path / "changed.fab")):
        sent = hashlib.sha256(path.read_bytes()).hexdigest()
        assert f"the app bundle {sent[:16]} is not approved at this site" in row["error"]
        assert str(root) not in row["error"]  # the server learns no path
        assert f"refused the app bundle {sent}: {site / 'allowed-apps'}" in row["log"]
        assert digest in row["log"]
        assert "federation approve" in row["log"]
        assert row["status"] != 0
    assert "FAB version mismatch" in climb["error"] or "LoadClientAppError" in climb["log"]
    assert wrong["reply"]["file"] == marks["good"].read_text()
    assert wrong["reply"]["file"].startswith(str(site / "state" / "apps"))
    for row in (agent, server):
        assert "client apps alone" in row["error"]
    assert "installs no packages" in packages["error"]
    assert "cannot be unpacked at this site" in full["error"]
    assert str(root) not in full["error"]
    assert not any(marks[name].exists() for name in ("bad", "old", "else"))
    assert old.exists()


def test_a_list_that_is_missing_forged_or_old_lets_nothing_run(root, tmp_path):
    site, marker = root / "sites/north", tmp_path / "marker"
    path = built(tmp_path / "a", marker)
    (site / "state").mkdir()
    listed = site / "allowed-apps"
    federation.main(["approve", str(root), "--bundle", str(path)])
    first = listed.read_bytes()
    allowed = approval.read_allowed(site)
    approval.use(allowed, site)
    digest = allowed.apps[0].sha256
    federation.main(["revoke", str(root), digest[:12]])
    revoked = listed.read_bytes()
    approval.use(approval.read_allowed(site), site)
    other = new_signing_key()
    body = json.loads(first)["body"]
    authority = read_signing_key(root / "authority/signing.key")
    later = {**body, "serial": body["serial"] + 999}
    texts = {
        "does not list it. It lists: none": revoked,
        "is older than a list that this site has used": first,
        "is not signed by this federation's authority": signed_text(later, approval.PURPOSE, other).encode(),
        "was changed afterwards": first.replace(str(body["serial"]).encode(), str(body["serial"] + 999).encode()),
        "has the serial of another list": signed_text(
            {**body, "serial": json.loads(revoked)["body"]["serial"]}, approval.PURPOSE, authority
        ).encode(),
        "was signed as 'site-name/1'": signed_text(later, "site-name/1", authority).encode(),
        "is of the federation 'other'": signed_text(
            {**later, "federation": "other"}, approval.PURPOSE, authority
        ).encode(),
        "lists something else than SHA-256": signed_text(
            {**later, "apps": [{**body["apps"][0], "sha256": "*"}]}, approval.PURPOSE, authority
        ).encode(),
        "is signed and no list": signed_text({**later, "apps": 1}, approval.PURPOSE, authority).encode(),
        "is no signed document": b"{",
        "cannot read": None,
    }
    for reason, text in texts.items():
        listed.unlink(missing_ok=True)
        if text is not None:
            listed.write_bytes(text)
        with pytest.raises(approval.NotAllowedError) as refused:
            approval.check_bundle(path.read_bytes(), site)
        assert str(root) not in str(refused.value), reason
        found = problems(site)
        assert found == [] if text == revoked else len(found) == 1, reason
        if text not in (None, revoked):
            assert reason in found[0]
    assert not marker.exists()
    listed.write_bytes(revoked)
    federation.main(["approve", str(root), "--bundle", str(path)])
    assert approval.check_bundle(path.read_bytes(), site).sha256 == digest
    (site / "authority.pub").unlink()
    with pytest.raises(approval.NotAllowedError):
        approval.check_bundle(path.read_bytes(), site)


def test_the_log_of_the_site_names_the_file(root, tmp_path, capsys):
    path = built(tmp_path / "a", tmp_path / "marker")
    shutil.rmtree(root / "sites/north/state", ignore_errors=True)
    (root / "sites/north/allowed-apps").unlink()
    with pytest.raises(approval.NotAllowedError, match="list of approved bundles cannot be used"):
        approval.check_bundle(path.read_bytes(), root / "sites/north")
    told = capsys.readouterr().err
    assert f"cannot read {root / 'sites/north/allowed-apps'}: No such file" in told
    assert "federation approve" in told
    assert "sites/north/allowed-apps is missing" in problems(root / "sites/north")[0]


def test_the_bundle_is_that_of_flwr_run_and_the_tree_alone_decides(tmp_path):
    """Flower's own function over another copy, with other times, modes and left-overs of work."""
    from flwr.cli.build import build_fab_from_disk

    checkout = Path(federation.__file__).parent.parent
    first = tmp_path / "first"
    for name in ("app", "conf", "models", "scripts", "strategies"):
        shutil.copytree(checkout / name, first / name)
    for name in ("pyproject.toml", "README.md", ".gitignore"):
        shutil.copy(checkout / name, first / name)
    second = tmp_path / "it's (2) é"
    shutil.copytree(first, second, copy_function=shutil.copyfile)
    (second / ".venv" / "app").mkdir(parents=True)
    (second / ".venv" / "app" / "x.py").write_text("x = 1\n")
    (second / ".git").mkdir()
    (second / ".git" / "x.py").write_text("x = 1\n")
    content = bundle.build(second)
    with pytest.warns(DeprecationWarning, match="gitwildmatch"):
        assert content == build_fab_from_disk(first) == build_fab_from_disk(second)
    assert bundle.describe(content, "x").name == "fed-vehicle-reid/fed-vehicle-reid"
    path = second / "app" / "client_app.py"
    path.write_bytes(path.read_bytes() + b"\n")
    assert bundle.build(second) != content


def test_commands_make_list_and_revoke(root, tmp_path, capsys):
    """A federation that is older than signing keys gets one; its other folders may be elsewhere."""
    for path in [*root.rglob("authority.pub"), *root.rglob("allowed-apps"), root / "authority/signing.key"]:
        path.unlink()
    shutil.move(root / "sites/south", tmp_path / "south")
    assert len(problems(root / "authority")) == 3
    with pytest.raises(DeploymentError, match=r"authority\.pub is missing: .* approve"):
        federation.main(["add-site", str(root), "east"])
    assert not (root / "sites/east").exists()
    project = small_project(tmp_path / "project")
    federation.main(["approve", str(root / "authority"), "--project", str(project)])
    *lines, last = capsys.readouterr().out.splitlines()
    made = json.loads(last)
    digest = hashlib.sha256(bundle.build(project)).hexdigest()
    assert made["sha256"] == digest
    held = [root / name / "allowed-apps" for name in ("authority", "operator", "sites/north")]
    assert made["files"] == [str(path) for path in held]
    assert any(line.startswith("a new signing key: authority.pub to every party first") for line in lines)
    assert all(problems(path.parent) == [] for path in held)
    federation.main(["approve", str(root), "--project", str(project)])  # again: nothing new
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["serial"] == made["serial"]
    federation.main(["approved", str(root / "sites/north")])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["apps"][0]["sha256"] == digest
    federation.main(["add-site", str(root), "east"])
    assert problems(root / "sites/east") == []
    with pytest.raises(DeploymentError, match=f"0 approved bundles begin with 'ff+'; approved: {digest}"):
        federation.main(["revoke", str(root), "f" * 64])
    federation.main(["revoke", str(root), digest[:8].upper()])
    assert approval.read_allowed(root / "sites/east").apps == ()
    assert approval.read_allowed(root / "operator").serial > made["serial"]
    with pytest.raises(DeploymentError, match="the authority alone approves"):
        federation.main(["approve", str(root / "sites/north"), "--project", str(project)])
    with pytest.raises(DeploymentError, match="has no pyproject"):
        federation.main(["approve", str(root), "--project", str(tmp_path)])
    (root / "authority/signing.key").unlink()
    with pytest.raises(SigningError, match=r"signing\.key is gone: restore it"):
        federation.main(["approve", str(root), "--project", str(project)])


def test_a_list_keeps_its_order_of_time_when_the_one_before_was_lost(root, monkeypatch):
    """Serials are seconds since 1970, or one more than the last."""
    monkeypatch.setattr("time.time", lambda: 5e9)
    before = approval.current_list(root / "authority")
    app = approval.App("0" * 64, "x", "1", "now")
    second = approval.with_app(before, app)
    assert second.serial == 5_000_000_000
    monkeypatch.setattr("time.time", lambda: 1e9)  # a clock that was set back
    assert approval.without_app(second, "0").serial == 5_000_000_001
    assert read_party(root / "authority").federation == second.federation


def test_a_start_command_of_an_older_version_does_not_run_unchecked(root):
    """It has no commands that check: the SuperNode that it started is ended, `verify` names it, `refresh` mends it."""
    site = root / "sites/north"
    made = {path: path.read_bytes() for path in root.rglob("*.sh")}
    for path in made:
        path.write_text("#!/bin/sh\nold\n")
    [told] = problems(site)
    assert "start.sh is of an older version and checks no app bundle" in told
    assert "federation refresh" in told
    (site / "state").mkdir()
    script = f"{shlex.quote(sys.executable)} -P -m app.deployment.fork_server . $$ & exec sleep 600"
    ended = subprocess.run(["/bin/sh", "-c", script], cwd=site / "state", capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGTERM
    assert "federation refresh" in ended.stderr
    federation.main(["refresh", str(root)])
    assert {path: path.read_bytes() for path in root.rglob("*.sh")} == made
    assert problems(site) == []
