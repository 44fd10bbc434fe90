"""Corrections of vehicles, merges, and their undoing: as a whole or not at all, and nobody's change is overwritten."""

import numpy as np
import pytest
from registers import LIBRARIES, photo, vectors, view
from sqlalchemy import func, select
from test_index import compare

from app.register.confirmations import Confirmations, Says
from app.register.corrections import Corrections, Edit
from app.register.errors import ChangedError, DuplicatePlateError, NotEnrolledError, RegisterError
from app.register.index import make_index
from app.register.matcher import Decision, Outcome
from app.register.merging import FOLLOW, Keep
from app.register.plate_search import PlateSearch
from app.register.records import NewOwner, NewView
from app.register.schema import Base, Found, Imported, Owner, Vehicle
from app.register.search import Search
from app.register.sightings import Journal, Visible
from app.register.texts import TextError
from app.register.undo_table import Correction

RNG = np.random.default_rng(0)
PERSONAL = ("Resident", "evenings", "AB 12", "AB12", "Other", "CD 34", "white van")


@pytest.fixture
def corrections(register):
    return Corrections(register)


@pytest.fixture
def vehicles(register, model):
    """Two vehicles of one owner, and one of another owner."""
    owner = NewOwner("A. Resident", "12", "evenings")
    first = register.enrol(
        [view(RNG), view(RNG)], model_id=model.id, account="t", owner=owner, plate="AB 12", note="van"
    )
    second = register.enrol([view(RNG)], model_id=model.id, account="t", owner=register.vehicle(first).owner_id)
    third = register.enrol([view(RNG)], model_id=model.id, account="t", owner=NewOwner("Other"), plate="CD 34")
    return first, second, third


def state(database):
    """Rows of all tables but the trail, the changes and what undoes the last one."""
    with database.reading() as session:
        tables = [t for t in Base.metadata.sorted_tables if t.name not in ("audit", "change", "correction")]
        return {t.name: sorted(map(repr, session.execute(select(t)))) for t in tables}


def about(register, number):
    """What a person sees of a vehicle."""
    with register.database.reading() as session:
        vehicle = session.get(Vehicle, number)
        owner = vehicle.owner and (vehicle.owner.name, vehicle.owner.flat, vehicle.owner.contact)
        return vehicle.plate and vehicle.plate.text, vehicle.note, owner


def trail_lines(register):
    return [(row.action, row.subject, row.details) for row in Journal(register.database).audit()]


def sighted(register, number, account="guard"):
    """A sighting that matched a vehicle, confirmed, with an incident, shown to a guard."""
    journal = Journal(register.database)
    decision = Decision(Outcome.match, number, "fused", 0.95, 0.9, None)
    with register.database.writing() as session:
        image = NewView(register.photos.keep(photo(number)), {})
        sighting = journal.record_sighting(session, decision, [image], account, shown=[number])
    Confirmations(register.database).confirm(sighting, Says.right, account)
    return sighting, journal.report_incident(sighting, "blocks a gate", "white van", account)


def test_values_of_a_vehicle_and_its_owner_are_corrected(register, corrections, vehicles):
    first, second, third = vehicles
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


def test_nothing_new_changes_nothing(register, corrections, vehicles):
    first, before = vehicles[0], trail_lines(register)
    same = Edit("AB 12", "van", "A. Resident", "12", "evenings")
    version = register.vehicle(first).version
    assert corrections.edit(first, same, account="t") == corrections.edit(first, Edit(), account="t") == []
    assert corrections.edit(first, Edit(owner_id=1), account="t") == []
    assert register.vehicle(first).version == version
    assert trail_lines(register) == before


def test_the_search_of_plates_follows(register, corrections, vehicles):
    search = PlateSearch(register.database)
    assert [each.vehicle for each in search.find("AB12")] == [vehicles[0]]
    corrections.edit(vehicles[0], Edit(plate="ZX 99"), account="t")
    assert search.find("AB12") == []
    assert [each.vehicle for each in search.find("ZX99")] == [vehicles[0]]
    corrections.edit(vehicles[0], Edit(plate=""), account="t")
    assert search.find("ZX99") == []


