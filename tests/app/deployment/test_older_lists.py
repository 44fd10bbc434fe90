"""Archives and `undo` bring back no older list of app bundles, and none of an archive between."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest

from app.deployment import approval
from app.deployment.applying import apply, undo
from app.deployment.approval import App, NotAllowedError
from app.deployment.archives import ArchiveError, described, read_members, read_update, write
from app.deployment.changes import changing
from app.deployment.parties import DeploymentError
from app.deployment.renewal import renew_share_keys, rotate_key
from app.deployment.verify import problems
from strategies.ciphers.keys import FederationKey
from strategies.signing import SigningError, read_public_key, read_signing_key

SECOND = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")
BUNDLE = b"a bundle with a fault"
DIGEST = hashlib.sha256(BUNDLE).hexdigest()


def lists(root, make):
    """A list of the authority with a change, handed out as `approve` and `revoke` do."""
    with changing(root) as copy:
        approval.hand_out(copy / "authority", make(approval.current_list(copy / "authority")))


@pytest.fixture
def revoked(root, tmp_path):
    """Folders of north and the operator with a bundle, and archives: with the bundle, and with it revoked."""
    app = App(DIGEST, "a/b", "1", "2026-01-01")
    places = {name: shutil.copytree(root / at, tmp_path / f"at-{name}") for name, at in AT.items()}
    old, new = ({name: tmp_path / f"{name}-{age}.tar" for name in AT} for age in ("old", "new"))
    lists(root, lambda allowed: approval.with_app(allowed, app))
    for name, path in old.items():
        shutil.copy(root / f"updates/{name}.tar", path)
    lists(root, lambda allowed: approval.without_app(allowed, DIGEST))
    for name, path in new.items():
        shutil.copy(root / f"updates/{name}.tar", path)
    return places, old, new


AT = {"north": "sites/north", "operator": "operator"}


def serial(folder):
    """By hand, from the signed text."""
    return json.loads((folder / "allowed-apps").read_text())["body"]["serial"]


def later(root, archive, place):
    """The files of an archive, said to be of a later one."""
    key = root / "authority/authority.pub"
    update, content = read_update(archive, read_members(archive), read_public_key(key))
    update = replace(update, serial=update.serial + 1000)
    write(place, update, content, read_signing_key(root / "authority/signing.key"))
    return place


@pytest.mark.parametrize("name", AT)
def test_undo_keeps_a_revoked_bundle_revoked(revoked, name):
    places, old, new = revoked
    folder = places[name]
    assert apply(old[name], folder)[1] == ["allowed-apps"]
    first = serial(folder)
    apply(new[name], folder)
    newest = serial(folder)
    assert newest > first
    assert undo(folder) == []
    assert serial(folder) == newest
    assert not approval.read_allowed(folder).holds(DIGEST)
    assert problems(folder) == []
    if name == "north":
        with pytest.raises(NotAllowedError, match="is not approved"):
            approval.check_bundle(BUNDLE, folder)
    with pytest.raises(ArchiveError, match="is older than the one"):
        apply(old[name], folder)
    with pytest.raises(DeploymentError, match="keeps nothing"):
        undo(folder)
    apply(new[name], folder)
    assert serial(folder) == newest
    assert "highest" not in json.loads((folder / "applied.json").read_text())


@pytest.mark.parametrize("name", AT)
def test_a_later_archive_with_an_older_list_is_refused_though_the_site_used_none(root, revoked, tmp_path, name):
    places, old, new = revoked
    folder = places[name]
    apply(new[name], folder)
    before = (folder / "allowed-apps").read_bytes()
    with pytest.raises(SigningError, match=r"is newer than the archive.s of .*: take the newest"):
        apply(later(root, old[name], tmp_path / "later.tar"), folder)
    assert (folder / "allowed-apps").read_bytes() == before
    (folder / "allowed-apps").unlink()  # a lost list is no reason to refuse
    assert apply(later(root, new[name], tmp_path / "later.tar"), folder)[1] == ["allowed-apps"]
    assert (folder / "allowed-apps").read_bytes() == before


def test_an_archive_of_the_same_number_that_the_folder_has_whole_is_current(root, tmp_path):
    """The first archive is written anew with every change, with the number of the archive of changes."""
    north = shutil.copytree(root / "sites/north", tmp_path / "at-north")
    rotate_key(root, SECOND)
    renew_share_keys(root)
    archive, key = root / "updates/north.tar", read_signing_key(root / "authority/signing.key")
    apply(archive, north)
    update, content = read_update(archive, read_members(archive), key.public_key())
    less = {name: data for name, data in content.items() if name != "site.cert"}
    other = tmp_path / "other.tar"
    write(other, replace(update, files=described(less), date="2026-01-01T00:00:00+00:00"), less, key)
    assert apply(other, north)[1] == []
    for changes, files in (
        ({"key_id": "0" * 16}, less),
        ({}, {**less, "share.cert": b"{}"}),
        ({}, {**less, "allowed-apps": b"x"}),
    ):
        write(other, replace(update, files=described(files), **changes), files, key)
        with pytest.raises(ArchiveError, match="has the number of another archive"):
            apply(other, north)
