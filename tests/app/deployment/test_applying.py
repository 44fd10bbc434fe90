"""Archives of the authority on the parties' machines: in place whole or not at all, and out again."""

import os
import shlex
import shutil
import stat
import subprocess
import sys

import pytest
from kills import content, kill_at, worst_moments
from party_folders import open_to_all, run

from app.deployment.applying import apply, undo
from app.deployment.approval import NotAllowedError, check_bundle
from app.deployment.archives import read_members
from app.deployment.changes import complete
from app.deployment.parties import DeploymentError, read_party
from app.deployment.renewal import renew_server, rotate_key
from app.deployment.setup import add_site, make_federation, remove_site
from app.deployment.verify import problems
from scripts import federation, federation_archives
from strategies.ciphers.keys import FederationKey, read_key
from strategies.signing import fingerprint, read_public_key

pytestmark = pytest.mark.slow

SECOND = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")
THIRD = FederationKey({"seal": b"\x09" * 40}, "2026-01-03")


def handed_over(root, *names):
    """The folders of parties on their machines, and no longer at the authority."""
    places = []
    for name in names:
        own = root / ("sites" if name not in ("server", "operator") else "") / name
        places.append(shutil.copytree(own, root.parent / f"at-{name}"))
    return places


def update(root, name):
    return root / f"updates/{name}.tar"


def without_record(folder):
    """`applied.json` keeps the highest serial number over an undo."""
    return {path: held for path, held in content(folder).items() if path != "applied.json"}


