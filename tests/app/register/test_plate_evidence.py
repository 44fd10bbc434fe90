"""Decisions with plate texts, case by case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation.plate_texts import PlateReading
from app.register.matcher import Candidate, Decision, Evidence, Outcome, Weighed
from app.register.plate_evidence import PLATE_TEXT, PlateFinding, TextEffect, combine, effect_of
from app.register.plate_reader import PlateRead, by_confidence

HOLDERS = {"AA1111": [1], "BB2222": [2], "MU3333": [3, 4]}  # two plates that differ by an accent
CANDIDATES = {"vehicle": [Candidate(1, 0.95), Candidate(2, 0.5)]}


def decided(outcome, vehicle):
    return Decision(outcome, vehicle, "vehicle", 0.95, 0.9, Candidate(2, 0.5), CANDIDATES)


MATCH, UNSURE = decided(Outcome.match, 1), decided(Outcome.unsure, 1)
UNKNOWN = decided(Outcome.unknown, None)


@pytest.mark.parametrize(
    ("before", "own", "texts", "outcome", "vehicle", "says"),
    [
        # the libraries are sure of vehicle 1
        (MATCH, "AA1111", ["AA1111"], "match", 1, "agrees"),
        (MATCH, "AA1111", ["BB2222"], "unsure", 1, "contradicts"),
        (MATCH, None, ["BB2222"], "unsure", 1, "contradicts"),
        (MATCH, "AA1111", ["AA111"], "match", 1, "nothing"),  # one error is as likely the reader's
        (MATCH, "AA1111", ["4A1112"], "match", 1, "nothing"),
        (MATCH, "AA1111", ["XX1111"], "unsure", 1, "contradicts"),
        (MATCH, None, ["XX1111"], "match", 1, "nothing"),  # its plate is not known
        (MATCH, "BB2221", ["BB2222"], "unsure", 1, "contradicts"),  # one error, but another vehicle's plate
        (MATCH, "AA1111", ["AA1111", "BB2222"], "unsure", 1, "contradicts"),
        (MATCH, "AA1111", ["AA1111", "AA1112"], "match", 1, "agrees"),
        (decided(Outcome.match, 3), "MU3333", ["MU3333"], "match", 3, "agrees"),
        # they are not
        (UNSURE, "AA1111", ["AA1111"], "match", 1, "decides"),
        (UNSURE, "AA1111", ["BB2222"], "match", 2, "decides"),
        (UNSURE, "AA1111", ["AA1112"], "unsure", 1, "nothing"),
        (UNSURE, "AA1111", ["AA1111", "AA1112"], "unsure", 1, "nothing"),
        (UNKNOWN, None, ["BB2222"], "match", 2, "decides"),
        (UNKNOWN, None, ["BB2223"], "unknown", None, "nothing"),
        (UNKNOWN, None, ["8B2222"], "unknown", None, "nothing"),  # look-alikes decide nothing
        (UNKNOWN, None, ["MU3333"], "unknown", None, "nothing"),
        (UNKNOWN, None, ["AA1111", "BB2222"], "unknown", None, "nothing"),
        (UNKNOWN, None, [], "unknown", None, "nothing"),
    ],
)
def test_every_case(before, own, texts, outcome, vehicle, says):
    reads = [PlateRead(text, 0.95, number) for number, text in enumerate(texts)]
    after, said = combine(before, reads, HOLDERS, own, 0.9)
    assert (after.outcome.value, after.vehicle, said.value) == (outcome, vehicle, says)
    if said is TextEffect.decides:
        assert (after.decided_by, after.similarity, after.threshold) == (PLATE_TEXT, 0.95, 0.9)
        assert (list(after.shown()), after.runner_up, after.margin) == ([Candidate(vehicle, 0.95)], None, None)
        assert after.candidates["vehicle"] == CANDIDATES["vehicle"]
    else:
        assert (after.decided_by, after.candidates) == ("vehicle", CANDIDATES)


texts = st.lists(st.sampled_from(["AA1111", "BB2222", "MU3333", "AA1112", "XX9999"]), unique=True, max_size=3)


@given(st.sampled_from([MATCH, UNSURE, UNKNOWN]), texts, st.sampled_from([None, "AA1111"]), st.floats(0, 1))
def test_a_match_never_becomes_one_with_another_vehicle_and_unsure_texts_are_not_heard(before, texts, own, confidence):
    reads = [PlateRead(text, confidence, 0) for text in texts]
    after, says = combine(before, reads, HOLDERS, own, 0.9)
    if confidence < 0.9:
        assert (after, says) == (before, TextEffect.nothing)
    if before is MATCH:
        assert after.vehicle == 1
    if after.outcome is Outcome.match and before is not MATCH:
        assert [HOLDERS.get(text) for text in texts] == [[after.vehicle]]


def test_the_surest_reading_of_each_text_counts():
    readings = [
        (0, PlateReading("AB", (0.9, 0.4))),
        (1, None),
        (2, PlateReading("AB", (0.8, 0.7))),
        (3, PlateReading("", ())),
        (4, PlateReading("CD", (0.7, 0.7))),
        (5, PlateReading("EF", (0.95, 0.9))),
    ]
    assert by_confidence(readings) == [
        PlateRead("EF", 0.9, 5, (0.95, 0.9)),
        PlateRead("AB", 0.7, 2, (0.8, 0.7)),
        PlateRead("CD", 0.7, 4, (0.7, 0.7)),
    ]
    assert by_confidence([]) == []


@pytest.mark.parametrize(("llr", "says"), [(-2.0, TextEffect.contradicts), (2.0, TextEffect.nothing)])
def test_what_a_text_says_is_of_the_vehicle_that_is_shown(llr, says):
    """Vehicle 7, seen at night alone, is shown; the best of the evidence, which the text fits, is another one."""
    weighed = [Weighed(1, {"vehicle": -9.0, PLATE_TEXT: -llr}, 0.1), Weighed(7, {PLATE_TEXT: llr}, 0.05)]
    shown = Decision(Outcome.unsure, 7, "vehicle-visible-to-infrared", 0.9, 0.9, None, {}, Evidence(weighed, 0.0, 0.85))
    reads = [PlateRead("AA1111", 0.95, 0)]
    assert effect_of(shown, PlateFinding(reads, TextEffect.nothing, None, [])) is says
