"""Envelopes: what was closed comes open again, and nothing that was damaged or is of something else does."""

import re
from dataclasses import replace

import pytest
from encrypted_payloads import enveloped, flipped
from hypothesis import given
from hypothesis import strategies as st

from strategies.ciphers.binding import Binding, EnvelopeError, close_envelope, open_envelope

BINDING = Binding("0123456789abcdef", "layout", 3, 1, ("anna", "bert"))
SMALL = close_envelope({"round": 3, "client": "bert"}, b"body")

LONG = b'{"a": ' + b"1" * 10_000 + b"}"  # Python reads no whole number of so many digits

values = st.one_of(st.integers(-(2**53), 2**53), st.text(max_size=10), st.booleans(), st.lists(st.text(max_size=3)))


@given(st.dictionaries(st.text(max_size=8), values, max_size=5), st.lists(st.binary(max_size=40), max_size=3))
def test_fields_and_body_come_back(fields, parts):
    envelope = close_envelope(fields, *(memoryview(part) for part in parts))
    found, body = open_envelope(envelope, fields)
    assert found == fields
    assert bytes(body) == b"".join(parts)


def test_every_flipped_bit_is_noticed():
    for place in range(len(SMALL)):
        for bit in range(8):
            with pytest.raises(EnvelopeError):
                open_envelope(flipped(SMALL, place, bit), {})


def test_every_other_length_is_noticed():
    for length in range(len(SMALL)):
        with pytest.raises(EnvelopeError, match=r"truncated or altered|not an encrypted payload"):
            open_envelope(SMALL[:length], {})
    with pytest.raises(EnvelopeError, match="truncated or altered"):
        open_envelope(SMALL + b"\0", {})


@given(st.binary(max_size=200))
def test_bytes_that_are_no_envelope_are_refused(data):
    with pytest.raises(EnvelopeError):
        open_envelope(data, {})
    with pytest.raises(EnvelopeError):
        open_envelope(SMALL[:4] + data, {})


@given(st.dictionaries(st.sampled_from("abcd"), values, min_size=1), st.data())
def test_a_field_that_differs_is_named_with_both_values(fields, data):
    name = data.draw(st.sampled_from(sorted(fields)))
    other = data.draw(values.filter(lambda value: value != fields[name]))
    reason = re.escape(f"{name} of the payload is {fields[name]!r} instead of {other!r}")
    with pytest.raises(EnvelopeError, match=reason):
        open_envelope(close_envelope(fields), {name: other})


def test_a_field_that_is_missing_is_named():
    with pytest.raises(EnvelopeError, match="attempt of the payload is None instead of 1"):
        open_envelope(SMALL, {"client": "bert", "attempt": 1})


def test_more_fields_than_expected_are_handed_on():
    assert open_envelope(SMALL, {"round": 3})[0] == {"round": 3, "client": "bert"}


@pytest.mark.parametrize(
    ("header", "length", "reason"),
    [
        (b"[1]", None, "header is not an object"),
        (b"null", None, "header is not an object"),
        (b"{'a': 1}", None, "header cannot be read"),
        (b"\xff\xfe", None, "header cannot be read"),
        (b"", None, "header cannot be read"),
        (LONG, None, "header cannot be read"),
        (b"{}", 1, "header cannot be read"),
        (b"{}", 2**32 - 1, "header cannot be read"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused_though_its_checksum_fits(header, length, reason):
    with pytest.raises(EnvelopeError, match=reason):
        open_envelope(enveloped(header, length=length), {})


def test_a_header_of_brackets_within_brackets_is_refused():
    """Whoever may send to the server can send this; it needs no key."""
    with pytest.raises(EnvelopeError):
        open_envelope(enveloped(b"[" * 100_000), {})


def test_a_cipher_without_shares_has_the_fields_of_earlier_versions():
    assert set(BINDING.fields()) == {"run-key", "layout", "round", "attempt", "nonce", "cohort"}


def test_the_order_of_the_cohort_does_not_matter():
    assert BINDING.fields() == replace(BINDING, cohort=("bert", "anna")).fields()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"run_key": "0" * 16}, "run-key"),
        ({"layout": "other"}, "layout"),
        ({"server_round": 2}, "round"),
        ({"attempt": 2}, "attempt"),
        ({"cohort": ("anna",)}, "cohort"),
        ({"cohort": ("anna", "bert", "cleo")}, "cohort"),
        ({"cohort": ("anna, bert",)}, "cohort"),
        ({"cohort": ("annab", "ert")}, "cohort"),
        ({"members": "0" * 64}, "members"),
    ],
)
def test_each_part_of_a_binding_is_a_field_of_its_own(change, name):
    envelope = close_envelope(BINDING.fields())
    open_envelope(envelope, BINDING.fields())
    with pytest.raises(EnvelopeError, match=f"^{name} of the payload is"):
        open_envelope(envelope, replace(BINDING, **change).fields())
