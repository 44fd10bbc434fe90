"""Signatures of the authority: one document, one purpose, one key."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from strategies import signing
from strategies.signing import SigningError

PURPOSE = "allowed-apps/1"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEY = signing.new_signing_key()


@pytest.fixture
def pair(tmp_path):
    signing.write_signing_key(KEY, tmp_path / "signing.key")
    (tmp_path / "authority.pub").write_bytes(signing.public_pem(KEY))
    return tmp_path / "signing.key", tmp_path / "authority.pub"


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=3))
def test_what_was_signed_is_read_back_whatever_its_order(body):
    text = signing.signed_text(body, PURPOSE, KEY)
    assert signing.verified_body(text, PURPOSE, KEY.public_key(), "x") == body
    turned = dict(reversed(list(body.items())))
    assert signing.is_signed(turned, PURPOSE, signing.signature(body, PURPOSE, KEY), KEY.public_key())


def test_the_signature_is_ed25519_over_purpose_and_canonical_object(pair):
    """Bytes written out by hand: domain, length and name of the purpose, sorted keys without blanks."""
    expected = b'fed-vehicle-reid signed document 1\0\0\0\0\x03x/1{"a":"\\u00e9","b":[1,null]}'
    signed = base64.b64decode(signing.signature({"b": [1, None], "a": "é"}, "x/1", KEY))
    KEY.public_key().verify(signed, expected)
    assert signing.read_signing_key(pair[0]).sign(expected) == KEY.sign(expected)  # Ed25519 has no chance in it


def changed(text, **values):
    return json.dumps({**json.loads(text), **values})


GOOD = signing.signed_text({"serial": 7}, PURPOSE, KEY)
OTHER = signing.new_signing_key()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (changed(GOOD, body={"serial": 8}), "not signed by this federation's authority"),
        (signing.signed_text({"serial": 7}, PURPOSE, OTHER), "not signed by this federation's authority"),
        (signing.signed_text({"serial": 7}, "site-name/1", KEY), "was signed as 'site-name/1' and not as"),
        (changed(signing.signed_text({"serial": 7}, "site-name/1", KEY), purpose=PURPOSE), "not signed by this"),
        (changed(GOOD, signature=""), "not signed by this"),
        (changed(GOOD, signature="é"), "not signed by this"),
        (changed(GOOD, signature=None), "no signed document"),
        (changed(GOOD, more=1), "no signed document"),
        (GOOD.replace('"serial": 7', '"serial": 7, "serial": 7'), "no signed document"),
        (GOOD[:-5], "no signed document"),
        ("[]", "no signed document"),
        ("[" * 200_000, "no signed document"),
        ("", "no signed document"),
        ('{"purpose": 1, "body": {}, "signature": ""}', "no signed document"),
        (" " * 2**21 + GOOD, "longer than"),
    ],
)
def test_what_the_authority_did_not_sign_for_this_is_refused_by_name(pair, tmp_path, text, reason):
    path = tmp_path / "allowed-apps"
    path.write_text(text)
    with pytest.raises(SigningError, match=reason) as refused:
        signing.read_signed(path, PURPOSE, pair[1])
    assert str(path) in str(refused.value)


def test_key_files_that_cannot_be_used_are_named(pair, tmp_path):
    private, _ = pair
    assert private.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        signing.write_signing_key(OTHER, private)
    assert signing.read_signing_key(private).private_bytes_raw() == KEY.private_bytes_raw()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["authority.pub", "signing.key"]
    private.chmod(0o640)
    with pytest.raises(SigningError, match=r"signing\.key can be read by others: chmod 600"):
        signing.read_signing_key(private)
    private.chmod(0o600)
    private.write_bytes(b"x")
    for path, read in ((private, signing.read_signing_key), (tmp_path / "none", signing.read_signing_key)):
        with pytest.raises(SigningError, match=str(path)):
            read(path)
    for path in (private, tmp_path / "none"):
        with pytest.raises(SigningError, match=str(path)):
            signing.read_public_key(path)


def test_keys_of_a_curve_that_nobody_here_knows_are_named(pair):
    """Secp112r1: the last byte of the curve's number in a key of secp384r1."""
    private, public = pair
    key = ec.generate_private_key(ec.SECP384R1())
    known, unknown = bytes.fromhex("06052b81040022"), bytes.fromhex("06052b81040006")
    forms = {
        private: key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        public: key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    }
    for path, read in ((private, signing.read_signing_key), (public, signing.read_public_key)):
        kind = "PRIVATE KEY" if path == private else "PUBLIC KEY"
        body = base64.encodebytes(forms[path].replace(known, unknown)).decode()
        path.write_text(f"-----BEGIN {kind}-----\n{body}-----END {kind}-----\n")
        with pytest.raises(SigningError, match=f"{path} is of another kind: Curve"):
            read(path)
