"""A backup of a site whose folder lies in a federation's, which belongs to another user, who is changing it."""

import os
import time

import pytest

from app.deployment import changes
from app.deployment.backup import back_up
from app.deployment.owners import as_owner
from app.deployment.parties import DeploymentError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives folders to others")


@pytest.fixture
def north(root, tmp_path):
    """It belongs to the service's user, who cannot lock the federation's folder."""
    for path in (*root.parents, root, root / "sites"):
        if tmp_path in (path, *path.parents) or path in tmp_path.parents:
            path.chmod(path.stat().st_mode | 0o055)
    for path in (root / "sites/north", *(root / "sites/north").rglob("*")):
        os.chown(path, 65534, 65534)
    return root / "sites/north"


def as_root(change):
    """In place of a pause, in which the process is that of the service's user."""

    def pause(_):
        own = os.geteuid()
        os.seteuid(0)
        change()
        os.seteuid(own)

    return pause


@pytest.mark.parametrize("name", [".change", ".change.new"])
def test_a_change_that_does_not_end_is_named_and_nothing_is_backed_up(root, north, tmp_path, monkeypatch, name):
    back_up(north, tmp_path / "a.tar")
    (root / name).mkdir(mode=0o700)
    now = iter(range(10**6))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(
        DeploymentError, match=rf"/{name} belongs to root, whose change is at work: run this ag"
    ) as error:
        back_up(north, tmp_path / "b.tar")
    assert "delete" not in str(error.value)
    assert next(now) >= changes.PATIENCE
    assert not (tmp_path / "b.tar").exists()


def test_a_change_that_ends_is_waited_for(root, north, tmp_path, monkeypatch):
    """It goes through the names of a real one; the backup has what it wrote."""
    making, decided = root / ".change.new", root / ".change"
    making.mkdir(mode=0o700)

    def end():
        making.rmdir()
        (north / "site.cert").write_bytes(b"new")

    steps = [lambda: making.rename(decided), lambda: decided.rename(making), end]
    monkeypatch.setattr(time, "sleep", as_root(lambda: steps.pop(0)()))
    back_up(north, tmp_path / "b.tar")
    assert steps == []
    assert b"new" in (tmp_path / "b.tar").read_bytes()


def test_a_change_that_begins_meanwhile_makes_no_backup(root, north):
    with pytest.raises(DeploymentError, match="whose change is at work"), as_owner(north), changes.unchanged(north):
        as_root((root / ".change.new").mkdir)(0)
