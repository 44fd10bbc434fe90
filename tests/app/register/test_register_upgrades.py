"""Upgrades of a register's tables: all of it or nothing, and once."""

import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from register_steps import COLOUR, NEXT, NOW, colour, plus, version
from register_tables import change, contents, described
from sqlalchemy import inspect, text

from app.register.database import Database
from app.register.errors import RegisterError, UnavailableError
from app.register.schema import Base
from app.register.upgrades import run_sql

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


def test_the_steps_make_the_tables_of_the_schema(url):
    """What changes in the schema without a step would be missing in every register that is there."""
    database = Database(url)
    by_steps = described(database)
    Base.metadata.drop_all(database.engine)
    change(database, "DROP TABLE IF EXISTS setting;")
    Base.metadata.create_all(database.engine)
    assert by_steps == described(database)
    database.close()


@pytest.mark.usefixtures("one_vehicle")
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


def test_steps_that_were_taken_are_not_taken_again(one_vehicle, url, monkeypatch):
    taken = []
    for name, more in (("a", 1), ("b", 1), ("c", 2)):
        plus(monkeypatch, lambda _, name=name: taken.append(name), more)
    Database(url).close()
    plus(monkeypatch, lambda _: taken.append("d"), 2)
    Database(url).close()
    assert taken == ["a", "b", "c", "d"]
    assert version(one_vehicle) == str(NOW + 6)


def test_a_new_register_takes_every_step_and_says_nothing(url, monkeypatch, caplog):
    plus(monkeypatch, colour)
    with caplog.at_level(logging.WARNING):
        database = Database(url)
    assert "colour" in [column["name"] for column in inspect(database.engine).get_columns("vehicle")]
    assert version(database) == NEXT
    assert not caplog.text
    database.close()


@pytest.mark.slow
def test_a_process_that_is_killed_amid_an_upgrade_leaves_the_register_as_it_was(one_vehicle, url, monkeypatch):
    before = described(one_vehicle), contents(one_vehicle)
    done = subprocess.run([sys.executable, "-c", KILLED, url], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    again = Database(url)
    assert (described(again), contents(again)) == before
    again.close()
    plus(monkeypatch, colour)
    upgraded = Database(url)
    assert version(upgraded) == NEXT
    upgraded.close()


def test_a_step_that_fails_leaves_the_register_as_it_was(one_vehicle, url, monkeypatch):
    before = described(one_vehicle), contents(one_vehicle)
    plus(monkeypatch, colour)
    plus(monkeypatch, lambda connection: run_sql(connection, "DROP TABLE change; SELECT * FROM nothing;"))
    with pytest.raises(UnavailableError, match="nothing"):
        Database(url)
    assert (described(one_vehicle), contents(one_vehicle)) == before


@pytest.mark.usefixtures("one_vehicle")
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


def test_a_register_of_a_newer_version_is_refused_with_the_remedy(one_vehicle, url):
    change(one_vehicle, "UPDATE setting SET value = '999' WHERE name = 'version'; DROP TABLE shown;")
    before = described(one_vehicle)
    with pytest.raises(
        RegisterError, match=r"version 999, .* up to \d+: use the version of the project that .* backup"
    ):
        Database(url)
    assert described(one_vehicle) == before


@pytest.mark.parametrize("value", ["", "one", "-1", "1.5", "9" * 5000])
def test_a_version_that_is_none_is_named(one_vehicle, url, value):
    change(one_vehicle, f"UPDATE setting SET value = '{value}' WHERE name = 'version';")
    with pytest.raises(RegisterError, match="the register is damaged: its tables are of version"):
        Database(url)


def test_tables_of_another_program_are_left_alone(url):
    database = Database(url)
    Base.metadata.drop_all(database.engine)
    change(database, "CREATE TABLE vehicle (wheels INTEGER);")
    before = described(database)
    with pytest.raises(RegisterError, match="a table 'vehicle' that is no register's: give the register a database"):
        Database(url)
    assert described(database) == before
    database.close()
