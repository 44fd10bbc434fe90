"""Registers of each older version: their tables are made those of today, and what they hold stays."""

import numpy as np
import pytest
from register_steps import NEXT, NOW, colour, plus, version
from register_tables import change, contents, described
from registers import view

from app.register.confirmations import Confirmations, Says
from app.register.corrections import Corrections, Edit
from app.register.database import Database
from app.register.errors import NotEnrolledError
from app.register.event_tables import Event
from app.register.history import Chosen, History
from app.register.lists import Kind, Lists, NewEntry
from app.register.schema import Sighting
from app.register.search import By, Search
from app.register.sent_once import KeyReusedError, SentOnce
from app.register.vehicles import Register

VERSION_8 = "DROP TABLE sent_request;"
VERSION_7 = (
    f"{VERSION_8} DROP TABLE list_entry; ALTER TABLE vehicle DROP COLUMN tags; ALTER TABLE incident DROP COLUMN noted;"
)
VERSION_6 = (
    f"{VERSION_7} DROP INDEX ix_sighting_created; DROP INDEX ix_sighting_decision; DROP INDEX ix_incident_sighting_id;"
)
VERSION_5 = (
    f"{VERSION_6} DROP TABLE event; DROP TABLE taken_photo; "
    "ALTER TABLE sighting DROP COLUMN camera; ALTER TABLE sighting DROP COLUMN place;"
)
VERSION_4 = f"{VERSION_5} DROP TABLE found;"
VERSION_3 = f"{VERSION_4} DROP TABLE correction; DROP INDEX ix_change_vehicle_id;"
VERSION_2 = f"{VERSION_3} DROP TABLE confirmation;"
VERSION_1 = f"{VERSION_2} ALTER TABLE model DROP COLUMN evidence;"
"""Take the tables back to those of an earlier version."""


@pytest.mark.parametrize(
    "script", ["DELETE FROM setting WHERE name = 'version';", "DROP TABLE setting;"], ids=["no row", "no table"]
)
def test_a_register_from_before_versions_were_kept_is_recognised(one_vehicle, url, script, monkeypatch):
    tables = described(one_vehicle)
    change(one_vehicle, f"{script} {VERSION_1} DROP TABLE shown; DROP TABLE ticket_use;")
    plus(monkeypatch, colour)
    database = Database(url)
    assert version(database) == NEXT
    assert described(database).keys() == tables.keys()
    assert len(contents(database)["vehicle"]) == 1
    database.close()


def test_tables_that_came_late_in_version_1_are_made(one_vehicle, url):
    tables = described(one_vehicle)
    change(one_vehicle, f"UPDATE setting SET value = '1' WHERE name = 'version'; {VERSION_1}")
    change(one_vehicle, "DROP TABLE shown; DROP TABLE imported; DROP TABLE ticket_use;")
    database = Database(url)
    assert described(database) == tables
    assert version(database) == str(NOW)
    database.close()


@pytest.mark.parametrize(("held", "script"), [("1", VERSION_1), ("2", VERSION_2)])
def test_answers_of_earlier_versions_can_be_confirmed(register, model, url, held, script):
    """What was there stays, and a sighting from before has no confirmation until somebody gives one."""
    one_vehicle = register.database
    number = register.enrol([view(np.random.default_rng(0))], model_id=model.id, account="tester")
    with one_vehicle.writing() as session:
        session.add(Sighting(vehicle_id=number, decision="match", answer={}, pictures=[], account="guard"))
    tables, rows = described(one_vehicle), contents(one_vehicle)
    change(one_vehicle, f"UPDATE setting SET value = '{held}' WHERE name = 'version'; {script}")
    assert "confirmation" not in described(one_vehicle)
    database = Database(url)
    assert (described(database), contents(database)) == (tables, rows)
    assert version(database) == str(NOW)
    confirmations = Confirmations(database)
    with pytest.raises(NotEnrolledError, match="nothing was confirmed about sighting 1"):
        confirmations.of(1)
    row, right = confirmations.confirm(1, Says.right, "guard")
    assert (row.vehicle_id, right) == (number, True)
    database.close()


