"""Merges of vehicles and removals of images: everything follows, all of it is undone, and no personal data stays."""

import numpy as np
import pytest
from corrected_registers import RNG, about, state, trail_lines
from registers import LIBRARIES, photo, vectors, view
from slow_search import compare
from sqlalchemy import func, select

from app.register.confirmations import Confirmations, Says
from app.register.corrections import Edit
from app.register.errors import NotEnrolledError, RegisterError
from app.register.index import make_index
from app.register.matcher import Decision, Outcome
from app.register.merging import FOLLOW, Keep
from app.register.records import NewView
from app.register.schema import Base, Found, Imported, Owner, Vehicle
from app.register.sightings import Journal, Visible
from app.register.undo_table import Correction

PERSONAL = ("Resident", "evenings", "AB 12", "AB12", "Other", "CD 34", "white van")


def sighted(register, number, account="guard"):
    """A sighting that matched a vehicle, confirmed, with an incident, shown to a guard."""
    journal = Journal(register.database)
    decision = Decision(Outcome.match, number, "fused", 0.95, 0.9, None)
    with register.database.writing() as session:
        image = NewView(register.photos.keep(photo(number)), {})
        sighting = journal.record_sighting(session, decision, [image], account, shown=[number])
    Confirmations(register.database).confirm(sighting, Says.right, account)
    return sighting, journal.report_incident(sighting, "blocks a gate", "white van", account)


def test_a_merged_vehicle_has_everything_of_both(register, model, corrections, three_vehicles):
    first, _, third = three_vehicles
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


def test_a_merge_is_undone(register, corrections, three_vehicles):
    first, _, third = three_vehicles
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
@pytest.mark.usefixtures("three_vehicles")
def test_a_merge_that_is_refused_changes_nothing(register, corrections, other, keep, reason):
    before = state(register.database)
    with pytest.raises(RegisterError, match=reason):
        corrections.merge(1, other, account="t", keep=keep)
    assert state(register.database) == before


def test_vehicles_of_one_owner_are_merged_without_a_word(register, corrections, three_vehicles):
    corrections.merge(three_vehicles[1], three_vehicles[0], account="t")
    assert about(register, three_vehicles[1]) == ("AB 12", "van", ("A. Resident", "12", "evenings"))


def test_an_image_goes_with_its_file_and_its_embeddings(register, model, corrections, three_vehicles):
    first = three_vehicles[0]
    names = [register.photos.keep(photo(number)) for number in range(2)]
    new = NewView(names[0], vectors(RNG), plate_image=names[1])
    register.add_views(first, [new], model_id=model.id, account="t")
    last = register.vehicle(first).views[-1].id
    with pytest.raises(NotEnrolledError, match=f"vehicle {three_vehicles[1]} has no image {last}"):
        corrections.remove_view(three_vehicles[1], last, account="t")
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


def test_the_trail_and_a_forgotten_owner_keep_no_personal_data(register, corrections, three_vehicles):
    first, second, third = three_vehicles
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
