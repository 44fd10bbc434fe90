"""Texts of a register: one rule for the API, the command line, imports, reports and tokens."""

import numpy as np
import pytest
from argon2 import PasswordHasher
from registers import photo, view
from test_listing import write
from web_service import jpeg

from app.register.accounts import Accounts, Role
from app.register.importing import import_entries
from app.register.matcher import Decision, Outcome
from app.register.records import NewOwner
from app.register.sightings import Journal
from app.register.tables import read_listing
from app.register.texts import TextError, line_fault, text_fault
from scripts import register as register_command


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


LINES = {
    "x" * 201: "has 201 characters; the most is 200",
    "a\nb": r"U\+000A",
    "a\tb": r"U\+0009",
    "a\x00b": r"U\+0000",
    "a\x1b[2Jb": r"U\+001B\) at place 2; take it out",
    "a\x85b": r"U\+0085",
    "a\u200bb": r"U\+200B, zero width space\) at place 2",
    "\ufeffa": r"U\+FEFF",
    "a\u00adb": r"U\+00AD, soft hyphen",
    "a\u202eb": r"U\+202E, right-to-left override",
    "a\u2066b": r"U\+2066",
    "a\u2028b": r"U\+2028",
    "a\U000e0041b": r"U\+E0041",
    "a\ud800b": r"U\+D800",
    "a\u3164b": r"U\+3164, hangul filler",
}
GOOD = ("", "A. Resident", "Ä", "José O'Neil-Ruiz", "علی", "نرم‌افزار", "李雷", "x" * 200, "\U0001f697", "👩‍👩‍👧")


@pytest.mark.parametrize(("text", "fault"), LINES.items(), ids=ascii)
def test_a_text_that_is_not_kept_is_refused_wherever_it_comes_from(register, model, text, fault):
    rng = np.random.default_rng(0)
    assert line_fault(text) != ""
    given = {"model_id": model.id, "account": "tester"}
    for owner in (NewOwner(text), NewOwner("A", flat=text), NewOwner("A", contact=text)):
        with pytest.raises(TextError, match=fault):
            register.enrol([view(rng)], owner=owner, **given)
    with pytest.raises(TextError, match=f"plate .*{fault}"):
        register.enrol([view(rng)], plate=text, **given)
    assert register.counts()["vehicles"] == 0
    journal = Journal(register.database)
    with register.database.writing() as session:
        sighting = journal.record_sighting(
            session, Decision(Outcome.unknown, None, None, None, None, None, {}), [], "tester"
        )
    with pytest.raises(TextError, match=f"kind .*{fault}"):
        journal.report_incident(sighting, text, "", "tester")
    if text_fault(text):
        with pytest.raises(TextError, match=f"note .*{fault}"):
            register.enrol([view(rng)], note=text, **given)
        with pytest.raises(TextError, match=f"note .*{fault}"):
            journal.report_incident(sighting, "seen", text, "tester")
    accounts = Accounts(register.database, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    accounts.add("Ada", Role.admin, "correct horse battery", "tester")
    with pytest.raises(TextError, match=f"label .*{fault}"):
        accounts.new_token("Ada", text, 1, "tester")
    assert journal.incidents() == []


def test_texts_of_people_are_kept(register, model):
    rng = np.random.default_rng(0)
    for text in GOOD:
        assert line_fault(text) == text_fault(text) == ""
    assert text_fault("one\ntwo\r\n\tthree" + "x" * 1900) == ""
    assert text_fault("x" * 2001) == "has 2,001 characters; the most is 2,000"
    assert text_fault("one\rtwo") != ""
    number = register.enrol(
        [view(rng)], model_id=model.id, account="t", owner=NewOwner(" Ä \n"), note=" one\r\ntwo ", plate=" AB 1 "
    )
    kept = register.vehicle(number)
    assert (kept.note, kept.plate.text, register.owner_of(number, "t").name) == ("one\ntwo", "AB 1", "Ä")


@pytest.mark.slow
def test_the_service_and_the_command_line_say_the_same(as_role, identification, tmp_path):
    client, path = as_role("manager"), tmp_path / "1.png"
    photo(1).image.save(path)
    before = identification.register.counts()
    for field in ("owner", "flat", "contact", "plate", "note"):
        for text in ("x" * 2001, "a\u200bb"):
            more = {} if field in ("owner", "plate", "note") else {"owner": "A"}
            said = client.post("/api/vehicles", files=[("pictures", jpeg(1))], data={field: text, **more})
            assert said.status_code == 422, said.text
            where, _, api = said.json()["detail"].partition(": ")
            words = [
                "--register",
                str(identification.folder),
                "--url",
                str(identification.database.engine.url),
                "--device",
                "cpu",
            ]
            with pytest.raises(TextError) as error:
                register_command.main(
                    ["enrol", str(path), f"--{field}={text}", *(["--owner=A"] if more else []), *words]
                )
            assert (where, f"{field} {api}") == (field, str(error.value))
    assert identification.register.counts() == before


def test_a_row_with_a_text_that_is_not_kept_fails_and_the_import_goes_on(identification, tmp_path):
    path = write(
        tmp_path,
        {"path": "a.png", "vehicle": "one", "owner": "A"},
        {"path": "b.png", "vehicle": "one", "note": "x" * 2001},  # 3: and row 2, whose vehicle is to have the note
        {"path": "c.png", "owner": "B\u202e"},  # 4
        {"path": "d.png", "plate_text": "P" + "-" * 200},  # 5
        {"path": "e.png", "owner": "E", "contact": "line\nbreak"},  # 6
        {"path": "f.png", "owner": "F", "note": "line\r\nbreak"},  # 7: good
    )
    results = list(import_entries(identification, read_listing(path), "tester"))
    assert [(result.row, result.vehicle) for result in results if not result.reason] == [(7, 1)]
    assert identification.register.vehicle(1).note == "line\nbreak"
    reasons = {result.row: result.reason for result in results if result.reason}
    assert reasons[2] == "row 3 of the same vehicle, column note has 2,001 characters; the most is 2,000"
    assert reasons[3] == "column note has 2,001 characters; the most is 2,000"
    assert "column owner holds a character that is not allowed (U+202E, right-to-left override)" in reasons[4]
    assert reasons[5] == "column plate_text has 201 characters; the most is 200"
    assert "column contact holds a character that is not allowed (U+000A)" in reasons[6]
    path.write_bytes(path.read_bytes().replace(b"x" * 2001, b"x"))
    again = list(import_entries(identification, read_listing(path), "tester"))
    assert [(result.row, result.vehicle, result.enrolled) for result in again if not result.reason] == [
        (2, 2, True),
        (3, 2, False),
        (7, 1, False),
    ]
    assert identification.register.vehicle(2).note == "x"
