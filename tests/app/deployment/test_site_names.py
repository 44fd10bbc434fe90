"""Names of sites bound to their keys: certificates and proofs of replies."""

import base64
import json
import shutil

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

from app.deployment.certificates import new_site_key
from app.deployment.renewal import rotate_key
from app.deployment.setup import add_site, remove_site
from app.deployment.site_names import SiteIdentity, SiteNames, authority_text, site_certificate
from app.deployment.verify import problems
from app.federation.refusals import IdentityError
from app.settings.checks import SettingsError
from strategies import messages as m
from strategies.ciphers.keys import FederationKey, read_key
from strategies.nodes import RefusedError
from strategies.proofs import reply_statement
from strategies.signing import new_signing_key, read_public_key, read_signing_key, signed_text


def identity(root, site):
    folder = root / "sites" / site
    files = {"key": "site.key", "certificate": "site.cert", "authority": "authority.pub"}
    key_id = read_key(folder / "federation.key").key_id
    return SiteIdentity.read(site, **{part: folder / name for part, name in files.items()}, key_id=key_id)


def names(root, key_id=None):
    authority = authority_text(read_public_key(root / "authority/authority.pub"))
    return SiteNames.of(authority, key_id or read_key(root / "authority/federation.key").key_id)


def test_a_certificate_holds_name_key_and_federation_key(made):
    """Checked against the files themselves, and the signature by hand: purpose with its length, then sorted JSON."""
    document = json.loads((made / "sites/north/site.cert").read_text())
    body = document["body"]
    assert body == {
        "federation": "parks",
        "site": "north",
        "public_key": " ".join((made / "sites/north/site.pub").read_text().split()[:2]),
        "key_id": read_key(made / "authority/federation.key").key_id,
    }
    purpose = b"site-name/1"
    signed = b"fed-vehicle-reid signed document 1\0" + len(purpose).to_bytes(4, "big") + purpose
    signed += json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    read_public_key(made / "authority/authority.pub").verify(base64.b64decode(document["signature"]), signed)
    assert (made / "operator/sites/north.cert").read_bytes() == (made / "sites/north/site.cert").read_bytes()


def test_a_site_proves_its_name_with_its_own_key(made):
    proof = identity(made, "north").proof(b"statement")
    assert names(made).proven(proof["certificate"], proof["signature"], b"statement") == "north"
    public = serialization.load_ssh_public_key((made / "sites/north/site.pub").read_bytes())
    public.verify(proof["signature"], b"statement", ec.ECDSA(hashes.SHA384()))  # by hand


def forged(root, **changes):
    """A certificate of south signed by the authority, with changes."""
    authority = read_signing_key(root / "authority/signing.key")
    body = json.loads((root / "sites/south/site.cert").read_text())["body"]
    return signed_text({**body, **changes}, "site-name/1", authority)


def by_another(root):
    public = " ".join((root / "sites/south/site.pub").read_text().split()[:2])
    return site_certificate("parks", "south", public, names(root).key_id, new_signing_key())


def renamed(root):
    return (root / "sites/south/site.cert").read_text().replace('"south"', '"north"')


def of_another_purpose(root):
    body = json.loads((root / "sites/south/site.cert").read_text())["body"]
    return signed_text(body, "allowed-apps/1", read_signing_key(root / "authority/signing.key"))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (by_another, "is not signed by this federation's authority"),
        (renamed, "is not signed by this federation's authority"),
        (of_another_purpose, "was signed as 'allowed-apps/1'"),
        (lambda _: "{}", "no signed document"),
        (lambda _: "", "no signed document"),
        (lambda root: forged(root, key_id="0" * 16), "'south' is for the federation key 0000000000000000"),
        (lambda root: forged(root, site=""), "other fields"),
        (lambda root: forged(root, site=7), "other fields"),
        (lambda root: forged(root, more="x"), "other fields"),
        (lambda root: forged(root, public_key="ecdsa-sha2-nistp384 AAAA"), "holds no public key"),
        (lambda root: (root / "sites/north/site.cert").read_text(), "not signed by the key of 'north'"),
    ],
)
def test_a_certificate_that_is_not_ones_own_is_refused(made, make, reason):
    """Each is shown with a signature of south, whose key the attacker has."""
    signature = identity(made, "south").proof(b"statement")["signature"]
    with pytest.raises(RefusedError, match=reason):
        names(made).proven(make(made), signature, b"statement")


