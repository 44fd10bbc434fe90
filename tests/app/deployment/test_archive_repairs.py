"""Archives that repair, records that are damaged, and folders that others prepared."""

import os
import shutil
from types import SimpleNamespace

import pytest
from kills import content
from party_folders import run

from app.deployment import changes, updates
from app.deployment.applying import apply, undo
from app.deployment.archives import read_members, read_update
from app.deployment.owners import as_owner
from app.deployment.parties import DeploymentError
from app.deployment.renewal import renew_server, rotate_key
from app.deployment.setup import add_site
from app.deployment.verify import problems
from scripts import federation, federation_archives
from strategies.ciphers.keys import FederationKey
from strategies.signing import read_public_key

SECOND = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")


def handed_over(root, name):
    own = root / ("sites" if name == "north" else "") / name
    return shutil.copytree(own, root.parent / f"at-{name}")


@pytest.mark.parametrize("name", ["north", "operator"])
def test_the_archive_that_a_folder_has_repairs_its_files(root, name):
    """One that is gone and one that was changed; an undo still brings back what the archive replaced."""
    folder = handed_over(root, name)
    before = content(folder)
    add_site(root, "east")
    rotate_key(root, SECOND)
    archive = root / f"updates/{name}.tar"
    apply(archive, folder)
    after = content(folder)
    gone, other = ("federation.key", "share.cert") if name == "north" else ("sites/east.pub", "sites/north.cert")
    (folder / gone).unlink()
    (folder / other).write_bytes(b"x")
    names = apply(archive, folder)[1]
    assert {gone, other} <= set(names)
    assert content(folder) == after
    assert apply(archive, folder)[1] == []
    undo(folder)
    assert {path: held for path, held in content(folder).items() if path != "applied.json"} == before


@pytest.mark.parametrize(
    "said", ["", "[]", "{}", '{"added": 3, "replaced": []}', "\xff", '{"added": [], "replaced": ["x"]}']
)
def test_a_damaged_record_of_what_was_replaced_is_named(root, said):
    folder = handed_over(root, "north")
    rotate_key(root, SECOND)
    apply(root / "updates/north.tar", folder)
    (folder / ".replaced/before.json").write_bytes(said.encode("latin-1"))
    kept = content(folder)
    reason = r"\.replaced/(before\.json is damaged|x is missing): nothing can be undone"
    with pytest.raises(DeploymentError, match=f"^{folder}/{reason}") as raised:
        undo(folder)
    assert "\n" not in str(raised.value)
    assert content(folder) == kept


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone changes the owner of files")
@pytest.mark.parametrize("name", [changes.DECIDED, changes.MAKING])
def test_a_change_of_another_user_is_named(root, name):
    folder = handed_over(root, "north")
    rotate_key(root, SECOND)
    (folder / name).mkdir()
    (folder / name / "x").touch()
    os.chown(folder / name, 12345, 12345)
    reason = f"{name} belongs to the user 12345, whose change was cut short"
    if name == changes.MAKING:  # root deletes it, as what a killed process left
        apply(root / "updates/north.tar", folder)
        return
    with pytest.raises(DeploymentError, match=reason):
        apply(root / "updates/north.tar", folder)
    shutil.rmtree(folder / name)
    apply(root / "updates/north.tar", folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone changes the owner of files")
def test_root_writes_through_no_link_that_another_user_can_change(tmp_path):
    """Neither the first folder nor the last is another user's, only one that a link between them leads through."""
    folder = tmp_path / "real" / "parks-north"
    folder.mkdir(parents=True, mode=0o755)
    (foreign := tmp_path / "foreign").mkdir()
    (foreign / "hop").symlink_to(tmp_path / "real")
    (tmp_path / "start").symlink_to("foreign/../foreign/hop")
    with as_owner(tmp_path / "start/parks-north"):
        pass
    os.chown(foreign, 12345, 12345)
    with (
        pytest.raises(DeploymentError, match=f"another user can change {foreign}"),
        as_owner(tmp_path / "start/parks-north"),
    ):
        pass
    with as_owner(folder):
        pass
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(DeploymentError, match="is no folder"), as_owner(tmp_path / "round"):
        pass


def serial(root, archive):
    key = read_public_key(root / "authority/authority.pub")
    return read_update(archive, read_members(archive), key)[0].serial


def test_numbers_of_archives_grow_after_their_record_was_deleted_and_the_clock_was_set_back(root, monkeypatch):
    at_server = handed_over(root, "server")
    renew_server(root)
    archive = root / "updates/server.tar"
    apply(archive, at_server)
    last, of_site = serial(root, archive), serial(root, root / "first/north.tar")
    (root / "authority/updates.json").unlink()
    monkeypatch.setattr(updates, "time", SimpleNamespace(time=lambda: 5.0))
    renew_server(root)
    assert serial(root, archive) == last + 1
    assert apply(archive, at_server)[1] != []
    assert (at_server / "server.crt").read_bytes() == (root / "server/server.crt").read_bytes()
    rotate_key(root, SECOND)
    assert serial(root, root / "updates/north.tar") == of_site + 1
    (root / "authority/updates.json").unlink()
    archive.write_bytes(b"x")  # damaged: the first archive's number is left
    renew_server(root)
    assert serial(root, archive) > serial(root, root / "first/server.tar") - 2


def test_a_new_site_is_made_by_the_words_that_add_site_prints(root, tmp_path, monkeypatch, capsys):
    (place := tmp_path / "project").mkdir()
    lines, _ = run(capsys, "add-site", root, "east")
    archive, _, rest = lines[0].partition(": to the machine of east, ")
    fingerprint = rest.partition("--first ")[2]
    monkeypatch.setattr(federation_archives, "CHECKOUT", place)
    with pytest.raises(DeploymentError, match=r"project is no checkout of the project, .*: clone it, `make"):
        federation.main(["apply", archive, "--first", fingerprint])
    assert list(place.iterdir()) == []
    (place / "pyproject.toml").touch()
    run(capsys, "apply", archive, "--first", fingerprint)
    assert problems(place / "parks-east") == []
