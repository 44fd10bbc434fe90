"""Hostile and damaged archives: each gets one clear error, and the party's folder stays as it is."""

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from dataclasses import replace

import pytest

from app.deployment import approval
from app.deployment.applying import apply
from app.deployment.archives import LARGEST, MANIFEST, described, read_members, read_update, write
from app.deployment.renewal import rotate_key
from app.deployment.setup import make_federation
from scripts import federation
from scripts.command import command
from strategies.ciphers.keys import FederationKey
from strategies.signing import SigningError, new_signing_key, read_public_key, read_signing_key

SECOND = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")


@pytest.fixture(scope="module")
def rotated(made, tmp_path_factory):
    """A federation after a rotation, and a site's folder from before it, on its own machine."""
    base = tmp_path_factory.mktemp("rotated")
    root, north = base / "parks", base / "north"
    shutil.copytree(made, root)
    shutil.copytree(made / "sites/north", north)
    rotate_key(root, SECOND)
    return root, north


@pytest.fixture
def north(rotated, tmp_path):
    return shutil.copytree(rotated[1], tmp_path / "north")


@pytest.fixture
def good(rotated):
    """The bytes of the archive for north."""
    return (rotated[0] / "updates/north.tar").read_bytes()


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".change.lock"]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode) for path in files}


def refused(folder, archive, reason, error=ValueError):
    before, beside = content(folder), sorted(path.name for path in folder.parent.iterdir())
    with pytest.raises(error, match=reason) as raised:
        apply(archive, folder)
    assert "\n" not in str(raised.value)
    assert content(folder) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == beside
    assert not list(folder.glob(".change*/"))


def test_an_archive_is_an_ordinary_tar_file_whose_list_any_program_can_check(good, rotated):
    """By Python's reader of tar files and by hand, without the project's reader."""
    with tarfile.open(fileobj=io.BytesIO(good), mode="r:") as tar:
        held = {member.name: tar.extractfile(member).read() for member in tar}
        assert {(member.mode, member.uid, member.type) for member in tar.getmembers()} == {(0o600, 0, tarfile.REGTYPE)}
    body = json.loads(held.pop(MANIFEST))["body"]
    names = {"federation.key", "share.cert", "share.key", "site.cert"}
    assert held.keys() == body["files"].keys() == names
    assert {name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in held.items()} == body["files"]
    folder = rotated[0] / "sites/north"
    assert held == {name: (folder / name).read_bytes() for name in names}
    assert (body["federation"], body["kind"], body["name"], body["whole"]) == ("parks", "site", "north", False)