def test_a_key_of_another_kind_is_refused(made):
    other = ec.generate_private_key(ec.SECP256R1())
    public = other.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    certificate = forged(made, public_key=public.decode())
    with pytest.raises(RefusedError, match="key of another kind"):
        names(made).proven(certificate, other.sign(b"x", ec.ECDSA(hashes.SHA384())), b"x")


@pytest.mark.parametrize("signature", [b"", b"x" * 96, b"\0" * 200])
def test_another_signature_is_refused(made, signature):
    proof = identity(made, "north").proof(b"statement")
    for wrong in (signature, identity(made, "south").proof(b"statement")["signature"]):
        with pytest.raises(RefusedError, match="not signed by the key of 'north'"):
            names(made).proven(proof["certificate"], wrong, b"statement")
    with pytest.raises(RefusedError):
        names(made).proven(proof["certificate"], proof["signature"], b"another")


def reply(update=b"update", measures=None, **info):
    return RecordDict(
        {
            m.UPDATE: m.bytes_record(m.UPDATE, update),
            m.INFO: ConfigRecord({m.CLIENT: "north", m.HELD_ROUNDS: [1, 2], **info}),
            m.MEASURES: MetricRecord(measures or {"loss": 0.5}),
        }
    )


def test_a_statement_covers_run_node_challenge_kind_and_everything_in_the_reply():
    """Any change gives other bytes; the proof itself is left out, and the order of records does not matter."""
    asked = {m.RUN_KEY: "a" * 16, m.CHALLENGE: "c1"}
    base = reply_statement(7, "train", ConfigRecord(asked), reply())
    mixed = reply()
    proven = RecordDict({name: mixed[name] for name in reversed(list(mixed))})
    proven[m.PROOF] = ConfigRecord({m.SIGNATURE: b"1"})
    assert reply_statement(7, "train", ConfigRecord(asked), proven) == base
    other_array = reply()
    other_array["more"] = ArrayRecord({"more": Array(dtype="uint8", shape=(1,), stype="x", data=b"1")})
    changed = [
        reply_statement(8, "train", ConfigRecord(asked), reply()),
        reply_statement(7, "evaluate", ConfigRecord(asked), reply()),
        reply_statement(7, "train", ConfigRecord({**asked, m.CHALLENGE: "c2"}), reply()),
        reply_statement(7, "train", ConfigRecord({**asked, m.RUN_KEY: "b" * 16}), reply()),
        reply_statement(7, "train", ConfigRecord(asked), reply(b"updatf")),
        reply_statement(7, "train", ConfigRecord(asked), reply(measures={"loss": 0.25})),
        reply_statement(7, "train", ConfigRecord(asked), reply(**{m.CLIENT: "south"})),
        reply_statement(7, "train", ConfigRecord(asked), reply(**{m.HELD_ROUNDS: [1, 3]})),
        reply_statement(7, "train", ConfigRecord(asked), reply(more="x")),
        reply_statement(7, "train", ConfigRecord(asked), other_array),
    ]
    assert len({base, *changed}) == 11


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("site.cert", lambda path, _: path.unlink(), "No such file"),
        ("site.cert", lambda path, _: path.write_text("x"), "no signed document"),
        ("site.cert", lambda path, root: shutil.copy(root / "sites/south/site.cert", path), "key of 'south'"),
        ("site.key", lambda path, _: path.write_bytes(new_site_key("x")[0]), "not signed by the key of 'north'"),
        ("site.key", lambda path, _: path.write_text("x"), "site.cert"),
        ("authority.pub", lambda path, _: path.write_text("x"), "authority.pub is damaged"),
    ],
)
def test_a_site_whose_own_files_do_not_fit_takes_no_part(root, caplog, file, change, reason):
    change(root / "sites/north" / file, root)
    with pytest.raises(IdentityError) as error:
        identity(root, "north")
    assert str(error.value) == "north: it cannot prove its name; the site's own log says why"
    assert reason in caplog.text


