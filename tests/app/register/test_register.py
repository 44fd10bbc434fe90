"""One transaction each: it takes place as a whole, or not at all."""

import threading
from datetime import timedelta

import numpy as np
import pytest
from registers import photo, vectors, view
from sqlalchemy import func, select, text

from app.register.database import Database
from app.register.errors import (
    AnotherModelError,
    BusyError,
    DuplicatePlateError,
    NotEnrolledError,
    RegisterError,
)
from app.register.matcher import Decision, Outcome, Threshold
from app.register.model_versions import Models
from app.register.plate_search import normal_plate
from app.register.records import NewOwner, NewView
from app.register.schema import Base, View, now
from app.register.sightings import Journal, Visible
from app.register.tokens import Tokens

RNG = np.random.default_rng(0)


def rows(register):
    """Rows of every table, but the trail."""
    with register.database.reading() as session:
        tables = [table for table in Base.metadata.sorted_tables if table.name != "audit"]
        return {table.name: session.scalar(select(func.count()).select_from(table)) for table in tables}


@pytest.fixture
def enrolled(register, model):
    """An owner with two vehicles, and one without."""
    owner = NewOwner("A. Resident", "12", "evenings")
    first = register.enrol([view(RNG), view(RNG)], model_id=model.id, account="tester", owner=owner, plate="ab 12-c")
    owner_id = register.vehicle(first).owner_id
    second = register.enrol([view(RNG)], model_id=model.id, account="tester", owner=owner_id)
    third = register.enrol([view(RNG)], model_id=model.id, account="tester")
    return first, second, third


def test_plates_are_compared_however_they_are_spaced(register, enrolled):
    assert [normal_plate(text_) for text_ in ("AB12C", "ab 12-c", "Ab·12 c", "ＡＢ１２Ｃ")] == ["AB12C"] * 4
    assert normal_plate("皖a·y339s") == "皖AY339S"
    assert register.vehicle(enrolled[0]).plate.text == "ab 12-c"


def test_vectors_come_back_to_the_bit(register, model):
    given = view(np.random.default_rng(5))
    number = register.enrol([given], model_id=model.id, account="tester")
    with register.database.reading() as session:
        held = {row.library: row.vector for row in session.merge(register.vehicle(number)).views[0].embeddings}
    assert held.keys() == given.vectors.keys()
    for name, vector in held.items():
        np.testing.assert_array_equal(vector, given.vectors[name])
        assert vector.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"plate": "AB 12 C"}, DuplicatePlateError),
        ({"plate": "---"}, RegisterError),
        ({"plate": "A" * 40}, RegisterError),
        ({"owner": 99}, NotEnrolledError),
        ({"views": []}, RegisterError),
        ({"model_id": 7}, AnotherModelError),
        ({"views": [view(RNG), view(RNG, {"voice": 3})]}, AnotherModelError),
        ({"views": [view(RNG), NewView("x.jpg", {})]}, RegisterError),
        ({"owner": NewOwner("", "12")}, RegisterError),
    ],
)
@pytest.mark.usefixtures("enrolled")
def test_what_is_refused_leaves_everything_as_it_was(register, model, change, error):
    before = rows(register)
    given = {"views": [view(RNG)], "model_id": model.id, "account": "tester", "owner": NewOwner("B")} | change
    with pytest.raises(error):
        register.enrol(given.pop("views"), **given)
    assert rows(register) == before


def test_an_owner_is_forgotten_everywhere(register, model, enrolled):
    first, second, third = enrolled
    journal = Journal(register.database)
    names = [register.photos.keep(photo(number)) for number in range(4)]
    register.add_views(first, [NewView(names[0], vectors(RNG), plate_image=names[1])], model_id=model.id, account="t")
    seen = {}
    for vehicle, name in ((first, names[2]), (third, names[3])):
        decision = Decision(Outcome.match, vehicle, "fused", 0.95, 0.9, None)
        with register.database.writing() as session:
            seen[vehicle] = journal.record_sighting(session, decision, [NewView(name, {})], "guard")
        journal.report_incident(seen[vehicle], "blocks a gate", "white car", "guard")
    owner = register.vehicle(first).owner_id
    done = register.forget(account="manager", owner_id=owner)
    assert (done.owners, done.vehicles, done.views, done.sightings, done.incidents) == (1, [first, second], 4, 1, 1)
    left = rows(register)
    assert (left["owner"], left["vehicle"], left["plate"], left["view"]) == (0, 1, 0, 1)
    assert (left["embedding"], left["sighting"], left["incident"]) == (3, 1, 1)
    assert [path.name for path in register.photos.folder.iterdir()] == [names[3]]
    trail = journal.audit(1)[0]
    assert (trail.action, trail.subject, trail.account) == ("forget", f"owner {owner}", "manager")
    with register.database.reading() as session:  # no name, flat, contact or plate is left anywhere
        for table in Base.metadata.sorted_tables:
            for row in session.execute(select(table)):
                assert not any(word in str(row) for word in ("Resident", "evenings", "ab 12-c", "AB12C"))


