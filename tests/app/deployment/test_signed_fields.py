"""Fields that the authority's archives and `party.json` bring: none reaches a script, a unit or a path as code."""

import json
import shutil
import subprocess
from dataclasses import replace

import pytest

from app.deployment.applying import apply
from app.deployment.archives import described, read_members, read_update, write
from app.deployment.parties import DeploymentError, read_party
from app.deployment.programs import write_programs
from app.deployment.receiving import receive
from app.deployment.renewal import rotate_key
from app.deployment.setup import make_federation
from strategies.ciphers.keys import FederationKey
from strategies.signing import fingerprint, read_public_key, read_signing_key

SECOND = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")
KEY_ID = "x\"'; touch PWNED; '"
UNIT = "north\nUser=root"
FIELDS = {
    "federation": ("../../outside/parks", "parks\n", "", "Parks", "a" * 32, 7, None, ["parks"], "parks/x", "$(reboot)"),
    "name": (UNIT, "../north", "north;reboot", "", 7, None, True, {"a": 1}, "operator", "server", "authority"),
    "key_id": (KEY_ID, "0" * 15, "0" * 16 + "\n", "A" * 16, "", 7, None, ["0" * 16], "٠" * 16),
}
OF_ARCHIVE = {
    **FIELDS,
    "kind": ("authority", "site ", "", 7, None, ["site"]),
    "control_port": (-1, 65536, True, "8444", "8444; reboot", None, 8444.0),
    "serial": (0, -1, True, "7", None, 7.5, 2**70),
    "date": ("another", "2026-01-01T00:00:00+00:00\nx", "\x1b[31m", "", 7, None),
    "sites": ("north", ["north"], ["../x"], [7], 7, None),
    "whole": ("yes", 1, None),
    "files": ([], None, {"share.cert": [1]}, {"share.cert": ["1", "x"]}, {"share.cert": [True, "x"]}, {"a": [1, 7]}),
    "x\ny": (1,),
}
OF_PARTY = {
    **FIELDS,
    "kind": ("owner", 7, None, ["site"], "server", "authority"),
    "host": ("h;touch x;#", "h\nx", "", "-h", "h h", "$(reboot)", '"', 7, None, ["h"]),
    "port": (0, 65536, True, "8443", "8443; reboot", None, 8443.0),
    "install": ("/opt/x y", "opt", "/opt/x\nUser=root", "/opt/$(reboot)", "/opt/'", 7, None),
    "control_port": OF_ARCHIVE["control_port"],
    "cipher": ('kahe", "plain', "none", "", 7, None, ["kahe"]),
    "ckks_preset": ("compact ", "compact; reboot", "", 7, None),
    "key_holder": ('client"\nciphers = ["plain"]', "nobody", "cloud", "", 7, None),
    "x\ny": (1,),
}
CASES = [(field, value) for field, values in OF_ARCHIVE.items() for value in values]
PARTY_CASES = [(field, value) for field, values in OF_PARTY.items() for value in values]


@pytest.fixture(scope="module")
def rotated(plan, first_key, tmp_path_factory):
    """A federation after a rotation, with the folders of its parties from before."""
    base = tmp_path_factory.mktemp("fields")
    make_federation(plan(operator_port=8444), base / "parks", first_key)
    shutil.copytree(base / "parks", base / "before")
    rotate_key(base / "parks", SECOND)
    return base / "parks"


def forged(root, place, monkeypatch, changes, archive, **files):
    """An archive with other words of the authority, signed by its own key."""
    source = root / archive
    update, content = read_update(source, read_members(source), read_public_key(root / "authority/authority.pub"))
    content |= {name.replace("_", "."): data for name, data in files.items()}
    update = replace(update, files=described(content))
    with monkeypatch.context() as patch:
        patch.setattr("app.deployment.archives.asdict", lambda said: {**vars(said), **changes})
        write(place, update, content, read_signing_key(root / "authority/signing.key"))
    return place


