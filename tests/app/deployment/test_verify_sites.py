"""Files of sites at the operator that were damaged, exchanged or lost: `verify` names each, no command uses them."""

import shutil

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from kills import content
from party_folders import run

from app.deployment.applying import apply
from app.deployment.certificates import CertificateError, new_site_key
from app.deployment.renewal import rotate_key
from app.deployment.setup import add_site
from app.deployment.verify import problems
from scripts import federation
from strategies.ciphers.keys import FederationKey

SECOND = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")


def openssh(key):
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def text_of(path):
    return path.read_bytes()


DAMAGED = {
    "empty": lambda _: b"",
    "cut": lambda path: text_of(path)[:80],
    "bytes": lambda _: bytes(range(256)),
    "a letter": lambda path: text_of(path).replace(b"A", b"B", 1),
    "two keys": lambda path: text_of(path) * 2,
    "another kind": lambda _: openssh(ed25519.Ed25519PrivateKey.generate()),
    "another curve": lambda _: openssh(ec.generate_private_key(ec.SECP256R1())),
    "private": lambda _: new_site_key("parks-north")[0],
    "long": lambda path: text_of(path).strip() + b" " * 10**6,
    "blanks before": lambda path: b"  \n" + text_of(path),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_public_key_is_named_with_its_remedy_and_certified_by_no_command(root, how):
    path = root / "operator/sites/north.pub"
    shutil.rmtree(root / "sites/north")  # handed over
    before = path.read_bytes()
    path.write_bytes(DAMAGED[how](path))
    if how == "private":
        path.chmod(0o600)
    said = f"{path} holds no public key of a site: copy site.pub of north to it"
    assert said in problems(root / "operator")
    kept = content(root)
    for change in (lambda: rotate_key(root, SECOND), lambda: add_site(root, "east")):
        with pytest.raises(CertificateError, match=said):
            change()
        assert content(root) == kept
    path.write_bytes(before)
    assert problems(root / "operator") == []
    rotate_key(root, SECOND)


def test_a_key_that_is_missing_or_no_file_is_named(root):
    sites = root / "operator/sites"
    (sites / "north.pub").unlink()
    for name in ("Eve.pub", "north.new.pub", ".pub.pub"):
        (sites / name).write_bytes((sites / "south.pub").read_bytes())
    found = problems(root / "operator")
    assert f"{sites}/north.pub is missing: copy site.pub of north to it" in found
    for name in ("Eve", "north.new", ".pub"):
        assert f"{sites}/{name}.pub is of no site, as none has such a name: delete it" in found
    (sites / "north.pub").mkdir()
    assert f"{sites}/north.pub holds no public key of a site: copy site.pub of north to it" in problems(
        root / "operator"
    )


def test_keys_and_certificates_of_other_sites_are_named(root):
    """The key of another site, under which its own would never connect, and one that nobody certified."""
    sites = root / "operator/sites"
    north, south = sites / "north.pub", sites / "south.pub"
    own = north.read_bytes()
    north.write_bytes(south.read_bytes())
    found = problems(root / "operator")
    assert f"{south} holds the public key of north: copy site.pub of south to it" in found
    remedy = "copy site.pub and site.cert of north to them"
    assert f"{sites}/north.cert is of 'north' or for another key than north.pub: {remedy}" in found
    north.write_bytes(new_site_key("parks-north")[1])
    assert problems(root / "operator") == [
        f"{sites}/north.cert is of 'north' or for another key than north.pub: {remedy}"
    ]
    north.write_bytes(own)
    (sites / "north.cert").write_bytes((sites / "south.cert").read_bytes())
    assert problems(root / "operator") == [
        f"{sites}/north.cert is of 'south' or for another key than north.pub: {remedy}"
    ]
    for damage in (b"", b"\xff\xfe", b"[" * 9999):
        (sites / "north.cert").write_bytes(damage)
        [found] = problems(root / "operator")
        assert found.startswith(f"{sites}/north.cert: ")
        assert found.endswith("python -m scripts.federation approve makes one, at the authority")
    (sites / "north.cert").unlink()
    (sites / "north.cert").mkdir()
    [found] = problems(root / "operator")
    assert found.startswith(f"{sites}/north.cert: ")


def test_a_certificate_that_was_lost_is_named_unless_no_site_has_one(root):
    """A federation from before certificates has none."""
    sites = root / "operator/sites"
    north, south = (sites / f"{name}.cert" for name in ("north", "south"))
    content = north.read_bytes()
    for lost, kept in ((north, south), (south, north)):
        kept.write_bytes((root / f"sites/{kept.stem}/site.cert").read_bytes())
        lost.unlink()
        remedy = "python -m scripts.federation approve makes it, at the authority"
        assert problems(root / "operator") == [f"{lost} is missing: {remedy}"]
    north.unlink()
    assert problems(root / "operator") == []
    north.write_bytes(content)
    assert len(problems(root / "operator")) == 1


def test_a_comment_of_another_name_and_no_comment_are_in_order(root):
    path = root / "operator/sites/north.pub"
    words = path.read_text().split()
    for text in (" ".join(words[:2]), " ".join([*words[:2], "a b c"]) + "\n"):
        path.write_text(text)
        assert problems(root / "operator") == []


def test_a_site_names_its_own_damaged_key(root):
    for damage in (b"\xff\xfe", b"", b"x y z"):
        (root / "sites/north/site.pub").write_bytes(damage)
        assert f"{root}/sites/north/site.pub is not the public half of site.key" in problems(root / "sites/north")


def test_what_the_operator_lacks_is_brought_by_the_newest_archive(root, tmp_path, capsys):
    """`verify` by its command; the archive of a rotation holds certificates and statements, and that of `add-site` the
    new site's key."""
    operator = shutil.copytree(root / "operator", tmp_path / "operator")
    add_site(root, "east")
    apply(root / "updates/operator.tar", operator)
    for end in ("pub", "cert", "share"):
        (operator / f"sites/east.{end}").write_bytes(b"\x00" * 7)
    with pytest.raises(Exception, match="2 problems in"):
        federation.main(["verify", str(operator)])
    assert "east.pub holds no public key of a site" in capsys.readouterr().out
    assert "sites/east.pub" in apply(root / "updates/operator.tar", operator)[1]
    assert run(capsys, "verify", operator)[1]["problems"] == 0
