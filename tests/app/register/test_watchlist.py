"""Listed vehicles at the gate: which entries an answer names, for certain or to compare, and when a gate opens."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from event_receivers import SECRET, desk, name_receivers
from plate_readers import vehicle_photo

from app.register import watchlist as watchlist_module
from app.register.corrections import Edit
from app.register.list_tables import ListEntry
from app.register.lists import EntryChange, Kind, NewEntry
from app.register.matcher import Candidate, Decision, Outcome
from app.register.records import SeenBy
from app.register.schema import Sighting
from app.register.watchlist import SteadyClock, Watchlist

HOUR = timedelta(hours=1)
GATE = f"""
[[gate]]
name = "barrier"
url = "http://127.0.0.1:1/open"
secret = "{SECRET}"
cameras = ["gate"]
"""
CAMERA = SeenBy("gate", "north", "")


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def soon():
    return datetime.now(UTC) + HOUR


def deny(held, plate="XY 4711", **more):
    return held.lists.add(NewEntry(Kind.deny, plate, reason="contractor banned", **more), "manager").id


def visit(held, plate="XY 4711", **more):
    return held.lists.add(NewEntry(Kind.visitor, plate, flat="12", ends=more.pop("ends", soon()), **more), "manager").id


def ask(held, seed=70, camera=None):
    """An answer to a photograph that resembles nobody; those of 1 to 3 are enrolled."""
    return held.identify([vehicle_photo(seed)], account="guard", camera=camera)


def named(answer):
    return [(each.entry, each.exact) for each in answer.listed]


def opened(held):
    return [json.loads(event.body)["event"] for event in held.outbox.waiting("barrier", 100)]


@pytest.mark.parametrize(
    ("text", "confidence", "exact"),
    [("XY4711", 0.95, True), ("XY4711", 0.5, False), ("XY47I1", 0.95, False), ("XY471", 0.95, False)],
)
def test_a_listed_plate_is_named_for_certain_or_to_be_compared(reading, texts, text, confidence, exact):
    number = deny(reading)
    texts["texts"] = [(text, confidence)]
    answer = ask(reading)
    assert named(answer) == [(number, exact)]
    (listed,) = answer.listed
    assert (listed.kind, listed.reason, listed.plate, listed.stops) == ("deny", "contractor banned", "XY 4711", True)
    with reading.database.reading() as session:
        assert session.get(Sighting, answer.sighting).answer["listed"] == [listed.as_dict()]


def test_what_is_not_near_or_has_ended_or_not_begun_is_not_named(reading, texts, monkeypatch):
    deny(reading, "XY 4799")
    visit(reading, begins=soon() - HOUR / 2)
    visit(reading, ends=soon() + HOUR)
    texts["texts"] = [("XY4711", 0.95)]
    assert [each.ends for each in ask(reading).listed] == [reading.lists.entry(3).ends]
    moment = soon() + 2 * HOUR
    monkeypatch.setattr(watchlist_module, "now", lambda: moment)
    assert ask(reading).listed == []


def test_a_match_is_named_by_its_number_and_its_registered_plate(reading, texts):
    texts["texts"] = [("", 1)]
    vehicle = reading.lists.add(NewEntry(Kind.deny, vehicle=1), "manager").id
    plate = deny(reading, "CD-5678")
    alike = deny(reading, "E0 5678")
    assert named(ask(reading, 1)) == [(vehicle, True)]
    assert named(ask(reading, 2)) == [(plate, True)]
    assert named(ask(reading, 3)) == []
    reading.corrections.edit(3, Edit("EO 5678"), account="m")
    assert (alike, False) in named(ask(reading, 3))  # somebody typed O for 0


def test_an_unsure_answer_names_entries_of_its_candidates_to_be_compared(reading):
    number = reading.lists.add(NewEntry(Kind.deny, vehicle=1), "manager").id
    decision = Decision(Outcome.unsure, 2, "fused", 0.9, 0.9, None, {"fused": [Candidate(2, 0.9), Candidate(1, 0.89)]})
    with reading.database.writing() as session:
        (listed,) = reading.watchlist.listed(session, decision, None, 0.9)
    assert (listed.entry, listed.exact, listed.vehicle) == (number, False, 1)


def test_a_residents_own_plate_names_no_entry_of_a_similar_one(reading, texts):
    visit(reading, "AB 1235")
    deny(reading, "AB 1236")
    texts["texts"] = [("AB1234", 0.95)]
    assert ask(reading, 1).listed == []
    deny(reading, "A8 1234")  # look-alikes alone: a person compares, and no gate opens
    assert named(ask(reading, 1)) == [(3, False)]
    texts["texts"] = [("AB1235", 0.5)]
    assert {each.entry for each in ask(reading).listed} == {1, 2, 3}


def test_two_plates_in_the_photographs_are_no_visitor_for_certain(reading, texts):
    number = visit(reading)
    texts["texts"] = [("XY4711", 0.95), ("QQ9", 0.95)]
    answer = reading.identify([vehicle_photo(70), vehicle_photo(71)], account="guard")
    assert named(answer) == [(number, False)]


@pytest.mark.parametrize(
    ("more", "kind", "text", "confidence", "seed", "opens"),
    [
        ("", None, "AB1234", 0.95, 1, True),
        ("", "deny", "AB1234", 0.95, 1, False),
        ("", "deny vehicle", "AB1234", 0.95, 1, False),
        ("vehicles = [1]\nlisted = true", "deny", "AB1234", 0.2, 1, False),
        ("listed = true", "visitor", "XY4711", 0.95, 70, True),
        ("", "visitor", "XY4711", 0.95, 70, False),  # off by default
        ("listed = true", "visitor", "XY4711", 0.89, 70, False),
        ("listed = true", "visitor", "XY47I1", 0.95, 70, False),
        ("listed = true", "allow", "XY4711", 0.95, 70, True),
        ("listed = true", "allow vehicle", "", 1, 3, True),
        ("listed = true\nexcept_vehicles = [3]", "allow vehicle", "", 1, 3, False),
        ("listed = true", "both", "XY4711", 0.95, 70, False),
    ],
)
def test_a_denied_vehicle_never_opens_a_gate(reading, texts, more, kind, text, confidence, seed, opens):
    name_receivers(reading.folder, GATE + more)
    reading.corrections.edit(1, Edit(owner="A"), account="m")
    {
        None: lambda: None,
        "deny": lambda: deny(reading, "A8 1234" if confidence < 0.9 else "AB 1234"),
        "deny vehicle": lambda: reading.lists.add(NewEntry(Kind.deny, vehicle=1), "m"),
        "visitor": lambda: visit(reading),
        "allow": lambda: reading.lists.add(NewEntry(Kind.allow, "XY 4711"), "m"),
        "allow vehicle": lambda: reading.lists.add(NewEntry(Kind.allow, vehicle=3), "m"),
        "both": lambda: (visit(reading), deny(reading, "XY 47I1")),
    }[kind]()
    texts["texts"] = [(text, confidence)]
    ask(reading, seed, CAMERA)
    assert opened(reading) == ["open"] * opens


@pytest.mark.parametrize("by", ["number", "plate"])
def test_a_denied_vehicle_with_the_plate_of_a_visitor_opens_no_gate(reading, texts, by):
    """A copied plate: the text contradicts what the photograph resembles, and the answer is unsure."""
    name_receivers(reading.folder, GATE + "listed = true")
    visit(reading)
    texts["texts"] = [("XY4711", 0.95)]
    ask(reading, 1, CAMERA)
    assert opened(reading) == ["open"]
    reading.lists.add(NewEntry(Kind.deny, **({"vehicle": 1} if by == "number" else {"plate": "AB 1234"})), "m")
    answer = ask(reading, 1, CAMERA)
    assert ([each.stops for each in answer.listed], opened(reading)) == ([True, False], ["open"])


def test_a_gate_opens_for_the_rest_of_its_time_alone(reading, texts):
    """Photographs wait: in a folder, while the watch is down; for a database."""
    name_receivers(reading.folder, GATE + "listed = true\nvalid_seconds = 10")
    visit(reading)
    texts["texts"] = [("XY4711", 0.95)]
    ask(reading, 70, SeenBy("gate", since=time.monotonic() - 11))
    assert opened(reading) == []
    ask(reading, 70, SeenBy("gate", since=time.monotonic() - 4))
    (event,) = reading.outbox.waiting("barrier", 9)
    with reading.database.reading() as session:
        left = (event.expires - session.get(Sighting, event.sighting_id).created).total_seconds()
    assert left == pytest.approx(6, abs=1)  # less what the query took


@pytest.mark.parametrize("second", [("QQ9", 0.89), ("QQ9", 0.95)])
def test_a_second_plate_or_that_of_the_camera_opens_no_gate(reading, texts, second):
    name_receivers(reading.folder, GATE + "listed = true")
    visit(reading)
    texts["texts"] = [("XY4711", 0.95), second]
    reading.identify([vehicle_photo(70), vehicle_photo(71)], account="guard", camera=CAMERA)
    texts["texts"] = [("XY4711", 0.95)]
    ask(reading, 70, SeenBy("gate", "north", "QQ 9"))
    assert opened(reading) == []


def test_what_the_camera_read_stops_a_gate_and_opens_none(reading, texts):
    name_receivers(reading.folder, GATE + "listed = true")
    visit(reading, "VV 1")
    deny(reading)
    texts["texts"] = [("", 1)]
    assert named(ask(reading, 70, SeenBy("gate", "north", "VV 1"))) == [(1, False)]
    (listed,) = ask(reading, 70, SeenBy("gate", "north", "XY 4711")).listed
    assert (listed.exact, listed.stops) == (False, True)
    assert opened(reading) == []


def test_an_event_carries_what_is_listed(reading, texts):
    name_receivers(reading.folder, 'time_zone = "Europe/Berlin"\n' + desk("http://127.0.0.1:1"))
    end = datetime(2900, 7, 1, 12, tzinfo=UTC)
    visit(reading, ends=end, reason="plumber")
    texts["texts"] = [("XY4711", 0.95)]
    ask(reading)
    (event,) = reading.outbox.waiting("desk", 9)
    assert json.loads(event.body)["listed"] == [
        {"entry": 1, "kind": "visitor", "reason": "plumber", "flat": "12", "exact": True}
        | {"ends": "2900-07-01T14:00:00.000+02:00"}
    ]


def test_entries_of_other_processes_are_followed_and_removed_ones_forgotten(reading, texts):
    texts["texts"] = [("XY4711", 0.95)]
    assert ask(reading).listed == []
    first = deny(reading)
    assert named(ask(reading)) == [(first, True)]
    reading.lists.remove(first, "manager")
    assert ask(reading).listed == []
    assert reading.watchlist._table._held == {}  # nor is its plate in memory
    second = visit(reading)
    reading.lists.change(second, EntryChange(ends=soon() + HOUR), "manager")
    assert named(ask(reading)) == [(second, True)]


def test_an_entry_that_is_removed_while_a_query_runs_does_not_count(reading, texts, monkeypatch):
    deny(reading)
    texts["texts"] = [("XY4711", 0.95)]
    started, removed = threading.Event(), threading.Event()
    embed = reading.active_model.current()[1].__class__.embed

    def slow(*given):
        started.set()
        assert removed.wait(20)
        return embed(*given)

    monkeypatch.setattr(reading.active_model.current()[1].__class__, "embed", slow)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(reading)))
    thread.start()
    assert started.wait(20)
    reading.lists.remove(1, "manager")
    removed.set()
    thread.join(20)
    assert answers[0].listed == []


def test_a_clock_that_is_put_back_lets_nobody_in_late(reading, texts, monkeypatch, caplog):
    deny(reading, "DD 1", ends=soon())
    visit(reading)
    texts["texts"] = [("XY4711", 0.95)]
    clock = {"now": datetime.now(UTC)}
    monkeypatch.setattr(watchlist_module, "now", lambda: clock["now"])
    reading.watchlist._clock = SteadyClock()
    assert named(ask(reading)) == [(2, True)]
    clock["now"] += 2 * HOUR
    assert ask(reading).listed == []
    clock["now"] -= 2 * HOUR
    assert ask(reading).listed == []
    assert caplog.text.count("the clock was put back") == 1
    texts["texts"] = [("DD1", 0.95)]
    assert named(ask(reading)) == [(1, True)]  # what may still be denied is


def test_ten_thousand_entries_cost_a_query_milliseconds(reading):
    rows = [(f"row {n}", NewEntry(Kind.allow, f"Q{n:05d}{'ABCDEFGHJK'[n % 10]}")) for n in range(10_000)]
    with reading.database.writing() as session:
        session.add_all(
            ListEntry(kind=entry.kind.value, plate=entry.plate, folded=entry.plate, account="m") for _, entry in rows
        )
    watch, decision = Watchlist(), Decision(Outcome.unknown, None, None, 0, 0.9, None, {})

    class Finding:
        reads, together = [type("Read", (), {"text": "Q01234E", "confidence": 0.95})()], None

    times = []
    for _ in range(5):
        start = time.perf_counter()
        with reading.database.writing() as session:
            found = watch.listed(session, decision, Finding(), 0.9)
        times.append(time.perf_counter() - start)
    assert [each.plate for each in found if each.exact] == ["Q01234E"]
    assert min(times[1:]) < 0.05


def test_nobody_is_listed_without_entries(reading, texts):
    texts["texts"] = [("XY4711", 0.95)]
    answer = ask(reading)
    with reading.database.reading() as session:
        assert "listed" not in session.get(Sighting, answer.sighting).answer
    assert answer.listed == []
