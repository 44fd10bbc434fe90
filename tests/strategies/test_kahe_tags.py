"""Tags of `kahe`: against Python's integers and HMAC by hand, and against sums that were changed."""

import hashlib
import hmac
import json

import numpy as np
import pytest

from strategies.ciphers.cipher import CipherError
from strategies.ciphers.kahe.ring import DEGREE, RING_54, RING_64
from strategies.ciphers.kahe.sampling import Uniform
from strategies.ciphers.kahe.tags import TagKey, add_tags, read, same_tag, written

RINGS = pytest.mark.parametrize("ring", [RING_54, RING_64], ids=["54", "64"])
SECRET, CONTEXT = bytes(range(32)), b"attempt"


def by_hand(name, key):
    """HMAC-SHA256 by its definition (RFC 2104)."""
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + name).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in block) + inner).digest()


def ciphertexts(ring, rows, seed=0):
    found = np.random.default_rng(seed).integers(0, ring.modulus, (rows, DEGREE), dtype=np.uint64)
    found[0, :3] = [0, 1, ring.modulus - 1]
    found[-1] = ring.modulus - 1  # the largest sums of limbs
    return found


def hashed(ring, words, pieces=(3, 1)):
    tags, start = TagKey(SECRET, CONTEXT, ring).hash(len(words)), 0
    while start < len(words):
        for rows in pieces:
            stop = min(start + rows, len(words))
            if stop > start:
                tags.update(slice(start, stop), words[start:stop])
            start = stop
    return tags.value


@RINGS
def test_the_hash_is_the_double_sum_of_its_definition(ring):
    words = ciphertexts(ring, 5)
    attempt = by_hand(b"tags of an attempt\0" + CONTEXT, SECRET)
    v = Uniform(by_hand(b"inner", attempt), ring.modulus).draw(DEGREE, 2).tolist()
    u = Uniform(by_hand(b"outer", attempt), ring.modulus).draw(5, 2).tolist()
    expected = tuple(
        sum(u[j][key] * sum(v[k][key] * c for k, c in enumerate(row)) for j, row in enumerate(words.tolist()))
        % ring.modulus
        for key in (0, 1)
    )
    assert hashed(ring, words) == expected
    assert hashed(ring, words, pieces=(5,)) == expected


@RINGS
def test_the_pad_is_hmac_of_client_coefficient_and_shares(ring):
    attempt = by_hand(b"tags of an attempt\0" + CONTEXT, SECRET)
    text = json.dumps(["site a", (0.25).hex(), "ab12"]).encode()
    wide = hmac.new(attempt, b"pad\0" + text, hashlib.sha512).digest()
    expected = tuple(int.from_bytes(half, "big") % ring.modulus for half in (wide[:32], wide[32:]))
    key = TagKey(SECRET, CONTEXT, ring)
    assert key.pad("site a", 0.25, "ab12") == expected
    others = [
        key.pad("site b", 0.25, "ab12"),
        key.pad("site a", 0.5, "ab12"),
        key.pad("site a", 0.25, "ab13"),
        TagKey(SECRET, b"another", ring).pad("site a", 0.25, "ab12"),
        TagKey(bytes(32), CONTEXT, ring).pad("site a", 0.25, "ab12"),
    ]
    assert len({expected, *others}) == 6


@RINGS
def test_tags_are_added_as_the_ciphertexts_are(ring):
    first, second = ciphertexts(ring, 3), ciphertexts(ring, 3, seed=1)
    both = first.copy()
    ring.add(both, second)
    assert hashed(ring, both) == add_tags(ring, hashed(ring, first), hashed(ring, second))


@RINGS
def test_every_change_changes_both_numbers(ring):
    """Single words, by one, by half of q, and by as much as cancels in a plain sum; rows that change places."""
    words = ciphertexts(ring, 3)
    before, rng = hashed(ring, words), np.random.default_rng(2)
    for step in (1, ring.modulus - 1, ring.modulus // 2, 2 ** (ring.bits - 1), 2**27):
        for row, place in [
            (0, 0),
            (2, DEGREE - 1),
            *zip(rng.integers(0, 3, 4), rng.integers(0, DEGREE, 4), strict=True),
        ]:
            changed = words.copy()
            changed[row, place] = (int(words[row, place]) + step) % ring.modulus
            after = hashed(ring, changed)
            assert after[0] != before[0]
            assert after[1] != before[1]
    for changed in (words[[1, 0, 2]], words[:, ::-1].copy(), np.roll(words, 1, axis=1)):
        assert hashed(ring, changed)[0] != before[0]
    balanced = words.copy()
    balanced[0, 5], balanced[1, 5] = 0, (int(words[0, 5]) + int(words[1, 5])) % ring.modulus
    assert hashed(ring, balanced) != before


@RINGS
def test_tags_in_a_header(ring):
    tag = (ring.modulus - 1, 0)
    assert read(written(tag), ring) == tag
    assert same_tag(tag, (ring.modulus - 1, 0))
    assert not same_tag(tag, (ring.modulus - 1, 1))
    for wrong in (None, [], ["0"], ["0", "0", "0"], ["x", "0"], [0, 1], "00", ["-1", "0"], [f"{ring.modulus:x}", "0"]):
        with pytest.raises(CipherError, match="tag"):
            read(wrong, ring)


def test_a_secret_of_another_length_is_refused():
    with pytest.raises(CipherError, match="31 bytes"):
        TagKey(bytes(31), CONTEXT, RING_54)
