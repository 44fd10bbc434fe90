"""Kills at the worst moments of `init`, `rotate` and other changes: the old state or the new one, never a mix."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest
from kills import content, kill_at, worst_moments
from party_folders import open_to_all

from app.deployment.applying import apply
from app.deployment.certificates import is_for, read_certificate
from app.deployment.changes import changing, complete
from app.deployment.parties import DeploymentError, parties_of, read_party
from app.deployment.renewal import give_access, renew_server, renew_share_keys, rotate_key
from app.deployment.setup import add_site, make_federation, remove_site
from app.deployment.verify import problems
from scripts import federation, federation_sites
from strategies.ciphers.keys import FederationKey, read_key
from strategies.share_keys import VALID_DAYS

SECOND = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")
MOMENT = int(time.time()) + 999
LAST = MOMENT + VALID_DAYS * 86400


def federation_key(root):
    return read_key(root / "authority/federation.key")


def agree(root):
    """Whether all folders are in order and of one federation key."""
    told = [sentence for folder in parties_of(root) for sentence in problems(folder)]
    held = {read_key(path).key_id for path in root.rglob("federation.key")}
    return told == [] and {read_party(folder).key_id for folder in parties_of(root)} == held


def bound(root):
    """Whether the authority knows the server's address, which then is in its certificate."""
    known = '"bind": "10.0.0.5"' in (root / "authority/party.json").read_text()
    assert is_for(read_certificate(root / "server/server.crt"), "10.0.0.5") == known
    return known


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (lambda root: rotate_key(root, SECOND), lambda root: federation_key(root) == SECOND),
        (lambda root: add_site(root, "east"), lambda root: (root / "sites/east/share.cert").exists()),
        (
            lambda root: renew_share_keys(root, MOMENT),
            lambda root: f'"not_after": {LAST}' in (root / "sites/north/share.cert").read_text(),
        ),
        (lambda root: give_access(root, 8444), lambda root: (root / "operator/operator.crt").exists()),
        (lambda root: renew_server(root, "10.0.0.5"), lambda root: bound(root)),
    ],
    ids=["rotate", "add-site", "renew", "operator-access", "bind"],
)
def test_a_change_that_is_killed_anywhere_took_place_or_did_not(made, tmp_path, monkeypatch, change, changed):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # for a power cut; a kill loses nothing that was written
    root, old, seen = tmp_path / "parks", content(made), set()
    shutil.copytree(made, root)
    for step in worst_moments(lambda: change(root), root / ".change", some=5):
        shutil.rmtree(root)
        shutil.copytree(made, root)
        kill_at(step, lambda: change(root))
        completed = complete(root)
        assert not list(root.glob(".change*/"))
        if new := changed(root):
            assert agree(root)
        else:
            assert content(root) == old
        seen.add((new, completed))
    assert seen >= {(False, False), (True, True)}


def test_an_init_that_is_killed_anywhere_made_everything_or_nothing(plan, first_key, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    root = tmp_path / "parks"

    def init():
        make_federation(plan(), root, first_key)

    for step in worst_moments(init, root, some=3):
        shutil.rmtree(root)
        kill_at(step, init)
        if not root.exists():
            left = list(tmp_path.glob(".parks.new"))
            assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in left)
            init()
        assert agree(root)
        assert not (tmp_path / ".parks.new").exists()


@pytest.mark.slow
def test_a_killed_rotate_is_completed_by_the_next_command(root, capsys):
    """The command itself, killed as soon as the change is decided; `verify` says what it did."""
    command = "import sys, os, signal\nfrom app.deployment import changes\nfrom scripts import federation\n"
    command += "changes._complete = lambda root: (root / '.change').exists() and os.kill(os.getpid(), signal.SIGKILL)\n"
    command += "federation.main(sys.argv[1:])\n"
    before = federation_key(root)
    words = [sys.executable, "-c", command, "rotate", str(root)]
    assert subprocess.run(words, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert federation_key(root) == before
    federation.main(["verify", str(root / "sites/north")])  # of a party's folder, too
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{root / 'sites/north'}: a change of keys that was cut short is complete now"
    assert json.loads(lines[-1])["problems"] == 0
    assert federation_key(root) != before
    assert agree(root)
    federation.main(["verify", str(root)])
    assert "cut short" not in capsys.readouterr().out


def test_a_failed_change_leaves_nothing_and_names_the_files_of_the_federation(root):
    old = content(root)

    def fail(error):
        with changing(root) as copy:
            (copy / "server/server.key").unlink()
            raise error(f"{copy / 'server'} is odd")

    with pytest.raises(DeploymentError) as raised:
        fail(DeploymentError)
    assert str(raised.value) == f"{root / 'server'} is odd"
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError)
    assert content(root) == old
    assert not list(root.glob(".change*/"))


