"""Search in a register: what finds a vehicle, in which order, and what a guard sees of it."""

import numpy as np
import pytest
from registers import view
from sqlalchemy import select

from app.register.errors import RegisterError
from app.register.records import NewOwner
from app.register.schema import Change, Found, Vehicle, now
from app.register.search import PAGE, By, Search
from app.register.sightings import FOUND_FOR, Journal, Visible

PLATES = {1: "AB 120", 2: "AB-I20", 3: "XAB 120", 4: "CD 777", 5: "", 6: "MÜ 12"}
OWNERS = {1: NewOwner("Anna Müller", "12"), 4: NewOwner("Abel Otto", "7 b"), 5: NewOwner("Otto Anders", "120")}


def enrol(register, model, plate="", owner=None):
    rng = np.random.default_rng()
    return register.enrol([view(rng)], model_id=model.id, account="tester", plate=plate, owner=owner)


@pytest.fixture
def search(register, model):
    for number, plate in PLATES.items():
        assert enrol(register, model, plate, OWNERS.get(number)) == number
    return Search(register.database)


def found(search, text, page=1):
    return [(hit.vehicle, hit.by.name) for hit in search.for_manager(text, page, "manager").hits]


FINDS = {
    "ab120": [(1, "plate"), (3, "plate_part"), (2, "plate_alike")],
    "ab-12": [(1, "plate_begins"), (3, "plate_part"), (2, "plate_alike")],
    "AB 129": [(1, "plate_similar"), (2, "plate_similar")],
    "a8 120": [(1, "plate_alike"), (2, "plate_alike"), (3, "plate_alike")],
    "ab*": [(1, "plate_part"), (2, "plate_part"), (4, "owner")],
    "*1?0": [(5, "flat"), (1, "plate_part"), (3, "plate_part"), (2, "plate_alike")],
    "?777": [],
    "c?777": [(4, "plate_part")],
    "mu12": [(6, "plate")],
    "120": [(5, "flat"), (1, "plate_part"), (3, "plate_part"), (2, "plate_alike")],
    "vehicle 4": [(4, "number")],
    "#4": [(4, "number")],
    "4": [(4, "number")],
    "7777777777": [],
    "flat 12": [(1, "flat")],
    "flat 12*": [(1, "flat"), (5, "flat")],
    "7 B": [(4, "flat")],
    "MULLER": [(1, "owner")],
    "otto abel": [(4, "owner")],
    "otto": [(4, "owner"), (5, "owner")],
    "an": [(1, "owner"), (5, "owner")],
    "*anders": [(5, "owner")],
    "a": [],
    "nobody": [],
}


def test_what_a_text_finds_the_best_first(search):
    assert {text: found(search, text) for text in FINDS} == FINDS


def test_a_text_of_nothing_is_refused(search):
    for text in ("", " ", "*", "??", "-."):
        with pytest.raises(RegisterError, match="type a plate, an owner, a flat or the number of a vehicle"):
            search.for_manager(text, 1, "manager")


def test_names_are_shown_where_they_were_searched_and_the_trail_has_it_by_numbers(search):
    hit = search.for_manager("abel", 1, "manager").hits[0]
    assert (hit.plate, hit.flat, hit.owner) == ("CD 777", "7 b", "Abel Otto")
    assert search.for_manager("CD 777", 1, "manager").hits[0].owner is None
    lines = [row for row in Journal(search.database).audit() if row.action.startswith("search")]
    assert [(row.account, row.action, row.details) for row in lines] == [
        ("manager", "search owners", {"vehicles": [4]})
    ]


def test_it_follows_the_register(search, register, model):
    assert found(search, "abel") == [(4, "owner")]
    number = enrol(register, model, "EF 9", OWNERS[4])
    assert found(search, "abel") == [(4, "owner"), (number, "owner")]
    register.forget(account="tester", vehicle_id=4)
    assert found(search, "abel") == [(number, "owner")]
    assert found(search, "CD 777") == []
    with search.database.writing() as session:
        vehicle = session.get(Vehicle, number)
        vehicle.plate.text, vehicle.plate.normal, vehicle.owner.name = "GH 10", "GH10", "Zoe"
        session.add(Change(vehicle_id=number))
    assert (found(search, "EF 9"), found(search, "abel")) == ([], [])
    assert (found(search, "gh10"), found(search, "zoe")) == ([(number, "plate")], [(number, "owner")])


def test_pages(search, register, model):
    for number in range(PAGE + 3):
        enrol(register, model, f"ZZ {number}")
    first, second, third = (search.for_manager("ZZ", page, "manager") for page in (1, 2, 3))
    assert (first.total, first.pages, len(first.hits), len(second.hits)) == (PAGE + 3, 2, PAGE, 3)
    assert third.hits == []
    assert {hit.vehicle for hit in first.hits}.isdisjoint(hit.vehicle for hit in second.hits)


def test_a_guard_gives_three_letters_or_digits(search):
    for text in ("", "AB", "a-1", "12*", "?b1"):
        with pytest.raises(RegisterError, match="type at least 3 letters or digits of the plate"):
            search.for_guard(text, "guard")


def test_characters_that_are_not_compared_do_not_count(search):
    """U+037A is a letter of which `plain` leaves nothing: wildcards alone would remain."""
    for text in ("\u037a\u037a\u037a?????", "\u037a12*"):
        with pytest.raises(RegisterError, match="type at least 3 letters or digits of the plate"):
            search.for_guard(text, "guard")


def test_a_guard_finds_plates_alone(search):
    for text in ("Anna", "Müller", "Otto", "flat 120"):
        assert search.for_guard(text, "guard").hits == []


def test_a_guard_sees_the_vehicle_of_a_whole_plate_and_of_others_the_plate(search):
    whole, part, alike = search.for_guard("ab120", "guard").hits
    assert (whole.by, whole.flat, whole.owner) == (By.plate, "12", None)
    assert whole.image is not None
    for hit, plate in ((part, "XAB 120"), (alike, "AB-I20")):
        assert (hit.plate, hit.flat, hit.owner, hit.image) == (plate, None, None, None)
    visible = Visible(search.database)
    assert visible.vehicles("guard", set(PLATES)) == {1}
    assert visible.vehicles("other", set(PLATES)) == set()
    assert visible.has_image(whole.image, "guard")
    assert not visible.has_image(whole.image, "other")
    line = Journal(search.database).audit(1)[0]
    assert (line.account, line.action, line.details) == ("guard", "search plates", {"plates": 3, "shown": [1]})
    assert "120" not in f"{line.subject}{line.details}"


def test_it_lasts_for_a_shift_and_no_longer_than_the_vehicle(search, register):
    image = search.for_guard("ab120", "guard").hits[0].image
    visible = Visible(search.database)
    with search.database.writing() as session:
        for row in session.scalars(select(Found)):
            row.created = now() - FOUND_FOR
    assert visible.vehicles("guard", {1}) == set()
    assert not visible.has_image(image, "guard")
    search.for_guard("cd777", "guard")
    with search.database.reading() as session:
        assert [row.vehicle_id for row in session.scalars(select(Found))] == [4]  # old rows go
    register.forget(account="tester", vehicle_id=4)
    with search.database.reading() as session:
        assert session.scalars(select(Found)).all() == []


def test_a_guard_sees_one_page(search, register, model):
    for number in range(PAGE + 3):
        enrol(register, model, f"ZZZ {number}")
    hits = search.for_guard("ZZZ", "guard")
    assert (len(hits.hits), hits.total) == (PAGE, PAGE + 3)
