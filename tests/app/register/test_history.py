"""Lists of sightings and incidents: filters, pages, tables, reopening; and sightings that go by themselves."""

import csv
import io
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from registers import photo, vectors, view

from app.register.confirmations import Confirmations, Says
from app.register.database import Database
from app.register.errors import NotEnrolledError, RegisterError
from app.register.history import Chosen, History, week_ago
from app.register.matcher import Decision, Outcome
from app.register.records import NewView
from app.register.retention import Retention, retention_days, set_retention_days
from app.register.schema import Incident, Setting, Sighting, now
from app.register.sightings import Journal

DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def held(register, model):
    """Two vehicles, six sightings on three days, two incidents."""
    for plate in ("AB 1", "=CD 2"):
        register.enrol([view(np.random.default_rng())], model_id=model.id, account="tester", plate=plate)
    rows = [(1, "match"), (None, "unknown"), (1, "match"), (2, "match"), (None, "unsure"), (1, "match")]
    with register.database.writing() as session:
        for number, (vehicle, decision) in enumerate(rows):
            answer = {"plate_text": {"text": f"AB{number}"} if number == 2 else None}
            created = DAY + timedelta(hours=12 * number)
            session.add(
                Sighting(
                    vehicle_id=vehicle,
                    decision=decision,
                    answer=answer,
                    pictures=[f"{number:032x}.jpg"],
                    account="guard" if number else "other",
                    created=created,
                )
            )
            session.flush()
        for sighting, vehicle, note in ((1, 1, "=1+1"), (4, 2, "two\nlines")):
            session.add(
                Incident(
                    sighting_id=sighting,
                    vehicle_id=vehicle,
                    kind="blocks a gate",
                    note=note,
                    account="guard",
                    created=DAY + timedelta(days=sighting - 1),
                )
            )
            session.flush()
    return SimpleNamespace(register=register, database=register.database, history=History(register.database))


def sightings(held, before=None, limit=50, **chosen):
    return [row.sighting.id for row in held.history.sightings(Chosen(**chosen), before, limit)]


def incidents(held, before=None, limit=50, **chosen):
    return [row.incident.id for row in held.history.incidents(Chosen(**chosen), before, limit)]


def test_sightings_by_day_decision_vehicle_and_account(held):
    assert sightings(held) == [6, 5, 4, 3, 2, 1]
    assert sightings(held, day=date(2026, 3, 2)) == [4, 3]
    assert sightings(held, day=date(2026, 3, 4)) == []
    assert sightings(held, day=date.max) == sightings(held, day=date.min) == []
    assert sightings(held, decision="match") == [6, 4, 3, 1]
    assert sightings(held, decision="match", vehicle=1, day=date(2026, 3, 2)) == [3]
    assert sightings(held, account="other") == [1]
    assert (sightings(held, limit=2), sightings(held, before=5, limit=2)) == ([6, 5], [4, 3])


def test_a_vehicle_was_seen_where_somebody_confirmed_it(held):
    confirmations = Confirmations(held.database)
    assert sightings(held, vehicle=1) == [6, 3, 1]
    confirmations.confirm(5, Says.vehicle, "guard", 1)
    confirmations.confirm(6, Says.wrong, "guard")
    confirmations.confirm(3, Says.vehicle, "guard", 2)
    assert sightings(held, vehicle=1) == [5, 1]
    assert sightings(held, vehicle=2) == [4, 3]
    row = held.history.sighting(3)
    assert (row.vehicle, row.plate, row.confirmed, row.plate_read) == (2, "=CD 2", "vehicle", "AB2")
    assert held.history.sighting(1).incidents == [1]
    with pytest.raises(NotEnrolledError, match="there is no sighting 77"):
        held.history.sighting(77)


def test_how_often_a_vehicle_was_seen(held):
    assert held.history.times_seen(1, DAY) == 3
    assert held.history.times_seen(1, DAY + timedelta(hours=24)) == 2
    assert held.history.times_seen(1, week_ago() + timedelta(days=3650)) == 0


def test_incidents_by_state_day_and_vehicle_and_reopened(held):
    journal = Journal(held.database)
    assert incidents(held) == [2, 1]
    assert (incidents(held, vehicle=1), incidents(held, day=date(2026, 3, 4)), incidents(held, before=2)) == (
        [1],
        [2],
        [1],
    )
    journal.close_incident(1, "manager")
    assert (incidents(held, is_open=True), incidents(held, is_open=False)) == ([2], [1])
    for _ in range(2):  # the second time it is open already
        held.history.reopen_incident(1, "manager")
    assert incidents(held, is_open=True) == [2, 1]
    lines = [(row.action, row.subject) for row in journal.audit() if "incident" in row.action]
    assert lines == [("reopen incident", "incident 1"), ("close incident", "incident 1")]
    row = held.history.incidents(Chosen())[0]
    assert (row.plate, row.images) == ("=CD 2", [f"{3:032x}.jpg"])
    with pytest.raises(NotEnrolledError, match="there is no incident 77"):
        held.history.reopen_incident(77, "manager")