def one_line(error):
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("field", "value"), CASES, ids=repr)
def test_a_field_of_an_archive_that_no_party_has_changes_nothing(rotated, tmp_path, monkeypatch, field, value):
    folder = shutil.copytree(rotated.parent / "before/sites/north", tmp_path / "north")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    archive = forged(rotated, tmp_path / "x.tar", monkeypatch, {field: value}, "updates/north.tar")
    with pytest.raises(DeploymentError, match=r"x\.tar is signed and no update of a party: ") as raised:
        apply(archive, folder)
    assert one_line(raised)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(("field", "value"), PARTY_CASES, ids=repr)
def test_a_party_file_with_a_field_that_no_party_has_is_damaged(rotated, tmp_path, field, value):
    folder = shutil.copytree(rotated / "sites/north", tmp_path / "north")
    (folder / "start.sh").unlink()
    said = json.loads((folder / "party.json").read_text())
    (folder / "party.json").write_text(json.dumps({**said, field: value}))
    for use in (read_party, write_programs):
        with pytest.raises(DeploymentError, match=r"party\.json is damaged \(") as raised:
            use(folder)
        assert one_line(raised)
    assert not (folder / "start.sh").exists()


def test_no_command_of_a_signed_key_id_is_run_by_the_operators_scripts(rotated, tmp_path, monkeypatch):
    """As a shell would: the reader of archives is the only thing between the words and it."""
    folder = shutil.copytree(rotated.parent / "before/operator", tmp_path / "operator")
    archive = forged(rotated, tmp_path / "x.tar", monkeypatch, {"key_id": KEY_ID}, "updates/operator.tar")
    with pytest.raises(DeploymentError, match="no update of a party: key_id"):
        apply(archive, folder)
    subprocess.run(["/bin/sh", str(folder / "run.sh")], cwd=folder, capture_output=True, check=False)
    assert not list(tmp_path.rglob("PWNED"))


@pytest.mark.parametrize(
    ("changes", "party", "reason"),
    [
        ({"federation": "../../outside/parks"}, {}, "federation"),
        ({"name": UNIT}, {}, "name"),
        ({"name": "server"}, {"name": "server"}, "name 'server' of a party of the kind 'site'"),
        ({}, {"host": "h;touch x;#"}, "host"),
        ({}, {"cipher": 'kahe", "plain'}, "cipher"),
        ({}, {"install": "/opt/x\nUser=root"}, "install"),
        ({}, {"federation": "../parks"}, "federation"),
    ],
    ids=repr,
)
def test_a_first_archive_with_such_a_field_makes_no_folder_anywhere(
    rotated, tmp_path, monkeypatch, changes, party, reason
):
    place = tmp_path / "a/b/project"
    place.mkdir(parents=True)
    (tmp_path / "a/outside").mkdir()
    said = json.loads((rotated / "sites/north/party.json").read_text())
    files = {"party_json": json.dumps({**said, **party}).encode()}
    archive = forged(rotated, tmp_path / "x.tar", monkeypatch, changes, "first/north.tar", **files)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DeploymentError, match=reason) as raised:
        receive(archive, place, fingerprint(read_public_key(rotated / "authority/authority.pub")), {})
    assert one_line(raised)
    assert sorted(tmp_path.rglob("*")) == before


def test_parties_of_every_kind_and_address_are_read_as_written(plan, first_key, tmp_path):
    for number, changes in enumerate(
        (
            {"host": "127.0.0.1"},
            {"host": "2001:db8::1", "operator_port": 8444},
            {"host": "localhost", "cipher": "plain"},
            {"cipher": "ckks", "ckks_preset": "flare", "key_holder": "cloud", "name": "a-1"},
        )
    ):
        root = tmp_path / str(number)
        make_federation(plan(**changes), root, first_key, cloud=SECOND if "ckks_preset" in changes else None)
        for kind in ("authority", "server", "operator", "sites/north"):
            party = read_party(root / kind)
            assert (party.kind, party.host) == (kind.replace("sites/north", "site"), changes.get("host", party.host))
            assert party.cipher == changes.get("cipher", "kahe")
