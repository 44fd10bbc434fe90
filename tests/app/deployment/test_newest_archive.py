"""The newest archive of a party is enough, also after the authority deleted its copies of the parties' folders."""

import shutil
import tarfile
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.deployment.applying import apply
from app.deployment.parties import DeploymentError, read_party
from app.deployment.receiving import receive
from app.deployment.renewal import give_access, renew_server, renew_share_keys, rotate_key
from app.deployment.setup import make_federation
from app.deployment.verify import problems
from strategies.ciphers.keys import FederationKey
from strategies.signing import fingerprint, read_public_key

SECOND = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")


def taken_away(root, name):
    """A party's folder on its machine, and none at the authority."""
    own = root / ("sites" if name not in ("server", "operator") else "") / name
    return shutil.move(own, root.parent / f"at-{name}")


def names_in(archive):
    with tarfile.open(archive) as opened:
        return set(opened.getnames())


def test_a_servers_new_key_is_in_the_archive_after_it_too(root):
    old = (root / "server/server.key").read_bytes()
    at_server = shutil.copytree(root / "server", root.parent / "at-server")
    renew_server(root)
    renewed = (root / "server/server.key").read_bytes()
    shutil.rmtree(root / "server")
    give_access(root, 8444)
    assert names_in(root / "updates/server.tar") == {"update.json", "control.conf", "server.crt", "server.key"}
    apply(root / "updates/server.tar", at_server)
    key = (at_server / "server.key").read_bytes()
    assert key == renewed != old
    certificate = x509.load_pem_x509_certificate((at_server / "server.crt").read_bytes())
    assert certificate.public_key() == load_pem_private_key(key, None).public_key()
    assert problems(at_server) == []
    shutil.rmtree(root / "server")
    give_access(root, 8445)  # and in every one after that
    assert {"server.crt", "server.key"} < names_in(root / "updates/server.tar")


def test_a_sites_new_share_key_is_in_the_archive_after_it_too(root):
    at_north = taken_away(root, "north")
    rotate_key(root, SECOND)
    made = (root / "sites/north/share.key").read_bytes()
    shutil.rmtree(root / "sites")
    renew_share_keys(root)
    apply(root / "updates/north.tar", at_north)
    assert (at_north / "share.key").read_bytes() == made
    assert problems(at_north) == []
    shutil.rmtree(root / "updates")
    with pytest.raises(DeploymentError, match=r"north\.tar is needed for share\.key.* delete .*updates\.j"):
        renew_share_keys(root, time.time() - 60)
    assert not (root / "updates/north.tar").exists()
    (root / "authority/updates.json").unlink()
    renew_share_keys(root, time.time() - 120)  # another text within the same second
    assert names_in(root / "updates/north.tar") == {"update.json", "share.cert"}


def test_an_operator_elsewhere_keeps_the_servers_paths_and_a_server_elsewhere_is_refused(plan, first_key, tmp_path):
    root, place, server = tmp_path / "parks", tmp_path / "project", tmp_path / "server-project"
    place.mkdir()
    make_federation(plan(install=server, operator_port=8444), root, first_key)
    said = fingerprint(read_public_key(root / "authority/authority.pub"))
    folder = receive(root / "first/operator.tar", place, said, {})[1]
    assert read_party(folder).install == str(server)
    with pytest.raises(DeploymentError, match=r"put the project in .*server-project"):
        receive(root / "first/server.tar", place, said, {})
    assert [path.name for path in place.iterdir()] == ["parks-operator"]
