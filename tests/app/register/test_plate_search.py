"""The distance of plates, and the look-up among many, against definitions in plain recursion and loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from registers import view

from app.register import plate_search
from app.register.plate_search import LOOK_ALIKES, PlateCandidate, PlateSearch, PlateTable, cost
from models.alphabet import plain


def slow_cost(read, plate):
    """The cheapest of all alignments with at most one real error, tried one by one; in quarters."""
    ways = [quarters for errors, quarters in _ways(read, plate, 1) if not errors or len(read) >= 4]
    least = min(ways, default=99)
    return least / 4 if least <= 6 else None


def _ways(read, plate, left):
    """Errors and quarters of each way to turn `read` into `plate` with `left` errors."""
    if not read and not plate:
        yield 0, 0
    if read and plate:
        if read[0] == plate[0]:
            yield from _ways(read[1:], plate[1:], left)
        elif any(read[0] in group and plate[0] in group for group in LOOK_ALIKES):
            yield from ((errors, 1 + more) for errors, more in _ways(read[1:], plate[1:], left))
    if left and read:
        yield from ((1 + errors, 4 + more) for errors, more in _ways(read[1:], plate, left - 1))
    if left and plate:
        yield from ((1 + errors, 4 + more) for errors, more in _ways(read, plate[1:], left - 1))
    if left and read and plate:
        yield from ((1 + errors, 4 + more) for errors, more in _ways(read[1:], plate[1:], left - 1))


plates = st.text("0OQ1I8BXC皖", min_size=1, max_size=8)


@st.composite
def edited(draw, read):
    """A text a few edits from another: independent ones are hardly ever near."""
    other = list(read)
    for _ in range(draw(st.integers(0, 3))):
        place, kind = draw(st.integers(0, len(other))), draw(st.sampled_from("rrrid"))
        character = draw(st.sampled_from("0OQ1I8BXC"))
        if kind == "i":
            other.insert(place, character)
        elif place < len(other):
            other[place : place + 1] = [character] if kind == "r" else []
    return "".join(other) or "X"


def with_neighbours(count):
    """A text, and a list of up to `count` that are near to it or are not."""
    return plates.flatmap(lambda read: st.tuples(st.just(read), st.lists(edited(read) | plates, max_size=count)))


@given(with_neighbours(3))
def test_the_cost_is_that_of_the_cheapest_way(given_plates):
    read, others = given_plates
    for other in others:
        assert cost(read, other) == slow_cost(read, other)


@pytest.mark.parametrize(
    ("read", "plate", "expected"),
    [
        ("AB123", "AB123", 0),
        ("A8I23", "AB123", 0.5),
        ("AB12", "AB123", 1),
        ("AB1233", "AB123", 1),
        ("XB123", "AB123", 1),
        ("X8123", "AB123", 1.25),
        ("XY123", "AB123", None),
        ("0000000", "OOOOOOO", None),  # seven look-alikes
        ("000000", "OOOOOO", 1.5),
        ("AB1", "XB1", None),  # too short for an error
        ("481", "AB1", 0.5),
        ("B0D", "BDO", 0.5),
    ],
)
def test_costs_of_some_plates(read, plate, expected):
    assert cost(read, plate) == expected


def test_no_character_stands_in_two_groups():
    joined = "".join(LOOK_ALIKES)
    assert len(set(joined)) == len(joined)
    assert plate_search.form("QDB皖X") == "008皖X"


@given(with_neighbours(20), st.data())
def test_a_table_finds_what_a_loop_over_all_plates_finds(given_plates, data):
    read, held = given_plates
    table = PlateTable()
    numbers = list(range(1, len(held) + 1))
    for part in (slice(None, None, 2), slice(1, None, 2)):
        table.put(list(zip(numbers[part], held[part], strict=True)))
    gone = set(data.draw(st.lists(st.sampled_from(numbers), unique=True))) if held else set()
    table.drop([*gone, 999])
    costs = [(slow_cost(read, plate), number, plate) for number, plate in zip(numbers, held, strict=True)]
    expected = sorted((its, number, plate) for its, number, plate in costs if its is not None and number not in gone)
    found = table.find(read)
    assert found == [PlateCandidate(number, plate, its) for its, number, plate in expected]
    for number, plate in zip(numbers, held, strict=True):
        assert table.plain_plate(number) == (None if number in gone else plate)


def test_nothing_read_finds_nothing():
    table = PlateTable()
    assert table.find("A") == []
    table.put([(1, "A"), (2, "ͺ")])  # the second has no letter that is left in plain form
    assert plain("ͺ") == ""
    assert table.find("") == []
    assert [found.vehicle for found in table.find("4")] == [1]


def test_the_look_up_follows_the_register(register, model):
    rng = np.random.default_rng(0)

    def enrol(plate):
        return register.enrol([view(rng)], model_id=model.id, account="tester", plate=plate)

    lookup = PlateSearch(register.database)
    assert lookup.find("AB1234") == []
    first, second, bare = enrol("ab 12-34"), enrol("AB 1235"), enrol("")
    assert lookup.find("AB1234") == [PlateCandidate(first, "ab 12-34", 0), PlateCandidate(second, "AB 1235", 1)]
    assert (lookup.plain_plate(first), lookup.plain_plate(bare)) == ("AB1234", None)
    register.forget(account="tester", vehicle_id=first)
    register.add_views(second, [view(rng)], model_id=model.id, account="tester")
    third = enrol("ÄB 1234")
    assert lookup.find("AB1234") == [PlateCandidate(third, "ÄB 1234", 0), PlateCandidate(second, "AB 1235", 1)]
    assert PlateSearch(register.database).find("AB1234") == lookup.find("AB1234")  # one that was not there then