def test_the_search_by_owner_and_plate_follows(register, corrections, vehicles):
    search = Search(register.database)

    def found(text):
        return [hit.vehicle for hit in search.for_manager(text, 1, "manager").hits]

    assert found("resident") == [vehicles[0], vehicles[1]]
    corrections.edit(vehicles[1], Edit(owner="Renamed", plate="ZX 99"), account="t")  # the owner of both
    assert (found("resident"), found("renamed"), found("zx99")) == ([], [*vehicles[:2]], [vehicles[1]])
    corrections.undo(vehicles[1], account="t")
    assert (found("resident"), found("zx99")) == ([*vehicles[:2]], [])
    corrections.merge(vehicles[0], vehicles[2], account="t", keep=Keep(owner_of=vehicles[2], plate_of=vehicles[2]))
    assert (found("other"), found("cd34"), found("ab12")) == ([vehicles[0]], [vehicles[0]], [])


def test_an_owner_gets_a_second_vehicle_another_one_and_none(register, corrections, vehicles):
    first, second, third = vehicles
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
@pytest.mark.usefixtures("vehicles")
def test_what_is_refused_changes_nothing(register, corrections, edit, error, reason):
    before = state(register.database), register.vehicle(1).version
    with pytest.raises(error, match=reason):
        corrections.edit(1, edit, account="t")
    assert (state(register.database), register.vehicle(1).version) == before


def test_of_two_editors_the_second_is_refused(register, corrections, vehicles):
    first, second, third = vehicles
    seen = {number: register.vehicle(number).version for number in vehicles}
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
@pytest.mark.usefixtures("vehicles")
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


def test_what_changed_since_ends_the_undoing(register, model, corrections, vehicles):
    first, second, _ = vehicles
    corrections.edit(first, Edit(note="red"), account="t")
    corrections.edit(second, Edit(flat="13"), account="t")  # of the owner of both
    assert corrections.last(first) is None
    with pytest.raises(RegisterError, match="no last change that can be undone"):
        corrections.undo(first, account="t")
    register.add_views(first, [view(RNG)], model_id=model.id, account="t")
    assert corrections.undo(first, account="t") == "add"
    assert len(register.vehicle(first).views) == 2


def test_an_old_change_is_not_undone_and_its_values_are_deleted(register, corrections, vehicles, monkeypatch):
    corrections.edit(vehicles[0], Edit(owner="Renamed"), account="t")
    monkeypatch.setattr("app.register.corrections.UNDO_DAYS", -1)
    monkeypatch.setattr("app.register.records.UNDO_DAYS", -1)
    assert corrections.last(vehicles[0]) is None
    corrections.edit(vehicles[2], Edit(note="x"), account="t")
    with register.database.reading() as session:
        assert session.scalars(select(Correction.vehicle_id)).all() == [vehicles[2]]


def test_an_undoing_whose_plate_another_vehicle_has_by_now_is_refused(register, corrections, vehicles):
    corrections.edit(vehicles[0], Edit(plate="ZX 99"), account="t")
    corrections.edit(vehicles[2], Edit(plate="AB 12"), account="t")
    before = state(register.database)
    with pytest.raises(DuplicatePlateError):
        corrections.undo(vehicles[0], account="t")
    assert state(register.database) == before


