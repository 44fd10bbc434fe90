"""Corrections of vehicles and their undoing: as a whole or not at all, and nobody's change is overwritten."""

import pytest
from corrected_registers import RNG, about, state, trail_lines
from registers import view
from sqlalchemy import select

from app.register.corrections import Edit
from app.register.errors import ChangedError, DuplicatePlateError, NotEnrolledError, RegisterError
from app.register.merging import Keep
from app.register.plate_search import PlateSearch
from app.register.search import Search
from app.register.texts import TextError
from app.register.undo_table import Correction


def test_values_of_a_vehicle_and_its_owner_are_corrected(register, corrections, three_vehicles):
    first, second, third = three_vehicles
    edit = Edit(plate="ab-13", note="red\r\nvan", owner="A. Resident-Lee", contact="")
    assert corrections.edit(first, edit, account="manager") == ["plate", "note", "owner", "contact"]
    assert about(register, first) == ("ab-13", "red\nvan", ("A. Resident-Lee", "12", ""))
    assert about(register, second) == (None, "", ("A. Resident-Lee", "12", ""))  # the owner is the same one
    assert about(register, third)[2] == ("Other", "", "")
    assert trail_lines(register)[0] == (
        "correct",
        f"vehicle {first}",
        {"fields": ["plate", "note", "owner", "contact"], "owner": 1},
    )


def test_nothing_new_changes_nothing(register, corrections, three_vehicles):
    first, before = three_vehicles[0], trail_lines(register)
    same = Edit("AB 12", "van", "A. Resident", "12", "evenings")
    version = register.vehicle(first).version
    assert corrections.edit(first, same, account="t") == corrections.edit(first, Edit(), account="t") == []
    assert corrections.edit(first, Edit(owner_id=1), account="t") == []
    assert register.vehicle(first).version == version
    assert trail_lines(register) == before


def test_the_search_of_plates_follows(register, corrections, three_vehicles):
    search = PlateSearch(register.database)
    assert [each.vehicle for each in search.find("AB12")] == [three_vehicles[0]]
    corrections.edit(three_vehicles[0], Edit(plate="ZX 99"), account="t")
    assert search.find("AB12") == []
    assert [each.vehicle for each in search.find("ZX99")] == [three_vehicles[0]]
    corrections.edit(three_vehicles[0], Edit(plate=""), account="t")
    assert search.find("ZX99") == []


def test_the_search_by_owner_and_plate_follows(register, corrections, three_vehicles):
    search = Search(register.database)

    def found(text):
        return [hit.vehicle for hit in search.for_manager(text, 1, "manager").hits]

    assert found("resident") == [three_vehicles[0], three_vehicles[1]]
    corrections.edit(three_vehicles[1], Edit(owner="Renamed", plate="ZX 99"), account="t")  # the owner of both
    assert (found("resident"), found("renamed"), found("zx99")) == ([], [*three_vehicles[:2]], [three_vehicles[1]])
    corrections.undo(three_vehicles[1], account="t")
    assert (found("resident"), found("zx99")) == ([*three_vehicles[:2]], [])
    corrections.merge(
        three_vehicles[0],
        three_vehicles[2],
        account="t",
        keep=Keep(owner_of=three_vehicles[2], plate_of=three_vehicles[2]),
    )
    assert (found("other"), found("cd34"), found("ab12")) == ([three_vehicles[0]], [three_vehicles[0]], [])


def test_an_owner_gets_a_second_vehicle_another_one_and_none(register, corrections, three_vehicles):
    first, second, third = three_vehicles
    owner = register.vehicle(first).owner_id
    assert corrections.edit(third, Edit(owner_id=owner), account="t") == ["owner_id"]
    assert about(register, third)[2] == ("A. Resident", "12", "evenings")
    assert register.counts()["owners"] == 1  # the other one had no further vehicle
    corrections.edit(second, Edit(owner="New", flat="3", new_owner=True), account="t")
    assert about(register, second)[2] == ("New", "3", "")
    assert about(register, first)[2] == ("A. Resident", "12", "evenings")
    corrections.edit(second, Edit(owner_id=0), account="t")
    assert about(register, second)[2] is None
    corrections.edit(second, Edit(owner="Found"), account="t")  # of a vehicle without an owner, it is a new one
    assert about(register, second)[2] == ("Found", "", "")