def tar_of(good, change, **added):
    """The good archive's files in a tar file of Python's writer, with a further member."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(good), mode="r:") as source,
        tarfile.open(fileobj=out, mode="w", format=added.pop("form", tarfile.USTAR_FORMAT)) as tar,
    ):
        for member in source:
            tar.addfile(member, source.extractfile(member))
        about = tarfile.TarInfo("share.cert")
        for key, value in {"mode": 0o600, **added}.items():
            setattr(about, key, value)
        tar.addfile(about, io.BytesIO(b"x" * about.size))
    return change(out.getvalue())


HOSTILE = {
    "above": ({"name": "../site.env"}, r"the name '\.\./site\.env', which no party's folder has"),
    "far above": ({"name": "sites/../../etc/x"}, "which no party's folder has"),
    "absolute": ({"name": "/etc/passwd"}, "the name '/etc/passwd', which no party's folder has"),
    "hidden": ({"name": ".change"}, "the name '.change', which no party's folder has"),
    "escape": ({"name": "a\x1b[31m"}, "which no party's folder has"),
    "long": ({"name": "a" * 90}, "which no party's folder has"),
    "link": ({"name": "ca.crt", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "'ca.crt', which is a link"),
    "hard link": ({"type": tarfile.LNKTYPE, "linkname": "site.key"}, "'share.cert', which is a hard link"),
    "device": ({"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, "which is a device"),
    "disk": ({"type": tarfile.BLKTYPE}, "which is a device"),
    "pipe": ({"type": tarfile.FIFOTYPE}, "which is a pipe"),
    "folder": ({"name": "sites", "type": tarfile.DIRTYPE}, "which is a folder"),
    "sparse": ({"type": tarfile.GNUTYPE_SPARSE}, "neither a file nor a folder"),
    "contiguous": ({"type": tarfile.CONTTYPE}, "neither a file nor a folder"),
    "extension": ({"name": "ca.crt", "pax_headers": {"path": "/x"}, "form": tarfile.PAX_FORMAT}, "neither a file"),
    "long name": ({"name": "b" * 200, "form": tarfile.GNU_FORMAT}, "the header of update.json is not one that"),
    "duplicate": ({"mode": 0o600}, "holds share.cert twice"),
    "mode": ({"name": "ca.crt", "mode": 0o4755}, "the header of ca.crt is not one that"),
    "owner": ({"name": "ca.crt", "uid": 5}, "the header of ca.crt is not one that"),
    "further": ({"name": "start.sh", "size": 3}, "the authority did not put start.sh in"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_member_that_no_archive_has_is_named(north, good, tmp_path, case):
    added, reason = HOSTILE[case]
    path = tmp_path / "x.tar"
    path.write_bytes(tar_of(good, bytes, **added))
    refused(north, path, reason)


def with_size(data, text):
    """The size of the second member's header said to be another, with a right checksum."""
    first = 512 + -(-int(data[124:135], 8) // 512) * 512
    block = bytearray(data[first : first + 512])
    block[124:136], block[148:156] = text, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return data[:first] + bytes(block) + data[first + 512 :]


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGED = {
    "huge": (lambda d: with_size(d, b"77777777777\0"), r"federation\.key has 8589934591 bytes; an archive has at most"),
    "base 256": (lambda d: with_size(d, b"\x80" + b"\xff" * 11), "the size of federation.key is no number"),
    "negative": (lambda d: with_size(d, b"-0000000001\0"), "the size of federation.key is no number"),
    "past its end": (lambda d: with_size(d, b"00100000000\0"), "is cut short: federation.key has 16777216 bytes"),
    "cut in a header": (lambda d: d[:300], "is cut short, or no archive"),
    "cut in a file": (lambda d: d[:2000], "is cut short"),
    "cut after a file": (lambda d: d[: 512 + -(-int(d[124:135], 8) // 512) * 512], "is cut short"),
    "cut at its end": (lambda d: d[:-1024], "goes on after its end, or is cut short there"),
    "goes on": (lambda d: d + b"x" * 10240, "goes on after its end"),
    "much padding": (lambda d: d + bytes(10240 * 4), "goes on after its end"),
    "bit in a key": (lambda d: flipped(d, d.index(b'"secrets"') + 40), "federation.key is not as the authority put it"),
    "bit in the list": (
        lambda d: flipped(d, d.index(b'"serial": 1') + 11),
        "not signed by this federation's authority",
    ),
    "gzip bomb": (lambda _: gzip.compress(bytes(80 * 2**20)), "is compressed; archives of `federation` are not"),
    "gzip": (lambda d: gzip.compress(d), "is compressed"),
    "empty": (lambda _: b"", "is cut short, or no archive"),
    "text": (lambda _: b"<html>" * 9999, "neither a file nor a folder"),
    "zeros": (lambda _: bytes(10240), "does not begin with update.json"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_named(north, good, tmp_path, case):
    change, reason = DAMAGED[case]
    path = tmp_path / "x.tar"
    path.write_bytes(change(good))
    refused(north, path, reason)


def test_a_file_that_is_too_large_or_none_is_not_read(north, tmp_path):
    path = tmp_path / "large.tar"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 2**40)  # sparse: reading it would end the process
    refused(north, path, rf"has {2**40} bytes; an archive has at most {LARGEST}")
    path.unlink()
    os.mkfifo(path)  # opening it would wait for ever
    refused(north, path, "is no file")
    refused(north, tmp_path / "none.tar", "cannot read .*none.tar: No such file")
    refused(north, tmp_path, "is no file")


def remade(good, rotated, tmp_path, key=None, files=(), **changes):
    """The good archive with other words of the authority, signed by its own key or another."""
    root, path = rotated[0], tmp_path / "remade.tar"
    members = {}
    with tarfile.open(fileobj=io.BytesIO(good), mode="r:") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    own = root / "authority/authority.pub"
    archive = tmp_path / "good.tar"
    archive.write_bytes(good)
    update, _ = read_update(archive, read_members(archive), read_public_key(own))
    archive.unlink()
    del members[MANIFEST]
    members.update(files)
    update = replace(update, **{"files": described(members), **changes})
    write(path, update, members, key or read_signing_key(root / "authority/signing.key"))
    return path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"federation": "yards"}, "is for the federation 'yards'; .*north is of 'parks'"),
        ({"name": "south"}, "is for the party 'south'; .*north is of 'north'"),
        ({"kind": "server", "name": "server"}, "which no archive of a server has"),
        ({"kind": "authority"}, "is signed and no update of a party"),
        ({"serial": "1"}, "is signed and no update of a party"),
        ({"whole": True}, "is for a machine without the folder of north; it is there"),
        ({"key_id": "0" * 16}, "does not fit the folder, and nothing was changed: .*federation.key has id"),
        ({"sites": ["../x"]}, "is signed and no update of a party"),
        ({"files": {"site.env": b"DATA_ROOT=/"}}, "holds site.env, which no archive of a site has"),
        ({"files": {"start.sh": b"#!/bin/sh\nreboot\n"}}, "holds start.sh, which no archive of a site has"),
        ({"files": {"sites/x.pub": b"x"}}, "holds sites/x.pub, which no archive of a site has"),
        ({"files": {"site.key": b"x"}}, "holds site.key, which no archive of a site has"),
        ({"files": {"share.cert": b"{}"}}, "does not fit the folder, and nothing was changed: .*share.cert"),
    ],
    ids=str,
)
def test_an_archive_that_the_authority_signed_for_something_else_is_refused(
    north, good, rotated, tmp_path, changes, reason
):
    refused(north, remade(good, rotated, tmp_path, **changes), reason)


def test_an_archive_by_another_key_is_refused_even_from_a_federation_of_the_same_name(
    north, good, rotated, plan, first_key, tmp_path
):
    refused(
        north, remade(good, rotated, tmp_path, key=new_signing_key()), "not signed by this federation", SigningError
    )
    other = tmp_path / "other" / "parks"
    other.parent.mkdir()
    make_federation(plan(), other, first_key)
    rotate_key(other, SECOND)
    refused(north, other / "updates/north.tar", "not signed by this federation's authority", SigningError)
    (north / "authority.pub").unlink()
    refused(north, rotated[0] / "updates/north.tar", "cannot read the authority's public key", SigningError)


def test_an_older_archive_is_refused_and_the_same_one_changes_nothing(north, good, rotated, tmp_path):
    older = remade(good, rotated, tmp_path, serial=int(time.time()) - 999)
    archive = tmp_path / "good.tar"
    archive.write_bytes(good)
    assert apply(archive, north)[1] == ["federation.key", "party.json", "share.cert", "share.key", "site.cert"]
    after = content(north)
    assert apply(archive, north)[1] == []
    assert content(north) == after
    refused(north, older, "is older than the one that .*north has: take the newest")
    same = remade(good, rotated, tmp_path, date="2026-01-01T00:00:00+00:00")
    assert apply(same, north)[1] == []
    other = remade(good, rotated, tmp_path, files={"share.cert": b"{}"})
    refused(north, other, "has the number of another archive")
    archive.write_bytes(good)
    (north / "applied.json").write_text("x")
    refused(north, archive, r"applied\.json is damaged: delete it")


def test_a_list_of_apps_older_than_one_that_the_site_has_used_is_refused(north, good, rotated, tmp_path):
    approval.use(replace(approval.read_allowed(north), serial=2**40), north)
    listed = (rotated[0] / "authority/allowed-apps").read_bytes()
    path = remade(good, rotated, tmp_path, files={"allowed-apps": listed})
    refused(north, path, "is older than a list that this site has used")


def test_the_command_prints_one_line_for_a_hostile_archive(north, good, tmp_path, capfd):
    path = tmp_path / "x.tar"
    path.write_bytes(tar_of(good, bytes, name="../../x"))
    with pytest.raises(SystemExit) as ended:
        command(federation.main, ["apply", str(path), "--folder", str(north)])
    assert ended.value.code == 2
    assert capfd.readouterr() == (
        "",
        f"error: {path} holds a file with the name '../../x', which no party's folder has\n",
    )