def test_a_site_takes_part_under_its_own_authority_alone(made):
    own = authority_text(read_public_key(made / "authority/authority.pub"))
    north = identity(made, "north")
    north.check_run(own)
    with pytest.raises(IdentityError, match=r"north: federation\.authority: the run has another authority"):
        north.check_run(authority_text(new_signing_key().public_key()))
    with pytest.raises(IdentityError, match="the run has no authority"):
        north.check_run("")


@pytest.mark.parametrize(("authority", "key_id"), [("xy", "k"), ("ab", "k"), ("ab" * 33, "k"), ("ab" * 32, "")])
def test_a_server_needs_a_public_key_and_the_federation_key(authority, key_id):
    with pytest.raises(SettingsError, match=r"federation\.authority"):
        SiteNames.of(authority, key_id)


def test_certificates_of_removed_sites_end_with_the_next_key(root):
    """What south knew when it left is of no use after the rotation that its leaving asks for; the others go on."""
    add_site(root, "east")
    left = identity(root, "south").proof(b"s")
    remove_site(root, "south")
    assert not (root / "operator/sites/south.cert").exists()
    shutil.move(root / "sites/east", root / "handed-over")  # handed over
    second = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")
    changed = rotate_key(root, second)
    certificates = {path.name for path in changed if not path.name.startswith("share.") and path.suffix != ".share"}
    assert certificates == {"federation.key", "site.cert", "north.cert", "east.cert"}
    with pytest.raises(RefusedError, match="the certificate of 'south' is for the federation key"):
        names(root).proven(left["certificate"], left["signature"], b"s")
    proof = identity(root, "north").proof(b"s")
    assert names(root).proven(proof["certificate"], proof["signature"], b"s") == "north"
    shutil.copytree(root / "sites/east", root / "handed-over", dirs_exist_ok=True)  # its new share key, and the others
    shutil.rmtree(root / "sites/east")
    shutil.move(root / "handed-over", root / "sites/east")
    shutil.copy(root / "authority/federation.key", root / "sites/east/federation.key")
    shutil.copy(root / "operator/sites/east.cert", root / "sites/east/site.cert")
    proof = identity(root, "east").proof(b"s")
    assert names(root).proven(proof["certificate"], proof["signature"], b"s") == "east"


def test_a_folder_with_another_certificate_is_named(root):
    path = root / "sites/north/site.cert"
    shutil.copy(root / "sites/south/site.cert", path)
    assert problems(root / "sites/north") == [f"{path} is of 'south' or for another key than site.pub"]
    path.write_text(path.read_text().replace("south", "north"))
    [sentence] = problems(root / "sites/north")
    assert sentence.startswith(f"{path}: its certificate is not signed")
    path.unlink()
    [sentence] = problems(root / "sites/north")
    assert sentence.startswith(f"{path} is missing: python -m scripts.federation approve")


def test_a_statement_is_the_same_after_flowers_transport():
    """Through the bytes that Flower sends: records come back in another order and with other containers."""
    asked = ConfigRecord({m.RUN_KEY: "a" * 16, m.CHALLENGE: "c1"})
    whole = reply(b"\x00\xff" * 999, {"loss": 1e-300, "seconds": 3.0, "steps": 3, "list": [0.1, 2.0]}, numbers=[1.5])
    sent = recorddict_to_proto(whole).SerializeToString(deterministic=False)
    arrived = recorddict_from_proto(type(recorddict_to_proto(whole)).FromString(sent))
    assert reply_statement(7, "train", asked, arrived) == reply_statement(7, "train", asked, whole)
