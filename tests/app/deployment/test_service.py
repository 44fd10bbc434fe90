"""The systemd service of a party. Programs that change the machine are stand-ins that write down how they were called;
the unit is checked by systemd's own program where there is one."""

import os
import re
import shutil
import subprocess

import pytest
from party_folders import run

from app.deployment import service
from app.deployment.applying import as_owner
from app.deployment.parties import DeploymentError
from app.deployment.receiving import set_values
from app.deployment.setup import make_federation
from scripts import federation, federation_archives
from strategies.signing import fingerprint, read_public_key

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a service is set up by root")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A folder for units, and a log of the programs called."""
    units, programs, log = tmp_path / "units", tmp_path / "bin", tmp_path / "log"
    for folder in (units, programs):
        folder.mkdir()
    for name in ("useradd", "chown", "systemctl"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(service, "UNITS", units)
    return units, programs, log


def test_one_command_makes_the_folder_and_starts_the_service(plan, first_key, tmp_path, monkeypatch, machine, capsys):
    units, programs, log = machine
    root, place = tmp_path / "parks", tmp_path / "project"
    place.mkdir()
    (place / "pyproject.toml").touch()
    make_federation(plan(), root, first_key)
    said = fingerprint(read_public_key(root / "authority/authority.pub"))
    monkeypatch.setattr(federation_archives, "CHECKOUT", place)
    both = (root / "first/server.tar", root / "first/operator.tar")
    run(capsys, "apply", *both, "--first", said, "--service")
    values = ("--set", "DATA=veri", "--set", "DATA_ROOT=/srv/images")
    run(capsys, "apply", root / "first/north.tar", "--first", said, *values, "--service")
    called = log.read_text().splitlines()
    north = [
        "useradd --system fed-vehicle-reid",
        f"chown -R fed-vehicle-reid: {place}/parks-north",
        "systemctl daemon-reload",
        "systemctl enable --now parks-north.service",
    ]
    assert called == [line.replace("north", "server") for line in north] + north
    assert (units / "parks-north.service").read_bytes() == (place / "parks-north/parks-north.service").read_bytes()
    assert (place / "parks-north/state").is_dir()
    if shutil.which("systemd-analyze"):
        for name in ("parks-north", "parks-server"):
            words = ["systemd-analyze", "verify", str(units / f"{name}.service")]
            told = subprocess.run(words, capture_output=True, text=True, check=False).stderr
            assert [line for line in told.splitlines() if f"{name}.service" in line and "Failed" not in line] == []
    (programs / "systemctl").write_text("#!/bin/sh\necho 'no bus' >&2\nexit 1\n")
    with pytest.raises(DeploymentError, match="systemctl daemon-reload: no bus"):
        federation.main(["service", str(place / "parks-north")])
    with pytest.raises(DeploymentError, match="of this party there is no service"):
        federation.main(["service", str(place / "parks-operator")])
    shutil.move(place / "parks-north", place / "moved")
    with pytest.raises(DeploymentError, match="is for another folder than"):
        federation.main(["service", str(place / "moved")])
    monkeypatch.setattr(os, "geteuid", lambda: 12399)
    with pytest.raises(DeploymentError, match="a service is set up by root"):
        federation.main(["service", str(place / "parks-server")])


def exposure(unit):
    """What systemd itself says of a unit, from 0 (nothing is open) to 10; it reads the file and starts nothing."""
    words = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return float(re.search(r"Overall exposure level for .*: ([0-9.]+)", told)[1])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze, from Debian's systemd")
def test_systemd_finds_little_open_in_a_unit(root, tmp_path):
    """As units were before, with five lines of protection, the figure was 8.6."""
    site, server = root / "sites/north/parks-north.service", root / "server/parks-server.service"
    assert exposure(site) <= 1.5  # a site may use accelerators
    assert exposure(server) <= 1.3
    assert "DeviceAllow=char-nvidia* rw" in site.read_text().splitlines()
    bare = tmp_path / "bare.service"
    kept = ("User=", "UMask=", "NoNewPrivileges=", "ProtectSystem=", "ProtectHome=", "PrivateTmp=", "ExecStart=", "[")
    bare.write_text("".join(line for line in site.read_text().splitlines(True) if line.startswith(kept)))
    assert exposure(bare) == 8.6


def test_caches_of_a_service_lie_in_its_state_folder(root):
    """The service's user has no home, and the unit lets it write into `state` alone."""
    lines = (root / "sites/north/parks-north.service").read_text().splitlines()
    state = "/opt/x/parks-north/state"
    assert f"Environment=HOME={state} XDG_CACHE_HOME={state}/cache" in lines
    assert f"ReadWritePaths={state}" in lines


def test_the_unit_is_not_what_the_services_user_made_of_the_folders_copy(plan, first_key, tmp_path, machine):
    units, _, log = machine
    root, place = tmp_path / "parks", tmp_path / "project"
    make_federation(plan(install=place), root, first_key)
    folder = place / "parks-north"
    shutil.copytree(root / "sites/north", folder)
    unit = (root / "sites/north/parks-north.service").read_bytes()
    (folder / "parks-north.service").write_bytes(unit.replace(b"User=fed-vehicle-reid", b"User=root"))
    (tmp_path / "link").symlink_to(folder)
    federation.main(["service", str(tmp_path / "link")])
    assert (units / "parks-north.service").read_bytes() == unit
    assert f"chown -R fed-vehicle-reid: {folder}" in log.read_text().splitlines()
    hostile = (folder / "party.json").read_text().replace('"parks"', '"../parks"')
    (folder / "party.json").write_text(hostile)
    with pytest.raises(DeploymentError):
        federation.main(["service", str(folder)])
    assert [path.name for path in units.iterdir()] == ["parks-north.service"]


def test_root_writes_as_root_only_where_no_other_user_chooses_the_place(tmp_path):
    safe, theirs = tmp_path / "safe", tmp_path / "theirs"
    for folder in (safe, theirs):
        folder.mkdir(mode=0o755)
    (safe / "parks-north").mkdir()
    (theirs / "link").symlink_to(safe / "parks-north")
    os.chown(theirs, 12345, 12345)
    with as_owner(safe / "parks-north"):
        pass
    with pytest.raises(DeploymentError, match=r"another user can change .*theirs"), as_owner(theirs / "link"):
        pass
    safe.chmod(0o777)
    with pytest.raises(DeploymentError, match=r"another user can change .*safe"), as_owner(safe / "parks-north"):
        pass
    os.chown(safe / "parks-north", 12345, 12346)
    with as_owner(safe / "parks-north"):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (12345, 12346, [])
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_a_value_of_two_lines_is_refused(root):
    with pytest.raises(DeploymentError, match=r"DATA_ROOT: a value of site\.env is one line"):
        set_values(root / "sites/north/site.env", {"DATA_ROOT": "/a\nVENV=/b"})