def test_a_rotation_reaches_every_party_by_one_file_each(root):
    """Each folder afterwards is, file by file, the one at the authority."""
    names = ("server", "operator", "north", "south")
    folders = handed_over(root, *names)
    add_site(root, "east")
    rotate_key(root, SECOND)
    for name, folder in zip(names, folders, strict=True):
        (folder / f"{'site' if 'th' in name else name}.env").write_text("VENV=/mine\n")
        apply(update(root, name), folder)
        assert problems(folder) == []
        theirs = root / ("sites" if "th" in name else "") / name
        kept = {path for path in content(folder) if path.startswith(".replaced") or path.endswith(".env")}
        assert content(theirs) == {
            **{path: held for path, held in content(folder).items() if path not in {*kept, "applied.json"}},
            **{path: held for path, held in content(theirs).items() if path.endswith(".env")},
        }
    assert (folders[0] / "server.env").read_text() == "VENV=/mine\n"
    assert stat.S_IMODE((folders[2] / "federation.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((folders[2] / ".replaced/federation.key").stat().st_mode) == 0o600


def test_the_newest_archive_alone_is_needed_whatever_was_left_out(root):
    (north, operator) = handed_over(root, "north", "operator")
    rotate_key(root, SECOND)
    add_site(root, "east")
    remove_site(root, "south")
    rotate_key(root, THIRD)
    apply(update(root, "north"), north)
    names = apply(update(root, "operator"), operator)[1]
    assert read_key(north / "federation.key") == THIRD
    assert {"sites/east.pub", "sites/south.pub", "sites/south.cert", "sites/south.share", "run.sh"} < set(names)
    assert sorted(path.name for path in (operator / "sites").glob("*.pub")) == ["east.pub", "north.pub"]
    assert "{1:-east north}" in (operator / "register.sh").read_text()
    assert [*problems(north), *problems(operator)] == []
    assert not update(root, "south").exists()


def test_a_party_gets_an_archive_only_when_its_files_change_and_keys_only_when_they_do(root, capsys):
    renew_server(root)
    assert sorted(path.name for path in (root / "updates").iterdir()) == ["server.tar"]
    lines, made = run(capsys, "renew", root, "--sites")
    assert [path.rpartition("/")[2] for path in made["archives"]] == ["north.tar", "operator.tar", "south.tar"]
    assert all("over any channel" in line for line in lines if line.startswith(str(root / "updates")))
    assert set(read_members(update(root, "north"))) == {"update.json", "share.cert"}
    assert not any(name.endswith(".key") for name in read_members(update(root, "operator")))


def test_undo_brings_back_every_file_and_the_archive_can_be_applied_again(root):
    folders = handed_over(root, "north", "operator")
    add_site(root, "east")
    rotate_key(root, SECOND)
    for name, folder in zip(("north", "operator"), folders, strict=True):
        before = content(folder)
        changed = apply(update(root, name), folder)[1]
        after = content(folder)
        assert undo(folder) == changed
        assert without_record(folder) == {path: held for path, held in before.items() if path != "applied.json"}
        assert not (folder / "sites/east.pub").exists()
        with pytest.raises(DeploymentError, match="keeps nothing that an archive replaced"):
            undo(folder)
        apply(update(root, name), folder)
        now = content(folder)
        assert {k: v for k, v in after.items() if not k.startswith(".replaced")}.items() <= now.items()
        rotate_key(root, THIRD)
        apply(update(root, name), folder)
        undo(folder)  # one step, to the archive before
        kept = {k: v for k, v in after.items() if not k.startswith(".replaced") and k != "applied.json"}
        assert content(folder).items() >= kept.items()


@pytest.mark.parametrize("name", ["north", "operator"])
def test_an_apply_that_is_killed_anywhere_leaves_the_old_set_or_the_new_one(root, tmp_path, monkeypatch, name):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # for a power cut; a kill loses nothing that was written
    (folder,) = handed_over(root, name)
    add_site(root, "east")
    rotate_key(root, SECOND)
    old, spare, seen = content(folder), tmp_path / "spare", set()
    shutil.copytree(folder, spare)
    apply(update(root, name), folder)
    new = content(folder)

    def again():
        shutil.rmtree(folder)
        shutil.copytree(spare, folder)

    again()
    for step in worst_moments(lambda: apply(update(root, name), folder), folder / ".change", some=5):
        again()
        kill_at(step, lambda: apply(update(root, name), folder))
        decided = (folder / ".change").is_dir()
        complete(folder)
        assert content(folder) in (old, new)
        assert not list(folder.glob(".change*/"))
        seen.add((decided, content(folder) == new))
        apply(update(root, name), folder)
        assert content(folder) == new
    assert seen >= {(False, False), (True, True)}
    apply(update(root, name), folder)
    kept = content(folder)
    for step in worst_moments(lambda: undo(folder), folder / ".change", some=3):
        shutil.rmtree(folder)
        shutil.copytree(spare, folder)
        apply(update(root, name), folder)
        kill_at(step, lambda: undo(folder))
        complete(folder)
        assert content(folder) == kept or without_record(folder) == old


def test_nothing_starts_from_files_of_which_some_are_old_and_some_new(root, capfd):
    (root / "sites/north/.change").mkdir()
    (root / "server/.change").mkdir()
    (root / "operator/.change").mkdir()
    for script in ("sites/north/start.sh", "server/start.sh", "operator/run.sh", "operator/register.sh"):
        done = subprocess.run(["/bin/sh", str(root / script)], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "a change of its files was cut short; python -m scripts.federation verify" in done.stderr
    with pytest.raises(NotAllowedError, match="north: this site's files are being changed") as raised:
        check_bundle(b"x", root / "sites/north")
    assert str(root) not in str(raised.value)
    assert "verify" in capfd.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone changes the owner of files")
def test_root_writes_as_the_user_of_the_service(root):
    (folder,) = handed_over(root, "north")
    rotate_key(root, SECOND)
    open_to_all(root)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 12345, 12346)
    assert apply(update(root, "north"), folder)[1]
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in [folder, *folder.rglob("*")]}
    assert owners == {(12345, 12346)}
    assert (os.geteuid(), os.getegid()) == (0, 0)
    (archive := root.parent / "north.tar").write_bytes(update(root, "north").read_bytes())
    os.seteuid(12399)
    try:
        with pytest.raises(DeploymentError, match="belongs to the user 12345: run this as that user, or as root"):
            apply(archive, folder)
    finally:
        os.seteuid(0)


def test_a_machine_without_a_folder_gets_one_by_the_authoritys_fingerprint(
    plan, first_key, tmp_path, monkeypatch, capsys
):
    root, place = tmp_path / "parks", tmp_path / "project"
    place.mkdir()
    (place / "pyproject.toml").touch()
    make_federation(plan(install=tmp_path / "elsewhere"), root, first_key)
    said = fingerprint(read_public_key(root / "authority/authority.pub"))
    monkeypatch.setattr(federation_archives, "CHECKOUT", place)
    wrong = ("0" if said[0] != "0" else "1") + said[1:]
    for name in ("north", "server", "operator"):
        archive = root / f"first/{name}.tar"
        with pytest.raises(DeploymentError, match="is of an authority with another fingerprint"):
            federation.main(["apply", str(archive), "--first", wrong])
        assert list(place.glob("parks*")) == [] or name != "north"
        values = [] if name != "north" else ["--set", "DATA_ROOT=/srv/my $images", "--set", "DATA=veri"]
        run(capsys, "apply", archive, "--first", said.upper().replace("-", " "), *values)
        folder = place / f"parks-{name}"
        assert problems(folder) == []
        assert read_party(folder).install == str(place)
        assert f"VENV={shlex.quote(sys.prefix)}" in (folder / f"{'site' if name == 'north' else name}.env").read_text()
        with pytest.raises(DeploymentError, match="is there already: leave out --first"):
            federation.main(["apply", str(archive), "--first", said])
        with pytest.raises(DeploymentError, match="is for a machine without the folder"):
            federation.main(["apply", str(archive)])
    assert "DATA_ROOT='/srv/my $images'" in (place / "parks-north/site.env").read_text()
    assert f"WorkingDirectory={place}/parks-north" in (place / "parks-north/parks-north.service").read_text()
    assert f"PROJECT={place}" in (place / "parks-operator/operator.env").read_text()
    ours, theirs = content(place / "parks-north"), content(root / "sites/north")
    other = {"applied.json", "party.json", "site.env", "parks-north.service"}
    assert {k: v for k, v in ours.items() if k not in other} == {k: v for k, v in theirs.items() if k not in other}
    with pytest.raises(DeploymentError, match=r"site\.env has no COLOUR; it has DATA, DATA_ROOT, .*RUNTIME_PORT, VENV"):
        federation.main(["apply", str(root / "first/south.tar"), "--first", said, "--set", "COLOUR=red"])
    assert not list(place.glob("*south*")) + list(place.glob(".*"))
    rotate_key(root, SECOND)
    applied = run(capsys, "apply", *(update(root, name) for name in ("north", "server", "operator")))[1]["applied"]
    assert [row["folder"] for row in applied] == [str(place / f"parks-{n}") for n in ("north", "server", "operator")]
    assert read_key(place / "parks-north/federation.key") == SECOND
    with pytest.raises(DeploymentError, match=r"no folder of this archive's party in .*: name it with --folder, or"):
        federation.main(["apply", str(update(root, "south"))])
    run(capsys, "apply", root / "first/south.tar", "--first", said)  # made anew by the rotation
    assert read_key(place / "parks-south/federation.key") == SECOND
    assert problems(place / "parks-south") == []


def test_a_federation_from_before_archives_gets_them_with_its_next_change(root):
    """Neither a record nor archives, and folders without `applied.json`."""
    (root / "authority/updates.json").unlink()
    shutil.rmtree(root / "first")
    (north,) = handed_over(root, "north")
    shutil.rmtree(root / "sites/north")
    rotate_key(root, SECOND)
    assert sorted(path.stem for path in (root / "updates").iterdir()) == ["north", "operator", "server", "south"]
    assert not (root / "first").exists()
    apply(update(root, "north"), north)
    assert problems(north) == []
    (root / "authority/updates.json").write_text("{}x")
    with pytest.raises(DeploymentError, match=r"updates\.json is damaged"):
        rotate_key(root, THIRD)