@pytest.mark.parametrize(
    ("edit", "error", "reason"),
    [
        (Edit(plate="cd34"), DuplicatePlateError, "vehicle 3 has this plate already"),
        (Edit(plate="?!"), RegisterError, "not a plate"),
        (Edit(note="x" * 2001), TextError, "note has 2,001 characters"),
        (Edit(owner="a\x00b"), TextError, "owner holds a character that is not allowed"),
        (Edit(plate="ZZ 1", owner=""), RegisterError, "an owner needs a name"),
        (Edit(flat="3", new_owner=True), RegisterError, "a flat or a contact needs an owner"),
        (Edit(owner_id=99), NotEnrolledError, "there is no owner 99"),
        (Edit(owner_id=2, flat="3"), RegisterError, "give the number of an owner, or name, flat and contact"),
    ],
)
@pytest.mark.usefixtures("three_vehicles")
def test_what_is_refused_changes_nothing(register, corrections, edit, error, reason):
    before = state(register.database), register.vehicle(1).version
    with pytest.raises(error, match=reason):
        corrections.edit(1, edit, account="t")
    assert (state(register.database), register.vehicle(1).version) == before


def test_of_two_editors_the_second_is_refused(register, corrections, three_vehicles):
    first, second, third = three_vehicles
    seen = {number: register.vehicle(number).version for number in three_vehicles}
    corrections.edit(first, Edit(note="red"), account="anna", version=seen[first])
    words = f"somebody else changed vehicle {first} meanwhile; nothing was changed: load it again"
    calls = [
        lambda: corrections.edit(first, Edit(note="blue"), account="ben", version=seen[first]),
        lambda: corrections.merge(first, third, account="ben", version=seen[first]),
        lambda: corrections.remove_view(first, 1, account="ben", version=seen[first]),
        lambda: corrections.undo(first, account="ben", version=seen[first]),
    ]
    for call in calls:
        with pytest.raises(ChangedError, match=words):
            call()
    assert about(register, first)[1] == "red"
    corrections.edit(first, Edit(owner="Other name"), account="anna")
    with pytest.raises(ChangedError):  # the owner of both was changed
        corrections.edit(second, Edit(owner="A third name"), account="ben", version=seen[second])
    corrections.edit(third, Edit(note="blue"), account="ben", version=seen[third])


EDITS = [
    Edit(plate="ZX 99", note="red"),
    Edit(plate=""),
    Edit(owner="Renamed", flat=""),
    Edit(owner_id=0),
    Edit(owner_id=2),
    Edit(owner="New", new_owner=True),
]


@pytest.mark.parametrize("edit", EDITS, ids=str)
@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.usefixtures("three_vehicles")
def test_the_last_edit_is_undone(register, corrections, edit, number):
    if number == 3 and edit.owner_id == 2:
        edit = Edit(owner_id=1)
    before = state(register.database)
    assert corrections.edit(number, edit, account="t")
    assert state(register.database) != before
    assert corrections.last(number).kind == "edit"
    assert corrections.undo(number, account="manager") == "edit"
    owners_made = len(before["owner"])
    assert {**state(register.database), "plate": None} == {**before, "plate": None}
    assert register.counts()["owners"] == owners_made
    assert state(register.database)["plate"] == before["plate"]
    assert trail_lines(register)[0] == ("undo edit", f"vehicle {number}", {})
    with pytest.raises(RegisterError, match=f"vehicle {number} has no last change that can be undone"):
        corrections.undo(number, account="t")


def test_what_changed_since_ends_the_undoing(register, model, corrections, three_vehicles):
    first, second, _ = three_vehicles
    corrections.edit(first, Edit(note="red"), account="t")
    corrections.edit(second, Edit(flat="13"), account="t")  # of the owner of both
    assert corrections.last(first) is None
    with pytest.raises(RegisterError, match="no last change that can be undone"):
        corrections.undo(first, account="t")
    register.add_views(first, [view(RNG)], model_id=model.id, account="t")
    assert corrections.undo(first, account="t") == "add"
    assert len(register.vehicle(first).views) == 2


def test_an_old_change_is_not_undone_and_its_values_are_deleted(register, corrections, three_vehicles, monkeypatch):
    corrections.edit(three_vehicles[0], Edit(owner="Renamed"), account="t")
    monkeypatch.setattr("app.register.corrections.UNDO_DAYS", -1)
    monkeypatch.setattr("app.register.records.UNDO_DAYS", -1)
    assert corrections.last(three_vehicles[0]) is None
    corrections.edit(three_vehicles[2], Edit(note="x"), account="t")
    with register.database.reading() as session:
        assert session.scalars(select(Correction.vehicle_id)).all() == [three_vehicles[2]]


def test_an_undoing_whose_plate_another_vehicle_has_by_now_is_refused(register, corrections, three_vehicles):
    corrections.edit(three_vehicles[0], Edit(plate="ZX 99"), account="t")
    corrections.edit(three_vehicles[2], Edit(plate="AB 12"), account="t")
    before = state(register.database)
    with pytest.raises(DuplicatePlateError):
        corrections.undo(three_vehicles[0], account="t")
    assert state(register.database) == before
