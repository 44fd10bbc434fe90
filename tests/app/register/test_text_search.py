"""Texts found by patterns, against regular expressions."""

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.register import text_search
from app.register.text_search import TextColumn, beginning, folded, whole, with_wildcards
from models.alphabet import plain

texts = st.lists(st.text("AB1", min_size=0, max_size=5), max_size=8)
patterns = st.text("AB1?*", min_size=1, max_size=5)


def slow(held, pattern, kind):
    """Vehicles by a regular expression for each text."""
    words = "".join({"*": ".*", "?": "."}.get(character, character) for character in pattern)
    match = {"whole": re.fullmatch, "beginning": re.match, "part": re.search}[kind]
    return [vehicle for vehicle, text in sorted(held.items()) if text and match(words, text)]


FORMS = {"whole": whole, "beginning": beginning, "part": str}


@example(["A", "AB", "BAB"], "A?", "part", set())
@example(["A", "BA", "AB"], "?A", "part", {1})
@example(["A", "AA", "ABA"], "A*A", "whole", set())
@given(texts, patterns, st.sampled_from(list(FORMS)), st.sets(st.integers(0, 7)))
def test_a_pattern_finds_what_a_regular_expression_finds(held, pattern, kind, gone):
    column = TextColumn()
    column.put(enumerate(held[:4]))
    column.drop(gone & {0, 1, 2, 3})
    column.put(enumerate(held[4:], start=4))
    kept = {vehicle: text for vehicle, text in enumerate(held) if vehicle not in gone or vehicle > 3}
    if set(pattern) == {"*"}:
        return
    assert column.find(FORMS[kind](pattern)).tolist() == slow(kept, pattern, kind)


def test_gaps_are_closed_and_what_was_taken_out_is_not_kept(monkeypatch):
    monkeypatch.setattr(text_search, "_LEAST_GAPS", 3)
    column = TextColumn()
    column.put((number, f"TEXT{number}") for number in range(10))
    column.drop([4])
    assert ord("4") not in column._characters
    column.drop([0, 1, 2, 3, 77])
    assert len(column._vehicles) == 5
    column.put([(4, "TEXT4")])
    assert column.find("TEXT").tolist() == [4, 5, 6, 7, 8, 9]
    assert column.find(whole("TEXT?")).tolist() == [4, 5, 6, 7, 8, 9]
    column.drop(range(10))
    assert column.find("T").tolist() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Müller-Lüdenscheidt", "muller ludenscheidt"),
        ("  A.  Resident ", "a resident"),
        ("李 小龙", "李 小龙"),
        ("-", ""),
    ],
)
def test_folding(text, expected):
    assert folded(text) == expected


def test_wildcards_stay_as_they_are():
    assert with_wildcards("ab-1*?c", plain) == "AB1*?C"


def test_nothing_is_found_in_nothing():
    assert TextColumn().find("A").dtype == np.int64
