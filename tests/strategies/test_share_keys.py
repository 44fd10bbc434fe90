"""Share keys of a cohort: taken from the authority's statements, and from nothing that a server says."""

import hmac
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from share_statements import (
    AUTHORITY,
    COHORT,
    KEY_ID,
    NOW,
    OTHER,
    OWN,
    RULES,
    public,
    texts,
)

from strategies.share_keys import (
    Members,
    ShareKeyError,
    new_share_keys,
    verified_keys,
)


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


def test_no_secret_is_printed():
    own = OWN["north"]
    assert own.key.private_bytes_raw().hex() not in repr(own)
    assert repr(own.key) not in repr(own)
