"""Upgrades of a register's tables: all of it or nothing, once, and frozen registers answer as before."""

import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pgvector.sqlalchemy  # noqa: F401 - SQLAlchemy knows the type by it
import pytest
from register_steps import COLOUR, NEXT, NOW, colour, plus, version
from registers import view
from sqlalchemy import inspect, text

from app.register.confirmations import Confirmations, Says
from app.register.corrections import Corrections, Edit
from app.register.database import Database
from app.register.errors import NotEnrolledError, RegisterError, UnavailableError
from app.register.event_tables import Event
from app.register.history import Chosen, History
from app.register.schema import Base, Sighting
from app.register.search import By, Search
from app.register.upgrades import run_sql
from app.register.vehicles import Register

ROOT = Path(__file__).resolve().parents[3]
KILLED = f"""
import os, signal, sys
from app.register import upgrades
from app.register.corrections import Corrections, Edit
from app.register.database import Database

def half(connection):
    upgrades.run_sql(connection, "{COLOUR} DROP TABLE change; CREATE TABLE new ({{id}}, at {{time}});")
    os.kill(os.getpid(), signal.SIGKILL)

upgrades.STEPS = (*upgrades.STEPS, upgrades.Step({NEXT}, half))
Database(sys.argv[1])
"""


def described(database):
    """Every table with columns, keys, indexes and, in SQLite, whether numbers never come again."""
    found = {}
    inspector = inspect(database.engine)
    for table in inspector.get_table_names():
        columns = [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)]
        keys = [
            (key["constrained_columns"], key["referred_table"], key["options"])
            for key in inspector.get_foreign_keys(table)
        ]
        if database.is_sqlite:  # SQLAlchemy leaves out ON DELETE of a column's own REFERENCES
            with database.engine.connect() as connection:
                keys = [tuple(row[2:]) for row in connection.exec_driver_sql(f"PRAGMA foreign_key_list('{table}')")]
        unique = [sorted(u["column_names"]) for u in inspector.get_unique_constraints(table)]
        indexes = [(i["name"], i["column_names"], bool(i["unique"])) for i in inspector.get_indexes(table)]
        primary = inspector.get_pk_constraint(table)["constrained_columns"]
        found[table] = sorted(columns), sorted(keys, key=str), sorted(unique), sorted(indexes), primary
    if database.is_sqlite:
        with database.reading() as session:
            rows = session.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")).all()
        found["numbers"] = sorted(name for name, sql in rows if sql and "AUTOINCREMENT" in sql)
    return found


def contents(database):
    """Rows of every table."""
    with database.reading() as session:
        return {
            table: sorted(map(repr, session.execute(text(f'SELECT * FROM "{table}"')).all()))
            for table in inspect(session.connection()).get_table_names()
        }


def change(database, script):
    with database.writing() as session:
        run_sql(session.connection(), script)


@pytest.fixture
def filled(register, model):
    """A database with a vehicle."""
    register.enrol([view(np.random.default_rng(0))], model_id=model.id, account="tester", plate="FR 1")
    return register.database


def test_the_steps_make_the_tables_of_the_schema(url):
    """What changes in the schema without a step would be missing in every register that is there."""
    database = Database(url)
    by_steps = described(database)
    Base.metadata.drop_all(database.engine)
    change(database, "DROP TABLE IF EXISTS setting;")
    Base.metadata.create_all(database.engine)
    assert by_steps == described(database)
    database.close()


@pytest.mark.usefixtures("filled")
def test_a_register_is_upgraded_as_it_is_opened(url, monkeypatch, caplog):
    plus(monkeypatch, colour)
    with caplog.at_level(logging.WARNING):
        database = Database(url)
    assert f"upgraded from version {NOW} to {NEXT}; an older program opens its backup alone" in caplog.text
    assert version(database) == NEXT
    with database.reading() as session:
        assert session.execute(text("SELECT colour FROM vehicle")).scalars().all() == ["red"]
    caplog.clear()
    Database(url).close()  # and not again: a column would be there twice
    assert not caplog.text
    database.close()