def test_an_owner_goes_with_the_last_vehicle(register, enrolled):
    first, second, _ = enrolled
    assert register.forget(account="t", vehicle_id=first).owners == 0
    assert register.forget(account="t", vehicle_id=second).owners == 1
    assert rows(register)["owner"] == 0


def test_numbers_never_come_again(register, model, enrolled):
    register.forget(account="t", vehicle_id=enrolled[2])
    assert register.enrol([view(RNG)], model_id=model.id, account="t") == enrolled[2] + 1
    views = [row.id for row in register.vehicle(enrolled[2] + 1).views]
    assert views == [5]


def test_an_unsure_look_up_is_not_tied_to_the_nearest_vehicle(register, enrolled):
    journal = Journal(register.database)
    decision = Decision(Outcome.unsure, enrolled[0], "fused", 0.85, 0.9, None)
    with register.database.writing() as session:
        number = journal.record_sighting(session, decision, [], "guard")
    left_open = journal.report_incident(number, "blocks a gate", "", "guard")
    known = journal.report_incident(number, "blocks a gate", "", "guard", enrolled[2])
    assert journal.incident(left_open).vehicle_id is None
    assert journal.incident(known).vehicle_id == enrolled[2]
    register.forget(account="t", vehicle_id=enrolled[0])
    assert rows(register)["sighting"] == 1
    with pytest.raises(NotEnrolledError):
        journal.report_incident(number, "blocks a gate", "", "guard", 99)


def test_old_look_ups_are_forgotten_but_not_those_of_incidents_or_with_enrolled_pictures(register, model):
    journal = Journal(register.database)
    shared, alone, reported = (register.photos.keep(photo(number)) for number in range(3))
    decision = Decision(Outcome.unknown, None, None, None, None, None)
    with register.database.writing() as session:
        number = register.enrol_in(session, [NewView(shared, vectors(RNG))], model_id=model.id, account="t")
        journal.record_sighting(session, decision, [NewView(shared, {})], "t", enrolled=number)
        journal.record_sighting(session, decision, [NewView(alone, {})], "t")
        last = journal.record_sighting(session, decision, [NewView(reported, {})], "t")
    journal.report_incident(last, "blocks a gate", "", "t")
    assert journal.forget_sightings(now() - timedelta(days=1), "t") == []
    assert journal.forget_sightings(now() + timedelta(seconds=1), "t") == [alone]
    assert rows(register)["sighting"] == 1


def test_a_reader_that_keeps_the_log_is_told(register, model, monkeypatch):
    if not register.database.is_sqlite:
        pytest.skip("PostgreSQL has no log that could be emptied")
    monkeypatch.setattr("app.register.database._TRIES", 2)
    number = register.enrol([view(RNG)], model_id=model.id, account="t")
    with register.database.reading() as session:
        session.scalar(select(func.count(View.id)))
        assert not register.forget(account="t", vehicle_id=number).overwritten
    number = register.enrol([view(RNG)], model_id=model.id, account="t")
    assert register.forget(account="t", vehicle_id=number).overwritten


def test_forgotten_rows_are_not_in_the_files(register, model, tmp_path):
    if not register.database.is_sqlite:
        pytest.skip("PostgreSQL keeps deleted rows until it vacuums: docs/register.md says so")
    secret = NewOwner("Zaphod-Unmistakable")
    number = register.enrol([view(RNG)], model_id=model.id, account="t", owner=secret, plate="ZAPHOD42")
    files = list(tmp_path.glob("register.sqlite*"))
    assert any(b"Zaphod-Unm" in path.read_bytes() for path in files)
    register.forget(account="t", owner_id=register.vehicle(number).owner_id)
    for path in tmp_path.glob("register.sqlite*"):
        assert b"Zaphod-Unm" not in path.read_bytes()
        assert b"ZAPHOD42" not in path.read_bytes()


def test_the_trail_holds_numbers_alone(register, enrolled):
    register.owner_of(enrolled[0], "guard")
    journal = Journal(register.database)
    lines = journal.audit()
    assert [(line.action, line.subject) for line in reversed(lines)] == [
        ("add model", f"model {'0' * 16}"),
        *(("enrol", f"vehicle {number}") for number in enrolled),
        ("look at owner", f"vehicle {enrolled[0]}"),
    ]
    assert not any(
        word in str([line.subject, line.details]) for line in lines for word in ("Resident", "evenings", "12-c")
    )