def test_a_merged_vehicle_has_everything_of_both(register, model, corrections, vehicles):
    first, _, third = vehicles
    (sighting, incident), images = sighted(register, third), [row.id for row in register.vehicle(third).views]
    with register.database.writing() as session:
        session.add_all([Imported(digest="d", owner="", vehicle_id=third), Found(account="guard", vehicle_id=third)])
    own = [row.id for row in register.vehicle(first).views]
    corrections.merge(first, third, account="manager", keep=Keep(owner_of=first, plate_of=third))
    assert about(register, first) == ("CD 34", "van", ("A. Resident", "12", "evenings"))
    assert [row.id for row in register.vehicle(first).views] == own + images
    with pytest.raises(NotEnrolledError, match=f"there is no vehicle {third}"):
        register.vehicle(third)
    assert register.counts() == {"owners": 1, "vehicles": 2, "views": 4, "sightings": 1, "incidents": 1}
    assert Journal(register.database).incident(incident).vehicle_id == first
    confirmation, right = Confirmations(register.database).of(sighting)
    assert (confirmation.vehicle_id, right) == (first, True)
    assert Visible(register.database).vehicles("guard", {first, third}) == {first}
    with register.database.reading() as session:
        assert session.get(Imported, "d").vehicle_id == session.get(Found, 1).vehicle_id == first
    action, subject, details = trail_lines(register)[0]
    assert (action, subject, details["other"], details["views"]) == ("merge", f"vehicle {first}", third, 1)
    assert register.enrol([view(RNG)], model_id=model.id, account="t") == third + 1  # its number does not come again


def test_every_table_that_names_a_vehicle_follows_a_merge():
    """A table that comes later would lose its rows with the vehicle that is merged into another one."""
    naming = {
        table.name
        for table in Base.metadata.sorted_tables
        if any(key.column.table.name == "vehicle" for key in table.foreign_keys)
    }
    assert naming == {table.__tablename__ for table, _ in FOLLOW.values()} | {"plate", "correction"}


def test_a_merge_is_undone(register, corrections, vehicles):
    first, _, third = vehicles
    sighted(register, third), sighted(register, first)
    before = state(register.database)
    corrections.merge(first, third, account="t", keep=Keep(owner_of=first, plate_of=first))
    after = Journal(register.database)
    later = sighted(register, first)[0]
    assert corrections.undo(first, account="t") == "merge"
    now = state(register.database)
    new = {name: set(now[name]) - set(before[name]) for name in now}
    assert {name for name, rows in new.items() if rows} == {"sighting", "shown", "confirmation", "incident"}  # since
    assert all(set(before[name]) <= set(now[name]) for name in before)
    assert after.incident(3).sighting_id == later


@pytest.mark.parametrize(
    ("other", "keep", "reason"),
    [
        (1, Keep(), "vehicle 1 cannot be merged with itself"),
        (9, Keep(), "there is no vehicle 9"),
        (3, Keep(), "vehicles 1 and 3 have different owners: say whose owner stays, with `owner_of` 1 or 3"),
        (3, Keep(owner_of=1), "vehicles 1 and 3 have different plates: say whose plate stays, with `plate_of` 1 or 3"),
        (3, Keep(owner_of=2, plate_of=1), "the owner of vehicle 2 cannot stay: 1 and 3 are merged"),
    ],
)
@pytest.mark.usefixtures("vehicles")
def test_a_merge_that_is_refused_changes_nothing(register, corrections, other, keep, reason):
    before = state(register.database)
    with pytest.raises(RegisterError, match=reason):
        corrections.merge(1, other, account="t", keep=keep)
    assert state(register.database) == before


def test_vehicles_of_one_owner_are_merged_without_a_word(register, corrections, vehicles):
    corrections.merge(vehicles[1], vehicles[0], account="t")
    assert about(register, vehicles[1]) == ("AB 12", "van", ("A. Resident", "12", "evenings"))


def test_an_image_goes_with_its_file_and_its_embeddings(register, model, corrections, vehicles):
    first = vehicles[0]
    names = [register.photos.keep(photo(number)) for number in range(2)]
    new = NewView(names[0], vectors(RNG), plate_image=names[1])
    register.add_views(first, [new], model_id=model.id, account="t")
    last = register.vehicle(first).views[-1].id
    with pytest.raises(NotEnrolledError, match=f"vehicle {vehicles[1]} has no image {last}"):
        corrections.remove_view(vehicles[1], last, account="t")
    corrections.remove_view(first, last, account="t")
    assert [path.name for path in register.photos.folder.iterdir()] == []
    assert register.counts()["views"] == 4
    assert corrections.last(first) is None
    corrections.remove_view(first, 1, account="t")
    with pytest.raises(RegisterError, match="image 2 is the only one of vehicle 1: add another one first"):
        corrections.remove_view(first, 2, account="t")


