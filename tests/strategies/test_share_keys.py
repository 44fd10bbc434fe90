"""Share keys of a cohort: taken from the authority's statements, and from nothing that a server says."""

import base64
import hmac
import json
from dataclasses import asdict, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from strategies import share_keys, x25519
from strategies.share_keys import (
    Members,
    ShareKeyError,
    ShareKeyRules,
    ShareKeys,
    Statement,
    new_share_keys,
    new_statement,
    signed_statement,
    verified_keys,
)
from strategies.signing import signed_text

AUTHORITY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([k] * 32)) for k in (91, 92))
KEY_ID, OLD_ID, NOW = "0123456789abcdef", "fedcba9876543210", 1_800_000_000.0
COHORT = ["north", "south", "west"]
OWN = {
    name: new_share_keys(
        "parks", name, KEY_ID, AUTHORITY, now=NOW, key=X25519PrivateKey.from_private_bytes(bytes([k] * 32))
    )
    for k, name in enumerate([*COHORT, "east"], 1)
}
RULES = OWN["north"].rules
SECONDS = {"day": 86400, "lifetime": share_keys.VALID_DAYS * 86400}


def public(name):
    return OWN[name].key.public_key().public_bytes_raw()


def texts(*names):
    return [OWN[name].text for name in names]


def about(authority=AUTHORITY, **changes):
    """A signed statement of south, with changes; made without the checks of `Statement`."""
    body = asdict(new_statement("parks", "south", public("south"), KEY_ID, NOW))
    return signed_text({**body, **changes}, "share-key/1", authority)


def with_south(text):
    return [*texts("north", "west"), text]


def test_the_keys_of_a_cohort_are_those_that_the_authority_signed():
    found = verified_keys(RULES, COHORT, texts("west", "north", "south"), NOW)
    assert dict(found.keys) == {name: public(name) for name in COHORT}
    assert list(found.keys) == COHORT
    assert OWN["south"].members(COHORT, texts(*COHORT), NOW) == found


def test_two_members_share_a_secret_and_no_third_has_it():
    first, second = OWN["north"].exchange(public("south")), OWN["south"].exchange(public("north"))
    assert first == second != OWN["west"].exchange(public("south"))
    assert first == OWN["north"].key.exchange(X25519PublicKey.from_public_bytes(public("south")))


def test_seeds_are_of_a_pair_an_attempt_and_a_cohort():
    """HKDF-SHA256 written out by RFC 5869: extract with a salt of zeros, one block of expansion."""
    members = OWN["north"].members(COHORT, texts(*COHORT), NOW)
    north, south = (OWN[name].seeds(members, b"attempt 1") for name in COHORT[:2])
    assert list(north) == COHORT
    assert north["south"] == south["north"]
    assert len({*north.values(), *south.values()}) == 5
    extracted = hmac.digest(bytes(32), OWN["north"].exchange(public("south")), "sha256")
    about = b"fed-vehicle-reid seed of two share keys 1\0" + json.dumps([members.digest, b"attempt 1".hex()]).encode()
    assert north["south"] == hmac.digest(extracted, about + b'["north", "south"]\x01', "sha256")
    assert OWN["north"].seeds(members, b"attempt 2")["south"] != north["south"]
    others = OWN["north"].members(["north", "south", "east"], texts("north", "south", "east"), NOW)
    assert OWN["north"].seeds(others, b"attempt 1")["south"] != north["south"]


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


def test_a_server_invents_no_member():
    """Sybil: a cohort of one victim and of names whose keys the server made itself."""
    sybil = new_share_keys("parks", "ghost", KEY_ID, OTHER, now=NOW)
    with pytest.raises(ShareKeyError, match="ghost is not signed by this federation's authority"):
        OWN["north"].members(["north", "ghost"], [OWN["north"].text, sybil.text], NOW)
    with pytest.raises(ShareKeyError, match="no statement of the authority about the share key of ghost"):
        OWN["north"].members(["north", "ghost"], texts("north"), NOW)
    with pytest.raises(ShareKeyError, match="share key of south, which is not in the cohort"):
        OWN["north"].members(["north", "ghost"], texts("north", "south"), NOW)


def test_a_server_exchanges_no_two_keys():
    """The names are signed with the keys, so that no order of the statements means another one."""
    found = [OWN["north"].members(COHORT, texts(*order), NOW) for order in (COHORT, reversed(COHORT))]
    assert found[0] == found[1]
    south, west = OWN["south"].text, OWN["west"].text
    swapped = [
        south.replace(public("south").hex(), public("west").hex()),
        west.replace(public("west").hex(), public("south").hex()),
    ]
    with pytest.raises(ShareKeyError, match="south is not signed"):
        OWN["north"].members(COHORT, [OWN["north"].text, *swapped], NOW)


def test_one_name_is_one_member_with_one_key():
    with pytest.raises(ShareKeyError, match="south stands twice in the cohort"):
        verified_keys(RULES, ["north", "south", "south"], texts("north", "south"), NOW)
    with pytest.raises(ShareKeyError, match="4 statements of share keys for a cohort of 3"):
        verified_keys(RULES, COHORT, texts("north", "north", "south", "west"), NOW)


def test_a_client_that_is_shown_another_key_of_its_own_refuses():
    """The authority can sign another one, for example after a rotation that did not reach this site."""
    fresh = new_share_keys("parks", "north", KEY_ID, AUTHORITY, now=NOW).text
    with pytest.raises(ShareKeyError, match="another share key than its own is shown for north"):
        OWN["north"].members(COHORT, [fresh, *texts("south", "west")], NOW)
    with pytest.raises(ShareKeyError, match="north is not in the cohort"):
        OWN["north"].members(["south", "west"], texts("south", "west"), NOW)


def test_a_clients_own_statement_fits_its_key_and_name():
    with pytest.raises(ShareKeyError, match="share key of north is of south"):
        replace(OWN["north"], text=OWN["south"].text)
    with pytest.raises(ShareKeyError, match="share key of north is for another key"):
        replace(OWN["north"], key=OWN["south"].key)


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


def test_the_digest_tells_any_two_cohorts_apart():
    keys = {name: public(name) for name in COHORT}
    digests = {
        Members(keys).digest,
        Members({**keys, "west": public("east")}).digest,
        Members({**keys, "south": keys["west"], "west": keys["south"]}).digest,
        Members({name: keys[name] for name in COHORT[:2]}).digest,
    }
    assert len(digests) == 4
    assert Members(dict(reversed(keys.items()))).digest == Members(keys).digest  # whatever the order of the cohort


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


def test_no_secret_is_printed():
    own = OWN["north"]
    assert own.key.private_bytes_raw().hex() not in repr(own)
    assert repr(own.key) not in repr(own)


def test_signed_texts_of_a_statement_are_the_same_each_time():
    statement = new_statement("parks", "north", public("north"), KEY_ID, NOW)
    assert signed_statement(statement, AUTHORITY) == OWN["north"].text
    assert isinstance(ShareKeys("north", OWN["north"].key, OWN["north"].text, RULES), ShareKeys)