@pytest.mark.usefixtures("enrolled")
def test_a_model_serves_when_it_has_seen_every_picture(register, model):
    models = Models(register.database)
    new = models.add("1" * 16, ["vehicle"], "another", "tester")
    assert models.active().id == model.id
    waiting = models.views_without(new.id, 100)
    assert len(waiting) == 4
    models.add_embeddings(new.id, {each.id: {"vehicle": np.ones(5, np.float32)} for each in waiting[:3]})
    assert not models.activate(new.id, "tester")
    assert models.active().id == model.id
    rest = models.views_without(new.id, 100)
    assert [each.id for each in rest] == [waiting[3].id]
    models.add_embeddings(new.id, {rest[0].id: {"vehicle": np.ones(5, np.float32)}, 999: {"vehicle": np.ones(5)}})
    assert models.activate(new.id, "tester")
    assert models.active().id == new.id
    assert rows(register)["embedding"] == 4  # those of the model before are gone
    with pytest.raises(AnotherModelError):
        register.enrol([view(RNG)], model_id=model.id, account="tester")


def test_thresholds_belong_to_a_model(register, model):
    models = Models(register.database)
    assert models.thresholds(models.active()) == dict.fromkeys(("fused", "plate", "vehicle"), Threshold())
    chosen = Threshold(0.7, 0.6, 0.05)
    models.set_thresholds(model.id, {"plate": chosen}, "tester")
    assert models.thresholds(models.active())["plate"] == chosen
    assert models.thresholds(models.active())["fused"].match == 0.9
    with pytest.raises(NotEnrolledError, match="voice"):
        models.set_thresholds(model.id, {"voice": chosen}, "tester")


def test_writers_take_turns_and_one_that_waits_too_long_is_told(register, monkeypatch, url):
    monkeypatch.setattr("app.register.database._PATIENCE_SECONDS", 1.0)
    other = Database(url)
    done = []
    with register.database.writing() as session:
        session.execute(text("UPDATE setting SET value = value"))

        def write():
            try:
                with other.writing():
                    done.append("wrote")
            except BusyError as error:
                done.append(str(error))

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(done) == 1
    assert "another process is writing to the register" in done[0]
    with other.writing():
        pass
    other.close()


def test_a_register_of_another_version_is_refused(register, url):
    with register.database.writing() as session:
        session.execute(text("UPDATE setting SET value = '99' WHERE name = 'version'"))
    with pytest.raises(RegisterError, match="tables of version 99"):
        Database(url)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("sqlite:////nowhere/at/all.sqlite", "cannot be used: unable to open database file"),
        ("nothing", "names no database of a register"),
        ("postgresql+psycopg://nobody@127.0.0.1:1/none", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_reached_is_said_in_a_line(wrong, reason):
    with pytest.raises(RegisterError, match=reason):
        Database(wrong)


def test_pictures_that_no_row_names_are_deleted_after_an_hour(register, model, monkeypatch):
    kept, orphan = (register.photos.keep(photo(number)) for number in range(2))
    register.enrol([NewView(kept, vectors(RNG))], model_id=model.id, account="tester")
    assert register.tidy() == 0
    monkeypatch.setattr("app.register.vehicles._ORPHAN_SECONDS", -60)
    assert register.tidy() == 1
    assert not register.photos.path(orphan).exists()
    assert register.photos.path(kept).exists()


def test_a_register_of_before_gets_the_tables_that_came_later(url):
    database = Database(url)
    with database.writing() as session:
        late = ("sent_request", "list_entry")
        late += ("event", "taken_photo", "found", "correction", "confirmation", "shown", "imported", "ticket_use")
        for table in late:
            session.connection().exec_driver_sql(f"DROP TABLE {table}")
        indexes = ("ix_change_vehicle_id", "ix_sighting_created", "ix_sighting_decision", "ix_incident_sighting_id")
        for index in indexes:
            session.connection().exec_driver_sql(f"DROP INDEX {index}")
        columns = ("sighting", "camera"), ("sighting", "place"), ("vehicle", "tags"), ("incident", "noted")
        for table, column in (*columns, ("model", "evidence")):
            session.connection().exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        session.connection().exec_driver_sql("UPDATE setting SET value = '1' WHERE name = 'version'")
    database.close()
    again = Database(url)
    assert Visible(again).vehicles("guard", {1}) == set()
    assert Tokens(again).all() == []
    again.close()
