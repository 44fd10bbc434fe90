"""Restoring refuses what is no whole backup, and what would write outside its folder or over something."""

import os
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from kills import content
from party_backups import rewritten

from app.core.errors import AlreadyThereError
from app.deployment import backup
from app.deployment.backup import back_up
from app.deployment.parties import DeploymentError
from app.deployment.restoring import BackupError, restore


def test_nothing_is_restored_from_a_file_that_was_cut_or_changed(root, tmp_path):
    """Every byte of a short backup, as far as it matters: either it is refused, or the folder is the same."""
    file, back = tmp_path / "b.tar", tmp_path / "back"
    back_up(root / "server", file)
    restore(file, back)
    expected, data = content(back), file.read_bytes()
    changed = tmp_path / "changed.tar"
    refused = 0
    for place in [*range(0, 3000, 97), *range(3000, len(data), 997)]:
        shutil.rmtree(back, ignore_errors=True)
        changed.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        with suppress(BackupError):
            restore(changed, back)
            assert content(back) == expected
        refused += not back.exists()
    assert refused > 20
    shutil.rmtree(back, ignore_errors=True)
    end = data.rindex(b"}") - 1
    for length in (0, 1, 511, 512, 1000, 2048, 5000, end):
        changed.write_bytes(data[:length])
        with pytest.raises(BackupError, match=r"changed\.tar is cut short[^\n]*$"):
            restore(changed, back)
    assert not list(tmp_path.glob("*back*"))


def member(name, **changes):
    about = tarfile.TarInfo(name)
    for key, value in changes.items():
        setattr(about, key, value)
    return about


def renamed(to):
    def change(members, manifest):
        members[0][0].name = to
        manifest["files"][to] = manifest["files"].pop(".gitignore")

    return change


def in_manifest(**changes):
    return lambda _, manifest: manifest.update(changes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (renamed("../x"), r"names '\.\./x', which is no place in a folder"),
        (renamed("/tmp/x"), "names '/tmp/x', which is no place"),
        (renamed("a/./x"), "is no place"),
        (renamed("a//x"), "is no place"),
        (renamed("a/x"), "has 'a/x' in no folder"),
        (renamed("ca.crt/x"), "in no folder"),
        (
            lambda m, _: m.append((member("x", type=tarfile.SYMTYPE, linkname="/etc/shadow"), b"")),
            "which is no plain file",
        ),
        (lambda m, _: m.append((member("x", type=tarfile.LNKTYPE, linkname="ca.crt"), b"")), "which is no plain file"),
        (lambda m, _: m.append((member("x", type=tarfile.CHRTYPE), b"")), "which is no plain file"),
        (lambda m, _: m.append((member("x"), b"")), "holds 'x', which was not in the folder"),
        (lambda m, _: m.append(m[0]), r"holds '\.gitignore' twice"),
        (lambda m, _: m.__setitem__(0, (m[0][0], b"x\n")), r"is damaged: \.gitignore is not as it was put in"),
        (lambda m, _: m.pop(), "is not whole: server.key is missing"),
        (lambda _, j: j["folders"].update({"ca.crt": j["root"]}), "as a file and as a folder"),
        (lambda _, j: j["folders"].update({".change": j["root"]}), r"holds '\.change', a change that was under way"),
        (renamed(".ca.tmp"), "a change that was under way, which no backup does"),
        (lambda _, j: j["files"]["server.key"].update(mode=0o4755), r"damaged: backup\.json: files\.server\.key\.mode"),
        (in_manifest(format=99, version="9.9"), "of format 99, made by version 9.9; this one knows 1"),
        (in_manifest(root={}), r"damaged: backup\.json: root\.mode"),
    ],
)
def test_nothing_is_restored_from_a_hostile_file(root, tmp_path, change, reason):
    file, outside = tmp_path / "b.tar", tmp_path / "inside" / "back"
    back_up(root / "server", file)
    rewritten(file, change)
    with pytest.raises(BackupError, match=reason):
        restore(file, outside)
    assert not outside.parent.exists()


