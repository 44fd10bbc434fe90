"""Left to do after a restoration: archives of a restored authority, services of another folder, a site's wait."""

import shutil
import signal
import subprocess
import sys
import time

import pytest
from app_bundles import small_project
from kills import kill_at, worst_moments
from party_backups import rewritten
from party_folders import run

from app.deployment import service, site_files
from app.deployment.applying import apply
from app.deployment.backup import back_up
from app.deployment.changes import changing
from app.deployment.parties import DeploymentError
from app.deployment.renewal import give_access, rotate_key
from app.deployment.restoring import restore
from app.deployment.verify import problems
from app.federation import restored
from strategies.ciphers.keys import FederationKey, read_key
from strategies.signing import SigningError

SECOND = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")


@pytest.fixture
def units(tmp_path, monkeypatch):
    folder = tmp_path / "system"
    folder.mkdir()
    monkeypatch.setattr(service, "UNITS", folder)
    return folder


def test_a_restored_authority_makes_archives_that_parties_take(root, tmp_path, capsys):
    """Since its backup a listed bundle was revoked, and that reached a site."""
    north = shutil.copytree(root / "sites/north", tmp_path / "north")
    app = small_project(tmp_path / "app")
    sha256 = run(capsys, "approve", root, "--project", app)[1]["sha256"]
    lines, said = run(capsys, "approve", root, "--project", app)
    assert said["archives"] == []
    assert lines[-1].startswith("it was listed already: the newest archives have this list, and none was made. Where")
    back_up(root, tmp_path / "a.tar")
    now = int(time.time())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now + 5)
        run(capsys, "revoke", root, sha256)
    assert "allowed-apps" in apply(root / "updates/north.tar", north)[1]

    shutil.rmtree(root)
    restore(tmp_path / "a.tar", root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now + 10)
        assert run(capsys, "approve", root, "--project", app)[1]["archives"] == []
        rotate_key(root, SECOND)
        with pytest.raises(SigningError, match=r"newer than the archive's of .* restored from a backup .* --again"):
            apply(root / "updates/north.tar", north)
        lines, said = run(capsys, "approve", root, "--project", app, "--again")
        assert len(said["archives"]) == 3
        assert not any(line.startswith("it was listed") for line in lines)
        assert {"allowed-apps", "federation.key"} <= {*apply(root / "updates/north.tar", north)[1]}
    assert run(capsys, "approved", north)[1]["apps"][0]["sha256"] == sha256
    assert problems(north) == []


def test_again_approves_what_is_not_listed_as_well(root, tmp_path, capsys):
    app = small_project(tmp_path / "app")
    first = run(capsys, "approve", root, "--project", app, "--again")[1]
    assert len(run(capsys, "approved", root)[1]["apps"]) == 1
    again = run(capsys, "approve", root, "--project", app, "--again")[1]
    assert again["serial"] > first["serial"]
    assert len(run(capsys, "approved", root)[1]["apps"]) == 1


@pytest.mark.slow
def test_a_backup_of_a_site_holds_no_half_of_the_federation_s_change(root, tmp_path, capsys):
    """A rotation is killed while its files are put in place. A backup of one party completes it, and says so."""
    whole = tmp_path / "whole"
    shutil.copytree(root, whole)
    steps = worst_moments(lambda: rotate_key(whole, SECOND), whole / ".change", some=3)
    for number, step in enumerate(steps):
        copy = tmp_path / f"parks-{number}"
        shutil.copytree(root, copy)
        kill_at(step, lambda copy=copy: rotate_key(copy, SECOND))
        decided = (copy / ".change").exists()
        file, back = tmp_path / f"{number}.tar", tmp_path / f"back-{number}"
        lines, _ = run(capsys, "backup", copy / "sites/north", file)
        assert (f"{copy}/sites/north: a change of keys that was cut short is complete now" in lines) == decided
        assert not (copy / ".change").exists()
        assert not (copy / ".change.new").exists()
        restore(file, back)
        assert problems(back) == []
        assert read_key(back / "federation.key") == read_key(copy / "authority/federation.key")