def test_only_changed_files_are_written_and_the_others_stay_as_their_owners_made_them(root):
    (root / "sites/north/site.env").write_text("DATA_ROOT=/srv/x\n")
    (root / "sites/north/state").mkdir()
    (root / "sites/north/state/kept").write_text("x")
    (root / "operator/nodes.txt").write_text("north 7\n")
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    with changing(root) as copy:
        assert not (copy / "sites/north/state").exists()
        (copy / "server/server.env").write_text("PORT=1\n")
    changed = {path for path, before in times.items() if path.stat().st_mtime_ns != before}
    assert changed == {root / "server/server.env"}
    remove_site_of_three(root)
    assert (root / "sites/north/state/kept").exists()


def remove_site_of_three(root):
    add_site(root, "east")
    (root / "sites/east/state").mkdir()
    (root / "sites/east/state/model").write_text("x")
    remove_site(root, "east")
    assert not (root / "sites/east").exists()
    assert not list((root / "operator/sites").glob("east*"))


def test_a_change_that_another_user_left_is_not_completed(root, monkeypatch):
    """In a folder that others can write to, such as /tmp: it would write and delete wherever its names point."""
    victim = root / "sites/north/federation.key"
    before, planted = content(root), root.parent / ".change"
    (planted / "files/parks").mkdir(parents=True)
    (planted / "files/parks/planted").touch()
    (planted / "removed.json").write_text(json.dumps([str(victim.relative_to(root.parent))]))
    own = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: own + 1)
        assert not complete(root)
        assert content(root) == before
    assert complete(root), "one's own is"
    assert not victim.exists()


@pytest.mark.parametrize("name", ["{}", "../precious", "sites/../../precious", "", "."])
def test_a_record_that_names_a_place_elsewhere_deletes_nothing(root, name):
    """As a restored folder may hold, that was made by somebody else."""
    precious, planted = root.parent / "precious", root / ".change"
    (planted / "files").mkdir(parents=True)
    (planted / "files/start.sh").touch()
    precious.mkdir()
    (planted / "removed.json").write_text(json.dumps([name.format(precious)]))
    with pytest.raises(DeploymentError, match="is no place in its folder"):
        complete(root)
    assert precious.is_dir()
    assert not (root / "start.sh").exists()


@pytest.mark.parametrize("name", ["policy.toml", "site.env", "start.sh"])
def test_what_the_owner_changes_while_an_archive_is_applied_stays(root, monkeypatch, name):
    """In the moments between the copy and the decision, by a file's content, its mode, or its end."""
    folder = root / "sites/north"
    archive = root / "updates/north.tar"
    rotate_key(root, SECOND)
    north = shutil.copytree(folder, root.parent / "north")
    rotate_key(root, FederationKey({"seal": b"\x09" * 40}, "2026-01-03"))
    checked = []

    def edit(copy):
        if not checked:
            (north / name).write_text("edited = true\n")
            (north / "authority.pub").chmod(0o640)
            (north / ".gitignore").unlink()
        checked.append(copy)
        return []

    monkeypatch.setattr("app.deployment.verify.problems_of_files", edit)
    assert "federation.key" in apply(archive, north)[1]
    assert checked
    assert (north / name).read_text() == "edited = true\n"
    assert stat.S_IMODE((north / "authority.pub").stat().st_mode) == 0o640
    assert (north / "federation.key").read_bytes() == (folder / "federation.key").read_bytes()


def test_the_folder_of_replaced_keys_is_its_owners_alone_even_after_it_was_opened(root):
    north = shutil.copytree(root / "sites/north", root.parent / "north")
    rotate_key(root, SECOND)
    (north / ".replaced").mkdir()
    for mode in (0o755, 0o777, 0o750):
        (north / ".replaced").chmod(mode)
        apply(root / "updates/north.tar", north)
        assert stat.S_IMODE((north / ".replaced").stat().st_mode) == 0o700
        rotate_key(root, FederationKey({"seal": bytes([mode % 256]) * 40}, "2026-01-03"))


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone changes the owner of files")
@pytest.mark.parametrize("left", [".change.new", ".change"])
def test_root_ends_a_change_of_another_user_by_verify(root, left):
    """Undecided it is forgotten, decided it is completed; as the user whom the folder belongs to."""
    open_to_all(root)
    north = shutil.copytree(root / "sites/north", root.parent / "north")
    (north / left / "files").mkdir(parents=True)
    (north / left / "files/policy.toml").write_text("secret")
    (north / left / "removed.json").write_text("[]")
    for path in [north, *north.rglob("*")]:
        os.chown(path, 12345, 12346)
    federation_sites.complete_first(north)
    assert not list(north.glob(".change*/"))
    assert ((north / "policy.toml").read_text() == "secret") == (left == ".change")
    assert {(path.stat().st_uid, path.stat().st_gid) for path in north.rglob("*")} == {(12345, 12346)}