def test_tables_have_every_row_and_no_formula(held, monkeypatch):
    monkeypatch.setattr("app.register.history._CHUNK", 2)
    rows = list(csv.DictReader(io.StringIO("".join(held.history.sightings_table(Chosen(), "manager")), newline="")))
    assert [row["sighting"] for row in rows] == ["6", "5", "4", "3", "2", "1"]
    assert (rows[2]["plate"], rows[3]["plate_read"], rows[4]["vehicle"]) == ("'=CD 2", "AB2", "")
    assert rows[5]["time"] == "2026-03-01T00:00:00+00:00"
    assert (rows[0]["camera"], rows[0]["place"]) == ("", "")
    chosen = Chosen(vehicle=1)
    rows = list(csv.DictReader(io.StringIO("".join(held.history.incidents_table(chosen, "manager")), newline="")))
    assert [(row["incident"], row["note"], row["kind"]) for row in rows] == [("1", "'=1+1", "blocks a gate")]
    lines = [row for row in Journal(held.database).audit() if row.action.startswith("export")]
    assert [(row.account, row.action, row.details) for row in lines] == [
        ("manager", "export incidents", {"vehicle": 1}),
        ("manager", "export sightings", {}),
    ]


def test_retention_is_a_setting_of_the_register(register, url):
    database = register.database
    assert retention_days(database) is None
    set_retention_days(database, 30, "admin")
    with closing(Database(url)) as again:
        assert retention_days(again) == 30
    set_retention_days(database, None, "admin")
    set_retention_days(database, None, "admin")
    assert retention_days(database) is None
    for days in (0, -1, 36_501):
        with pytest.raises(RegisterError, match="for 1 to 36,500 days, or for ever"):
            set_retention_days(database, days, "admin")
    with database.writing() as session:
        session.add(Setting(name="retention_days", value="many"))
    with pytest.raises(RegisterError, match="the register is damaged: sightings are kept for 'many' days"):
        retention_days(database)


def test_old_sightings_go_by_themselves_and_reported_ones_stay(held, register, monkeypatch):
    names = [register.photos.keep(photo(number)) for number in range(2)]
    with held.database.writing() as session:
        for name, age in zip(names, (8, 6), strict=True):
            created = now() - timedelta(days=age)
            session.add(Sighting(decision="unknown", answer={}, pictures=[name], account="guard", created=created))
            session.flush()
    monkeypatch.setattr("app.register.retention._FIRST", 0.01)
    monkeypatch.setattr("app.register.retention._PAUSE", 0.01)
    monkeypatch.setattr("app.register.retention._AT_ONCE", 3)
    folder = SimpleNamespace(database=held.database, journal=Journal(held.database), photos=register.photos)
    thread = Retention(folder)
    try:
        assert not thread._stopped.wait(0.2)
        assert len(sightings(held)) == 8  # nothing is set yet
        set_retention_days(held.database, 7, "admin")
        deadline = now() + timedelta(seconds=20)
        while register.photos.path(names[0]).exists() and now() < deadline:
            thread._stopped.wait(0.02)
        assert thread._thread.is_alive()
    finally:
        thread.stop()
    assert sightings(held) == [8, 4, 1]
    assert [register.photos.path(name).exists() for name in names] == [False, True]
    lines = [row for row in Journal(held.database).audit() if row.action == "forget sightings"]
    assert [(row.account, row.details) for row in lines] == [
        ("(retention)", {"sightings": number}) for number in (2, 3)
    ]  # and no line for none


def test_enrolled_images_of_forgotten_sightings_stay_however_many_there_are(register, model, monkeypatch):
    monkeypatch.setattr("app.register.sightings._CHUNK", 2)
    journal, rng = Journal(register.database), np.random.default_rng(0)
    images = [register.photos.keep(photo(number)) for number in range(5)]
    decision = Decision(Outcome.unknown, None, None, None, None, None)
    with register.database.writing() as session:
        for picture, plate in ((images[0], None), (images[1], images[4])):
            enrolled = NewView(picture, vectors(rng), plate_image=plate)
            register.enrol_in(session, [enrolled], model_id=model.id, account="t")
        journal.record_sighting(session, decision, [NewView(name, {}) for name in images], "t")
    assert journal.forget_sightings(now() + timedelta(seconds=1), "t") == images[2:4]