@pytest.mark.slow
def test_a_backup_of_a_site_waits_for_a_change_of_the_federation(root, tmp_path):
    """The change is not yet decided when the backup begins."""
    program = "import sys, pathlib, app.deployment.backup as b; b.back_up(pathlib.Path(), pathlib.Path(sys.argv[1]))"
    words = [sys.executable, "-c", program, str(tmp_path / "b.tar")]
    with changing(root) as copy:
        (copy / "sites/north/site.cert").write_bytes(b"new")
        process = subprocess.Popen(words, cwd=root / "sites/north", stdout=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=8)
        assert not (tmp_path / "b.tar").exists()
    assert process.wait(timeout=60) == 0
    restore(tmp_path / "b.tar", tmp_path / "back")
    assert (tmp_path / "back/site.cert").read_bytes() == b"new"


def test_a_folder_that_lies_in_no_federation_is_alone(root, tmp_path):
    """Folders of the same names, and a change of something else beside it."""
    north = shutil.copytree(root / "sites/north", tmp_path / "x/sites/north")
    (tmp_path / "x/.change").mkdir()
    (tmp_path / "x/authority").mkdir()
    back_up(north, tmp_path / "b.tar")
    assert not (tmp_path / "x/.change.lock").exists()


@pytest.mark.parametrize("name", ["parks-north", "parks-north-2"])
def test_a_restored_unit_starts_the_restored_folder(root, tmp_path, units, capsys, name):
    place, file = tmp_path / name, tmp_path / "b.tar"
    back_up(root / "sites/north", file)
    lines, _ = run(capsys, "restore", file, place)
    unit = place / "parks-north.service"
    assert f"\nWorkingDirectory={place}\n" in unit.read_text()
    assert f"\nExecStart=/bin/sh {place}/start.sh\n" in unit.read_text()
    step = f"as root, python -m scripts.federation service {tmp_path}/parks-north"
    if name == "parks-north":
        assert not any("as root" in line for line in lines)
    else:
        step = f"rename {place} to {tmp_path}/parks-north, and, {step}"
        assert f"the service is for a folder named parks-north: {step}" in lines
    (units / unit.name).write_text((root / "sites/north" / unit.name).read_text())  # of the machine's old folder
    shutil.rmtree(place)
    lines, _ = run(capsys, "restore", file, place)
    assert f"{units / unit.name} starts another folder: {step}" in lines
    assert not any("cp " in line for line in lines)
    shutil.copy(unit, units)
    shutil.rmtree(place)
    assert not any("as root" in line for line in run(capsys, "restore", file, place)[0])


def test_a_name_that_no_unit_has_is_to_be_changed(root, tmp_path, units, capsys):
    """Its place has the old folder."""
    back_up(root / "server", tmp_path / "b.tar")
    target = tmp_path / "parks-server"
    for is_there in (False, True):
        place = tmp_path / f"my place {is_there}"
        lines, _ = run(capsys, "restore", tmp_path / "b.tar", place)
        away = f"move {target} away, " if is_there else ""
        step = f"rename {place} to {target}, and, as root, python -m scripts.federation service {target}"
        assert f"the service is for a folder named parks-server: {away}{step}" in lines
        target.mkdir(exist_ok=True)
    assert list(units.iterdir()) == []


@pytest.mark.parametrize("name", ["parks-server", "other"])
def test_a_path_that_no_unit_has_is_to_be_left(root, tmp_path, units, capsys, monkeypatch, name):
    """A blank above the folder, whatever its own name: the same place again is no remedy."""
    back_up(root / "server", tmp_path / "b.tar")
    place = tmp_path / "my place" / name
    lines, _ = run(capsys, "restore", tmp_path / "b.tar", place)
    said = (
        f"no service has a path like '{tmp_path}/my place': move the folder to a path of letters, digits and ._-, as "
        "parks-server, and there, as root, python -m scripts.federation service parks-server"
    )
    assert said in lines
    assert list(units.iterdir()) == []
    monkeypatch.setattr(service.os, "geteuid", lambda: 0)
    with pytest.raises(DeploymentError, match="no service has a path like"):
        service.start_service(place)


