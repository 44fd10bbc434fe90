"""Measures of plate reading against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation.plate_texts import PlateReading, measure_readings, refusal_curve

plates = st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.4, 0.4001, 0.8, 1.0])), min_size=1, max_size=25)


@given(plates)
def test_the_curve_has_a_point_for_every_threshold(rows):
    correct, sure = zip(*rows, strict=True)
    expected = []
    for threshold in sorted(set(sure), reverse=True):
        kept = [right for right, confidence in rows if confidence >= threshold]
        expected.append((len(kept) / len(rows), sum(kept) / len(kept)))
    shares, accuracies = refusal_curve(correct, sure)
    np.testing.assert_allclose(np.stack([shares, accuracies], axis=1), expected)


@given(plates)
def test_measures_by_their_definition(rows):
    pairs = [(PlateReading("AB1" if right else "AB", (0.99, sure)), "AB1") for right, sure in rows]
    measured = measure_readings(pairs)
    wrong = sum(not right for right, _ in rows)
    assert measured["accuracy"] == pytest.approx(1 - wrong / len(rows))
    assert measured["character_error_rate"] == pytest.approx(wrong / (3 * len(rows)))
    sets = {t: [right for right, sure in rows if min(sure, 0.99) >= t] for t in {min(sure, 0.99) for _, sure in rows}}
    good = [len(kept) / len(rows) for kept in sets.values() if sum(kept) >= 0.99 * len(kept)]
    assert measured["kept_99"] == pytest.approx(max(good, default=0.0))
    best = max((t for t, kept in sets.items() if len(kept) / len(rows) == measured["kept_99"]), default=1.0)
    assert measured["confidence_99"] == best
    smallest = min((kept for kept in sets.values() if len(kept) >= 0.9 * len(rows) - 1e-9), key=len)
    assert measured["accuracy_90"] == pytest.approx(sum(smallest) / len(smallest))
    assert measured["queries"] == len(rows)


def test_the_confidence_of_a_plate_is_that_of_its_least_character():
    assert PlateReading("AB", (0.9, 0.3)).confidence == 0.3
    assert PlateReading("", ()).confidence == 0


def test_without_plates_there_is_no_measure():
    with pytest.raises(ValueError, match="no plates"):
        measure_readings([])