@pytest.mark.parametrize(("held", "script"), [("3", VERSION_3), ("4", VERSION_4), ("6", VERSION_6)])
def test_vehicles_and_sightings_of_earlier_versions_are_found(one_vehicle, url, held, script):
    with one_vehicle.writing() as session:
        session.add(Sighting(vehicle_id=1, decision="match", answer={}, pictures=[], account="guard"))
    tables, rows = described(one_vehicle), contents(one_vehicle)
    change(one_vehicle, f"UPDATE setting SET value = '{held}' WHERE name = 'version'; {script}")
    database = Database(url)
    assert (described(database), contents(database)) == (tables, rows)
    assert [hit.by for hit in Search(database).for_manager("fr1", 1, "manager").hits] == [By.plate]
    assert [row.vehicle for row in History(database).sightings(Chosen(decision="match"))] == [1]
    database.close()


def test_sightings_of_version_5_are_of_no_camera_and_have_no_events(register, url):
    one_vehicle = register.database
    with one_vehicle.writing() as session:
        session.add(Sighting(decision="unknown", answer={}, pictures=[], account="guard"))
    tables = described(one_vehicle)
    change(one_vehicle, f"UPDATE setting SET value = '5' WHERE name = 'version'; {VERSION_5}")
    database = Database(url)
    assert described(database) == tables
    with database.reading() as session:
        row = session.get(Sighting, 1)
        assert (row.camera, row.place, row.account) == (None, None, "guard")
        assert session.query(Event).count() == 0
    database.close()


def test_a_register_of_version_3_can_be_corrected(register, model, url):
    one_vehicle = register.database
    number = register.enrol([view(np.random.default_rng(0))], model_id=model.id, account="tester", plate="FR 1")
    tables, rows = described(one_vehicle), contents(one_vehicle)
    change(one_vehicle, f"UPDATE setting SET value = '3' WHERE name = 'version'; {VERSION_3}")
    assert "correction" not in described(one_vehicle)
    database = Database(url)
    assert (described(database), contents(database)) == (tables, rows)
    corrections = Corrections(Register(database, register.photos))
    assert corrections.edit(number, Edit(plate="FR 2"), account="tester") == ["plate"]
    assert corrections.undo(number, account="tester") == "edit"
    database.close()


def test_requests_of_earlier_versions_have_no_key_and_later_ones_have(one_vehicle, url):
    change(one_vehicle, f"UPDATE setting SET value = '8' WHERE name = 'version'; {VERSION_8}")
    database = Database(url)
    assert version(database) == str(NOW)
    sent = SentOnce(database)
    assert sent.find("guard", "k" * 16, "digest") is None
    with database.writing() as session:
        row = Sighting(decision="unknown", answer={}, pictures=[], account="guard")
        session.add(row)
        session.flush()
        sent.of_sighting("guard", "k" * 16, "digest")(session, row.id)
    assert sent.find("guard", "k" * 16, "digest").sighting_id == row.id
    assert sent.find("another", "k" * 16, "digest") is None
    with pytest.raises(KeyReusedError):
        sent.find("guard", "k" * 16, "something else")
    with database.writing() as session:
        session.delete(session.get(Sighting, row.id))
    assert sent.find("guard", "k" * 16, "digest") is None
    database.close()


def test_vehicles_of_version_7_get_tags_and_stand_on_lists(register, model, url):
    one_vehicle = register.database
    number = register.enrol([view(np.random.default_rng(0))], model_id=model.id, account="tester", plate="FR 1")
    tables, rows = described(one_vehicle), contents(one_vehicle)
    change(one_vehicle, f"UPDATE setting SET value = '7' WHERE name = 'version'; {VERSION_7}")
    assert "list_entry" not in described(one_vehicle)
    database = Database(url)
    assert (described(database), contents(database)) == (tables, rows)
    assert version(database) == str(NOW)
    held = Register(database, register.photos)
    assert held.vehicle(number).tags == []
    assert Corrections(held).edit(number, Edit(tags=["EV"]), account="tester") == ["tags"]
    assert Lists(database).add(NewEntry(Kind.deny, vehicle=number), "tester").vehicle_id == number
    database.close()