def test_nginx_s_paths_of_another_folder_are_said(root, tmp_path, units, capsys):
    give_access(root, 8444)
    back_up(root / "server", tmp_path / "b.tar")
    lines, _ = run(capsys, "restore", tmp_path / "b.tar", tmp_path / "elsewhere")
    control = tmp_path / "elsewhere/control.conf"
    assert f"{control} names files of another folder: set its paths to {tmp_path}/elsewhere" in lines
    text = control.read_text().replace("/opt/x/parks-server", f"{tmp_path}/elsewhere")
    control.write_text(text)
    back_up(tmp_path / "elsewhere", tmp_path / "c.tar")
    shutil.rmtree(tmp_path / "elsewhere")
    assert not any(
        "set its paths" in line for line in run(capsys, "restore", tmp_path / "c.tar", tmp_path / "elsewhere")[0]
    )
    assert list(units.iterdir()) == []


def test_a_restored_site_waits_before_it_connects(root, tmp_path, monkeypatch, capsys):
    back_up(root / "sites/north", tmp_path / "b.tar")  # it never ran: the backup has no state
    north, began, waited = tmp_path / "north", time.time(), []
    restore(tmp_path / "b.tar", north)
    monkeypatch.setattr(time, "sleep", waited.append)
    assert site_files.main(str(north), "north", "synthetic", "/srv/x") == 0
    [seconds] = waited
    assert 300 < seconds <= 306
    assert f"{north}: restored from a backup; it connects in 30" in capsys.readouterr().err
    monkeypatch.setattr(time, "time", lambda: began + 400)
    assert site_files.main(str(north), "north", "synthetic", "/srv/x") == 0
    assert len(waited) == 1
    monkeypatch.setattr(time, "time", lambda: began - 4000)
    assert site_files.main(str(north), "north", "synthetic", "/srv/x") == 2
    assert "this machine's clock says" in capsys.readouterr().err
    (north / "state/node/restored.json").write_text("{")
    assert site_files.main(str(north), "north", "synthetic", "/srv/x") == 2
    assert "restored.json is damaged" in capsys.readouterr().err


def test_a_wait_ends_with_its_process(root, tmp_path):
    """start.sh is stopped as a service is, and leaves no process."""
    back_up(root / "sites/north", tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "north")
    words = [
        sys.executable,
        "-P",
        "-m",
        "app.deployment.site_files",
        tmp_path / "north",
        "north",
        "synthetic",
        "/srv/x",
    ]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert "it connects in" in process.stderr.readline()
    process.terminate()
    assert process.wait(timeout=30) == -signal.SIGTERM
    process.stderr.close()


def test_a_backup_of_a_restored_site_is_restored_as_of_now(root, tmp_path, monkeypatch):
    """Its record of the earlier restoration is replaced, whatever a hostile backup says in it."""
    node = root / "sites/north/state/node"
    node.mkdir(parents=True)
    (node / restored.FILE).write_text('{"restored": 1.0}')
    back_up(root / "sites/north", tmp_path / "b.tar")
    began = time.time()
    restore(tmp_path / "b.tar", tmp_path / "back")
    monkeypatch.setattr(time, "time", lambda: began)
    assert 300 < restored.seconds_to_wait(tmp_path / "back/state/node", began + 2) <= 307

    def a_folder(members, manifest):
        place = "state/node/restored.json"
        members[:] = [each for each in members if each[0].name != place]
        del manifest["files"][place]
        manifest["folders"][place] = manifest["root"]

    rewritten(tmp_path / "b.tar", a_folder)
    with pytest.raises(OSError, match=r"restored\.json"):
        restore(tmp_path / "b.tar", tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert not list(tmp_path.glob(".other*"))