def test_an_image_that_a_sighting_shows_stays_on_the_disk(register, model, corrections):
    name = register.photos.keep(photo(1))
    number = register.enrol([NewView(name, vectors(RNG)), view(RNG)], model_id=model.id, account="t")
    decision = Decision(Outcome.unknown, None, None, None, None, None)
    with register.database.writing() as session:
        Journal(register.database).record_sighting(session, decision, [NewView(name, {})], "t", enrolled=number)
    corrections.remove_view(number, register.vehicle(number).views[0].id, account="t")
    assert register.photos.path(name).exists()


def test_the_index_follows_merges_removals_and_their_undoing(register, model, corrections):
    rng, held = np.random.default_rng(0), {name: {} for name in LIBRARIES}
    index = make_index(register.database, model.id)

    def enrolled(views):
        new = [view(rng) for _ in range(views)]
        number = register.enrol(new, model_id=model.id, account="t")
        for name in LIBRARIES:
            held[name][number] = [each.vectors[name].astype(np.float64) for each in new]
        return number

    numbers = [enrolled(views) for views in (1, 2, 3, 1, 2)]
    compare(index, held, rng)
    corrections.merge(numbers[0], numbers[2], account="t")
    moved = {name: held[name].pop(numbers[2]) for name in LIBRARIES}
    for name in LIBRARIES:
        held[name][numbers[0]] += moved[name]
    compare(index, held, rng)
    corrections.undo(numbers[0], account="t")
    for name in LIBRARIES:
        held[name][numbers[2]] = moved[name]
        held[name][numbers[0]] = held[name][numbers[0]][:1]
    compare(index, held, rng)
    corrections.remove_view(numbers[2], register.vehicle(numbers[2]).views[1].id, account="t")
    for name in LIBRARIES:
        del held[name][numbers[2]][1]
    compare(index, held, rng)
    corrections.edit(numbers[1], Edit(plate="AB 1", note="x"), account="t")
    compare(index, held, rng)
    compare(make_index(register.database, model.id), held, rng)


def test_the_trail_and_a_forgotten_owner_keep_no_personal_data(register, corrections, vehicles):
    first, second, third = vehicles
    sighted(register, first)
    corrections.edit(first, Edit(plate="AB 13", owner="B. Resident", note="white van"), account="t")
    corrections.edit(second, Edit(owner_id=2), account="t")  # what undoes it holds the name of owner 1
    corrections.merge(third, second, account="t")
    corrections.edit(first, Edit(owner="Other", new_owner=True), account="t")  # owner 1 is gone, but for the undoing
    assert not any(word in str(line) for line in trail_lines(register) for word in PERSONAL)
    with register.database.reading() as session:
        assert session.get(Owner, 1) is None
        assert "B. Resident" in str(session.execute(select(Correction.before)).all())
    assert register.forget(account="t", owner_id=1).owners == 0
    with register.database.reading() as session:
        assert "Resident" not in str([session.execute(select(t)).all() for t in Base.metadata.sorted_tables])
    for number in (first, third):
        register.forget(account="t", vehicle_id=number)
    with register.database.reading() as session:
        for table in Base.metadata.sorted_tables:
            held = str(session.execute(select(table)).all())
            assert not any(word in held for word in PERSONAL), table.name
        assert session.scalar(select(func.count()).select_from(Vehicle)) == 0
    with pytest.raises(NotEnrolledError, match="there is no owner 1"):
        register.forget(account="t", owner_id=1)