def test_steps_that_were_taken_are_not_taken_again(filled, url, monkeypatch):
    taken = []
    for name, more in (("a", 1), ("b", 1), ("c", 2)):
        plus(monkeypatch, lambda _, name=name: taken.append(name), more)
    Database(url).close()
    plus(monkeypatch, lambda _: taken.append("d"), 2)
    Database(url).close()
    assert taken == ["a", "b", "c", "d"]
    assert version(filled) == str(NOW + 6)


def test_a_new_register_takes_every_step_and_says_nothing(url, monkeypatch, caplog):
    plus(monkeypatch, colour)
    with caplog.at_level(logging.WARNING):
        database = Database(url)
    assert "colour" in [column["name"] for column in inspect(database.engine).get_columns("vehicle")]
    assert version(database) == NEXT
    assert not caplog.text
    database.close()


def test_a_process_that_is_killed_amid_an_upgrade_leaves_the_register_as_it_was(filled, url, monkeypatch):
    before = described(filled), contents(filled)
    done = subprocess.run([sys.executable, "-c", KILLED, url], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    again = Database(url)
    assert (described(again), contents(again)) == before
    again.close()
    plus(monkeypatch, colour)
    upgraded = Database(url)
    assert version(upgraded) == NEXT
    upgraded.close()


def test_a_step_that_fails_leaves_the_register_as_it_was(filled, url, monkeypatch):
    before = described(filled), contents(filled)
    plus(monkeypatch, colour)
    plus(monkeypatch, lambda connection: run_sql(connection, "DROP TABLE change; SELECT * FROM nothing;"))
    with pytest.raises(UnavailableError, match="nothing"):
        Database(url)
    assert (described(filled), contents(filled)) == before


@pytest.mark.usefixtures("filled")
def test_services_that_open_a_register_at_once_upgrade_it_once(url, monkeypatch):
    """The first waits in its step until all are about to open the register; the others wait for their turn."""
    count, taken, opened, ready, another = 4, [], [], threading.Semaphore(0), threading.Event()

    def run(connection):
        taken.append(threading.get_ident())
        if len(taken) > 1:
            another.set()
            return
        for _ in range(count):
            assert ready.acquire(timeout=30)
        another.wait(timeout=0.5)  # time for one that would not wait for its turn
        colour(connection)

    def open_it():
        ready.release()
        database = Database(url)
        opened.append(version(database))
        database.close()

    plus(monkeypatch, run)
    threads = [threading.Thread(target=open_it) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert opened == [NEXT] * count


def test_a_register_of_a_newer_version_is_refused_with_the_remedy(filled, url):
    change(filled, "UPDATE setting SET value = '999' WHERE name = 'version'; DROP TABLE shown;")
    before = described(filled)
    with pytest.raises(
        RegisterError, match=r"version 999, .* up to \d+: use the version of the project that .* backup"
    ):
        Database(url)
    assert described(filled) == before


VERSION_6 = "DROP INDEX ix_sighting_created; DROP INDEX ix_sighting_decision; DROP INDEX ix_incident_sighting_id;"
VERSION_5 = (
    f"{VERSION_6} DROP TABLE event; DROP TABLE taken_photo; "
    "ALTER TABLE sighting DROP COLUMN camera; ALTER TABLE sighting DROP COLUMN place;"
)
VERSION_4 = f"{VERSION_5} DROP TABLE found;"
VERSION_3 = f"{VERSION_4} DROP TABLE correction; DROP INDEX ix_change_vehicle_id;"
VERSION_2 = f"{VERSION_3} DROP TABLE confirmation;"
VERSION_1 = f"{VERSION_2} ALTER TABLE model DROP COLUMN evidence;"
"""Take the tables back to those of an earlier version."""


@pytest.mark.parametrize("value", ["", "one", "-1", "1.5", "9" * 5000])
def test_a_version_that_is_none_is_named(filled, url, value):
    change(filled, f"UPDATE setting SET value = '{value}' WHERE name = 'version';")
    with pytest.raises(RegisterError, match="the register is damaged: its tables are of version"):
        Database(url)


@pytest.mark.parametrize(
    "script", ["DELETE FROM setting WHERE name = 'version';", "DROP TABLE setting;"], ids=["no row", "no table"]
)
def test_a_register_from_before_versions_were_kept_is_recognised(filled, url, script, monkeypatch):
    tables = described(filled)
    change(filled, f"{script} {VERSION_1} DROP TABLE shown; DROP TABLE ticket_use;")
    plus(monkeypatch, colour)
    database = Database(url)
    assert version(database) == NEXT
    assert described(database).keys() == tables.keys()
    assert len(contents(database)["vehicle"]) == 1
    database.close()


def test_tables_that_came_late_in_version_1_are_made(filled, url):
    tables = described(filled)
    change(filled, f"UPDATE setting SET value = '1' WHERE name = 'version'; {VERSION_1}")
    change(filled, "DROP TABLE shown; DROP TABLE imported; DROP TABLE ticket_use;")
    database = Database(url)
    assert described(database) == tables
    assert version(database) == str(NOW)
    database.close()


@pytest.mark.parametrize(("held", "script"), [("1", VERSION_1), ("2", VERSION_2)])
def test_answers_of_earlier_versions_can_be_confirmed(register, model, url, held, script):
    """What was there stays, and a sighting from before has no confirmation until somebody gives one."""
    filled = register.database
    number = register.enrol([view(np.random.default_rng(0))], model_id=model.id, account="tester")
    with filled.writing() as session:
        session.add(Sighting(vehicle_id=number, decision="match", answer={}, pictures=[], account="guard"))
    tables, rows = described(filled), contents(filled)
    change(filled, f"UPDATE setting SET value = '{held}' WHERE name = 'version'; {script}")
    assert "confirmation" not in described(filled)
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
def test_vehicles_and_sightings_of_earlier_versions_are_found(filled, url, held, script):
    with filled.writing() as session:
        session.add(Sighting(vehicle_id=1, decision="match", answer={}, pictures=[], account="guard"))
    tables, rows = described(filled), contents(filled)
    change(filled, f"UPDATE setting SET value = '{held}' WHERE name = 'version'; {script}")
    database = Database(url)
    assert (described(database), contents(database)) == (tables, rows)
    assert [hit.by for hit in Search(database).for_manager("fr1", 1, "manager").hits] == [By.plate]
    assert [row.vehicle for row in History(database).sightings(Chosen(decision="match"))] == [1]
    database.close()


def test_sightings_of_version_5_are_of_no_camera_and_have_no_events(register, url):
    filled = register.database
    with filled.writing() as session:
        session.add(Sighting(decision="unknown", answer={}, pictures=[], account="guard"))
    tables = described(filled)
    change(filled, f"UPDATE setting SET value = '5' WHERE name = 'version'; {VERSION_5}")
    database = Database(url)
    assert described(database) == tables
    with database.reading() as session:
        row = session.get(Sighting, 1)
        assert (row.camera, row.place, row.account) == (None, None, "guard")
        assert session.query(Event).count() == 0
    database.close()


def test_tables_of_another_program_are_left_alone(url):
    database = Database(url)
    Base.metadata.drop_all(database.engine)
    change(database, "CREATE TABLE vehicle (wheels INTEGER);")
    before = described(database)
    with pytest.raises(RegisterError, match="a table 'vehicle' that is no register's: give the register a database"):
        Database(url)
    assert described(database) == before
    database.close()


def test_a_register_of_version_3_can_be_corrected(register, model, url):
    filled = register.database
    number = register.enrol([view(np.random.default_rng(0))], model_id=model.id, account="tester", plate="FR 1")
    tables, rows = described(filled), contents(filled)
    change(filled, f"UPDATE setting SET value = '3' WHERE name = 'version'; {VERSION_3}")
    assert "correction" not in described(filled)
    database = Database(url)
    assert (described(database), contents(database)) == (tables, rows)
    corrections = Corrections(Register(database, register.photos))
    assert corrections.edit(number, Edit(plate="FR 2"), account="tester") == ["plate"]
    assert corrections.undo(number, account="tester") == "edit"
    database.close()
