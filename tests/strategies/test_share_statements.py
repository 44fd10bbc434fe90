"""Statements of the authority about share keys: their form, their signature, and how long they last."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from share_statements import (
    AUTHORITY,
    COHORT,
    KEY_ID,
    NOW,
    OLD_ID,
    OTHER,
    OWN,
    RULES,
    about,
    public,
    texts,
)

from strategies import share_keys, x25519
from strategies.share_keys import (
    ShareKeyError,
    ShareKeyRules,
    ShareKeys,
    Statement,
    new_statement,
    signed_statement,
    verified_keys,
)
from strategies.signing import signed_text

SECONDS = {"day": 86400, "lifetime": share_keys.VALID_DAYS * 86400}


def with_south(text):
    return [*texts("north", "west"), text]


def test_the_signed_bytes_are_these():
    """Written out by hand: domain, purpose with its length, sorted fields without blanks; the file with its lines."""
    document = json.loads(OWN["north"].text)
    body = (
        f'{{"federation":"parks","key_id":"{KEY_ID}","not_after":{1_800_000_000 + 825 * 86400},'
        f'"not_before":{1_800_000_000 - 3600},"share_key":"{public("north").hex()}","site":"north"}}'
    )
    signed = b"fed-vehicle-reid signed document 1\0\0\0\0\x0bshare-key/1" + body.encode()
    AUTHORITY.public_key().verify(base64.b64decode(document["signature"]), signed)
    assert document["purpose"] == "share-key/1"
    assert document["body"] == json.loads(body)
    assert len(OWN["north"].text) < 500


def spaced(text):
    return json.dumps(json.loads(text))


def turned(text):
    document = json.loads(text)
    document["body"] = dict(reversed(document["body"].items()))
    return json.dumps(document, indent=1) + "\n"


def doubled(text):
    return text.replace('"site": "south"', '"site": "west",\n  "site": "south"')


def unpadded_bits(text):
    """Another base64 text of the same signature: 64 bytes leave four unused bits in the last letter."""
    signature = json.loads(text)["signature"]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = letters[letters.index(signature[-3]) + 1]
    changed = signature[:-3] + other + "=="
    assert base64.b64decode(changed, validate=True) == base64.b64decode(signature)
    return text.replace(signature, changed)


def key(number):
    return (number % 2**256).to_bytes(32, "little").hex()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (about(authority=OTHER), "share key of south is not signed by this federation's authority"),
        (OWN["east"].text.replace('"east"', '"south"'), "of south is not signed by this federation's authority"),
        (OWN["south"].text.replace(public("south").hex(), public("east").hex()), "of south is not signed by this"),
        (OWN["east"].text, "a share key of east, which is not in the cohort"),
        (OWN["north"].text, "two statements of the share key of north"),
        (about(share_key=public("north").hex()), "south has the share key of north"),
        (about(federation="other"), "share key of south is of the federation 'other', not 'parks'"),
        (about(key_id=OLD_ID), f"south is for the federation key {OLD_ID} and not {KEY_ID}"),
        (about(not_after=int(NOW)), "south expired on 2027-01-15: the authority renews it"),
        (about(not_before=int(NOW) + 1), "south is valid from 2027-01-15 on, not yet"),
        (about(not_before=int(NOW) + 9, not_after=int(NOW) + 9), "south has no valid dates"),
        (about(not_after=float(NOW) + 9), "south has no valid dates"),
        (about(not_after=True), "south has no valid dates"),
        (about(not_after=2**60), "south has no valid dates"),
        (about(site="so uth"), "names a site that holds more than letters"),
        (about(site=7), "malformed"),
        (about(site=["south"]), "malformed"),
        (about(federation=""), "a federation that has 0 characters"),
        (about(share_key="00"), "south holds no share key"),
        (about(share_key=public("south").hex().upper()), "south holds no share key"),
        (about(key_id="x"), "or no id of a federation key"),
        (about(more=1), "south is not in the form that the authority writes"),
        (signed_text({"site": "south"}, "share-key/1", AUTHORITY), "south is not in the form"),
        (signed_text(json.loads(OWN["south"].text)["body"], "site-name/1", AUTHORITY), "signed as 'site-name/1'"),
        (spaced(OWN["south"].text), "south is not in the form"),
        (turned(OWN["south"].text), "south is not in the form"),
        (unpadded_bits(OWN["south"].text), "south is not in the form"),
        (OWN["south"].text + " ", "south is not in the form"),
        (doubled(OWN["south"].text), "no signed document"),
        (OWN["south"].text[:-9], "no signed document"),
        ("", "no signed document"),
        ("[" * 4000, "no signed document"),
        ("[]", "no signed document"),
        (OWN["south"].text + " " * 4096, "no text of at most 4096 characters"),
        (b"x", "no text of at most 4096 characters"),
        (about(share_key=key(0)), "share key of south is a point of low order"),
        (about(share_key=key(1)), "south is a point of low order"),
        (about(share_key=key(x25519.PRIME - 1)), "south is a point of low order"),
        (about(share_key=key(x25519.PRIME)), "south is not a canonical X25519 key"),
        (about(share_key=key(x25519.PRIME + 1)), "south is not a canonical X25519 key"),
        (about(share_key=key(x25519.PRIME + 9)), "south is not a canonical X25519 key"),
        (about(share_key=key(2**255 + 9)), "south is not a canonical X25519 key"),
        (about(share_key=key(2**256 - 1)), "south is not a canonical X25519 key"),
    ],
    ids=lambda value: str(value)[-40:],  # the texts are long
)
def test_no_other_statement_is_taken(text, reason):
    """Shown in place of that of south, by a server that chooses what the others see."""
    with pytest.raises(ShareKeyError, match=reason):
        verified_keys(RULES, COHORT, with_south(text), NOW)


def test_every_point_of_low_order_is_refused():
    """By X25519 itself: with these keys, and with no other small ones, the secret is zero whatever the own key."""
    own = X25519PrivateKey.generate()

    def is_zero(number):
        try:
            own.exchange(X25519PublicKey.from_public_bytes(number.to_bytes(32, "little")))
        except ValueError:
            return True
        return False

    points = x25519.LOW_ORDER
    assert len(points) == 5
    assert all(is_zero(point) for point in points)
    assert [n for n in range(2000) if is_zero(n)] == [0, 1]
    for point in points:
        with pytest.raises(ShareKeyError, match="low order"):
            Statement("parks", "south", key(point), KEY_ID, 0, 1)
        with pytest.raises(ShareKeyError, match="not usable"):
            OWN["north"].exchange(point.to_bytes(32, "little"))


def test_a_server_that_knows_no_name_of_the_federation_still_asks_for_the_authority():
    rules = ShareKeyRules(AUTHORITY.public_key(), KEY_ID)
    assert rules.statement(about(federation="other"), NOW).federation == "other"
    with pytest.raises(ShareKeyError, match="not signed by this"):
        rules.statement(about(authority=OTHER), NOW)


def test_a_statement_lasts_as_long_as_a_servers_certificate():
    rules = OWN["south"].rules
    for moment in (NOW - 3600, NOW, NOW + SECONDS["lifetime"] - 1):
        assert rules.statement(OWN["south"].text, moment).site == "south"
    for moment, reason in ((NOW - 3601, "not yet"), (NOW + SECONDS["lifetime"], "expired on 2029-04-19")):
        with pytest.raises(ShareKeyError, match=reason):
            rules.statement(OWN["south"].text, moment)


@given(st.integers(0, 449), st.integers(1, 255))
def test_no_changed_byte_passes(place, change):
    text = OWN["south"].text
    place %= len(text)
    altered = text[:place] + chr(ord(text[place]) ^ change) + text[place + 1 :]
    with pytest.raises(ShareKeyError):
        RULES.statement(altered, NOW)


@given(st.text(max_size=300))
def test_no_other_text_is_more_than_refused(text):
    with pytest.raises(ShareKeyError):
        RULES.statement(text, NOW)


def test_signed_texts_of_a_statement_are_the_same_each_time():
    statement = new_statement("parks", "north", public("north"), KEY_ID, NOW)
    assert signed_statement(statement, AUTHORITY) == OWN["north"].text
    assert isinstance(ShareKeys("north", OWN["north"].key, OWN["north"].text, RULES), ShareKeys)