def test_what_is_in_the_way_is_named_and_nothing_is_replaced(root, tmp_path, monkeypatch):
    file, back = tmp_path / "b.tar", tmp_path / "back"
    back_up(root / "server", file)
    with pytest.raises(AlreadyThereError, match=r"b\.tar is there already"):
        back_up(root / "server", file)
    with pytest.raises(DeploymentError, match="lies in the folder itself"):
        back_up(root / "server", root / "server/state/b.tar")
    with pytest.raises(DeploymentError, match="is no party's folder"):
        back_up(tmp_path, tmp_path / "c.tar")
    back.mkdir()
    restore(file, back)  # empty
    with pytest.raises(AlreadyThereError, match="is there and not empty"):
        restore(file, back)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AlreadyThereError, match="is there and not empty"):
        restore(file, tmp_path / "link")
    with pytest.raises(BackupError, match=r"cannot read .*none\.tar: No such file"):
        restore(tmp_path / "none.tar", tmp_path / "new")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 7))
    with pytest.raises(BackupError, match=r"has 7 bytes free, and the backup needs \d+: make room"):
        restore(file, tmp_path / "new")
    monkeypatch.undo()
    (root / "server/passwd").symlink_to("/etc/passwd")
    with pytest.raises(DeploymentError, match="passwd is a link, whose files no backup would hold"):
        back_up(root / "server", tmp_path / "c.tar")
    (root / "server/passwd").unlink()
    shutil.move(root / "server/ca.crt", tmp_path / "disk" if (tmp_path / "disk").mkdir() else tmp_path / "disk/x")
    (root / "server/state").symlink_to(tmp_path / "disk")  # on another disk
    back_up(root / "server", tmp_path / "c.tar")
    restore(tmp_path / "c.tar", tmp_path / "new")
    assert (tmp_path / "new/state/x").read_bytes() == (tmp_path / "disk/x").read_bytes()
    assert not (tmp_path / "new/state").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="of root alone")
def test_root_restores_only_where_no_other_user_can_put_a_link(root, tmp_path):
    file, place = tmp_path / "b.tar", tmp_path / "home"
    back_up(root / "server", file)
    place.mkdir()
    os.chown(place, 65534, 65534)
    with pytest.raises(BackupError, match="home can be changed by another user than root"):
        restore(file, place / "server")
    assert list(place.iterdir()) == []
    os.chown(place, 0, 0)
    restore(file, place / "server")


def test_a_mount_point_is_named_before_anything_is_written(root, tmp_path, monkeypatch):
    file = tmp_path / "b.tar"
    back_up(root / "server", file)
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "disk")
    with pytest.raises(BackupError, match="disk is a mount point, which cannot be replaced"):
        restore(file, tmp_path / "disk")
    monkeypatch.chdir(tmp_path)
    restore(file, Path("here"))
    assert content(tmp_path / "here").keys() >= {"server.key", "party.json"}


def test_a_damaged_database_is_named(root, tmp_path):
    (root / "server/state").mkdir(exist_ok=True)
    (root / "server/state/superlink.db").write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    with pytest.raises(DeploymentError, match=r"superlink\.db cannot be copied: "):
        back_up(root / "server", tmp_path / "b.tar")
    assert not list(tmp_path.glob("*b.tar*"))


def test_a_file_that_was_made_meanwhile_is_not_replaced(root, tmp_path, monkeypatch):
    file, written = tmp_path / "b.tar", backup._write

    def meanwhile(*given):
        file.write_bytes(b"another")
        return written(*given)

    monkeypatch.setattr(backup, "_write", meanwhile)
    with pytest.raises(AlreadyThereError, match=r"b\.tar is there already"):
        back_up(root / "server", file)
    assert file.read_bytes() == b"another"


def test_what_a_killed_backup_left_is_deleted_and_one_that_goes_on_stays(root, tmp_path):
    left, goes_on = (tmp_path / f".{name}.tar.x.unfinished" for name in ("monday", "tuesday"))
    for folder in (left, goes_on):
        folder.mkdir()
        (folder / "archive.tar").write_bytes(b"keys")
    with backup._locked(goes_on) as is_free:
        assert is_free
        back_up(root / "server", tmp_path / "b.tar")
    assert not left.exists()
    assert (goes_on / "archive.tar").exists()
