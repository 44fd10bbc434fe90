"""Lists of visitors, allowed and denied plates: rules of entries, times, trail, retention."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from registers import view

from app.register.errors import NotEnrolledError, RegisterError
from app.register.folder import RegisterFolder
from app.register.lists import ChosenEntries, EntryChange, Kind, ListError, NewEntry
from app.register.model_versions import Models
from app.register.retention import Retention, forget_old_sightings, set_retention_days
from app.register.site_time import read_moment, written, written_end

DAY = timedelta(days=1)
BERLIN = "Europe/Berlin"


def soon(days=1):
    return datetime.now(UTC) + days * DAY


def denied(plate="AB 1234", **more):
    return NewEntry(Kind.deny, plate, **more)


def visitor(plate="VI 51", days=1, **more):
    return NewEntry(Kind.visitor, plate, ends=soon(days), **more)


@pytest.fixture
def held(tmp_path, url):
    """A register with vehicle 1, which has the plate AB 1234."""
    held = RegisterFolder(tmp_path / "register", url)
    model = Models(held.database).add("0" * 16, ["fused", "plate", "vehicle"], "a test", "tester")
    rng = np.random.default_rng(0)
    held.register.enrol([view(rng)], model_id=model.id, account="tester", plate="AB 1234")
    held.register.enrol([view(rng)], model_id=model.id, account="tester")
    yield held
    held.close()


BAD = {
    "needs a plate, or the number": NewEntry(Kind.deny),
    "not both": NewEntry(Kind.deny, "AB 1", 1),
    "without \\* and \\?": denied("AB*"),
    "not a plate: '--'": denied("--"),
    "a visitor needs an end": NewEntry(Kind.visitor, "AB 1"),
    "is in the past": visitor(days=-1),
    "is not after its begin": visitor(begins=soon(2)),
    "plate holds a character": denied("AB\u202e1"),
    "there is no vehicle 9": NewEntry(Kind.deny, vehicle=9),
    "the kind of a list entry is visitor, allow, deny": NewEntry("denied", "AB 1"),
}


@pytest.mark.parametrize("words", BAD)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_entry_that_cannot_be_is_refused_in_one_line(held, words):
    with pytest.raises(RegisterError, match=words):
        held.lists.add(BAD[words], "manager")
    assert held.lists.entries(ChosenEntries()) == []
    assert held.journal.audit(1)[0].action == "enrol"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (denied("XY 9"), visitor("xy-9")),
        (visitor("XY 9"), denied("XY9", begins=datetime.now(UTC))),
        (NewEntry(Kind.allow, vehicle=1), denied("AB1234")),
        (denied("ab 1234"), NewEntry(Kind.allow, vehicle=1)),
        (NewEntry(Kind.deny, vehicle=2), NewEntry(Kind.allow, vehicle=2)),
    ],
)
def test_one_plate_is_not_denied_and_allowed_at_one_time(held, first, second):
    number = held.lists.add(first, "manager").id
    with pytest.raises(ListError, match=f"list entry {number} has the kind {first.kind}"):
        held.lists.add(second, "manager")
    held.lists.remove(number, "manager")
    held.lists.add(second, "manager")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_denial_may_begin_when_a_visit_ends(held):
    end = soon()
    held.lists.add(NewEntry(Kind.visitor, "XY 9", ends=end), "manager")
    number = held.lists.add(denied("XY 9", begins=end), "manager").id
    with pytest.raises(ListError, match="has the kind visitor"):
        held.lists.change(number, EntryChange(no_begin=True), "manager")
    assert held.lists.entry(number).begins == end


def test_entries_are_changed_listed_and_removed_and_the_trail_has_numbers_alone(held):
    first = held.lists.add(denied(reason="contractor banned"), "manager").id
    second = held.lists.add(visitor(flat="12", reason="plumber"), "manager").id
    held.lists.change(second, EntryChange(ends=soon(3), reason="painter"), "boss")
    held.lists.change(second, EntryChange(reason="painter"), "boss")  # nothing new
    found = held.lists.entries(ChosenEntries())
    assert [(row.id, row.kind, row.reason, row.flat) for row in found] == [
        (second, "visitor", "painter", "12"),
        (first, "deny", "contractor banned", ""),
    ]
    for text, numbers in {
        "vi5": [second],
        "BANNED": [first],
        "12": [second, first],
        "%": [],
        "": [second, first],
    }.items():
        assert [row.id for row in held.lists.entries(ChosenEntries(text=text))] == numbers
    assert [row.id for row in held.lists.entries(ChosenEntries(kind=Kind.deny))] == [first]
    assert [row.id for row in held.lists.entries(ChosenEntries(), before=second, limit=1)] == [first]
    held.lists.remove(first, "manager")
    with pytest.raises(NotEnrolledError):
        held.lists.remove(first, "manager")
    lines = [(row.account, row.action, row.subject, row.details) for row in held.journal.audit(4)]
    assert lines[::-1] == [
        ("manager", "add list entry", f"list entry {first}", {"kind": "deny", "vehicle": None}),
        ("manager", "add list entry", f"list entry {second}", {"kind": "visitor", "vehicle": None}),
        ("boss", "change list entry", f"list entry {second}", {"fields": ["reason", "ends"]}),
        ("manager", "remove list entry", f"list entry {first}", {"kind": "deny", "vehicle": None}),
    ]


def test_an_import_adds_all_or_none_and_nothing_twice(held):
    rows = [(f"row {number}", denied(f"CC {number}", reason="unpaid")) for number in range(3)]
    assert len(held.lists.add_all(rows, "manager")) == 3
    more = [*rows, ("row 5", denied("DD 5"))]
    assert len(held.lists.add_all(more, "manager")) == 1
    with pytest.raises(ListError, match="row 7: a visitor needs an end"):
        held.lists.add_all([("row 6", denied("EE 6")), ("row 7", NewEntry(Kind.visitor, "FF 7"))], "manager")
    assert len(held.lists.entries(ChosenEntries())) == 4


def test_an_entry_about_a_vehicle_goes_with_it_and_follows_a_merge(held):
    number = held.lists.add(NewEntry(Kind.deny, vehicle=2), "manager").id
    held.corrections.merge(1, 2, account="manager")
    assert held.lists.entry(number).vehicle_id == 1
    held.corrections.undo(1, account="manager")
    assert held.lists.entry(number).vehicle_id == 2
    held.register.forget(account="manager", vehicle_id=2)
    assert held.lists.entries(ChosenEntries()) == []


def test_ended_entries_are_kept_for_the_days_of_retention(held, monkeypatch):
    moment = datetime.now(UTC)
    old, young = (held.lists.add(visitor(f"V {days}", days), "manager").id for days in (1, 5))
    held.lists.add(denied(), "manager")
    set_retention_days(held.database, 10, "admin")
    for module in ("lists", "retention"):
        monkeypatch.setattr(f"app.register.{module}.now", lambda: moment + 12 * DAY)
    assert [row.id for row in held.lists.entries(ChosenEntries(current=False))] == [young, old]
    retention = Retention.__new__(Retention)
    retention._held = held
    retention.once()
    assert [row.id for row in held.lists.entries(ChosenEntries(current=False))] == [young]
    line = next(row for row in held.journal.audit(5) if row.action == "forget list entries")
    assert line.details == {"entries": 1}
    forget_old_sightings(held, 0, "admin")
    assert [row.kind for row in held.lists.entries(ChosenEntries())] == ["deny"]


def test_moments_are_read_and_written_in_the_sites_time():
    end = read_moment("end", "2026-12-24", BERLIN, is_end=True)
    assert end == datetime(2026, 12, 24, 23, tzinfo=UTC)
    assert written_end(end, BERLIN) == "2026-12-24 24:00"
    assert read_moment("end", "2026-12-24 24:00", BERLIN) == end
    begin = read_moment("begin", "2026-07-01", BERLIN)
    assert (begin, written(begin, BERLIN)) == (datetime(2026, 6, 30, 22, tzinfo=UTC), "2026-07-01 00:00")
    assert read_moment("end", "2026-12-24T14:00", BERLIN) == datetime(2026, 12, 24, 13, tzinfo=UTC)
    assert read_moment("end", "2026-12-24T14:00+00:00", BERLIN) == datetime(2026, 12, 24, 14, tzinfo=UTC)
    assert read_moment("end", " ", BERLIN) is None
    for wrong in ("tomorrow", "2026-13-01", "0001-01-01", "9999-12-31", "2026-12-24 25:00"):
        with pytest.raises(RegisterError, match=r"the end .* is no day such as"):
            read_moment("end", wrong, BERLIN)
