"""Lists in the API: roles, entries, tables, and what an answer and a sighting say of them."""

import io
import zoneinfo

import pytest
from event_receivers import name_receivers
from mail_server import office
from web_service import jpeg

from app.register.plate_reader import PlateRead

pytestmark = pytest.mark.slow

BAN = {"kind": "deny", "plate": "XY 4711", "reason": "<b>contractor</b> banned"}
VISIT = {"kind": "visitor", "plate": "VI 51", "flat": "12", "end": "2900-06-30"}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture
def manager(as_role, service):
    client = as_role("manager")
    service.state.register.zone = zoneinfo.ZoneInfo("Europe/Berlin")
    return client


@pytest.fixture
def read(monkeypatch):
    """Lets the register read a plate with confidence in every photograph."""

    def read(text):
        monkeypatch.setattr(
            "app.register.plate_reader.QueryPlateReader.read",
            lambda *_: [PlateRead(text, 0.99, 0, (0.99,) * len(text))],
        )

    return read


def test_managers_write_lists_and_guards_read_them(manager, as_role):
    made = manager.post("/api/lists", json=VISIT)
    assert made.status_code == 201
    entry = made.json()
    assert {name: entry[name] for name in ("id", "kind", "plate", "vehicle", "flat", "until", "ended", "account")} == {
        "id": 1,
        "kind": "visitor",
        "plate": "VI 51",
        "vehicle": None,
        "flat": "12",
        "until": "2900-06-30 24:00",
        "ended": False,
        "account": "manager",
    }
    assert entry["ends"] == "2900-06-30T22:00:00Z"
    changed = manager.patch("/api/lists/1", json={"end": "2900-07-01 14:00", "reason": "plumber"}).json()
    assert (changed["until"], changed["reason"], changed["flat"]) == ("2900-07-01 14:00", "plumber", "12")
    manager.post("/api/lists", json=BAN)
    guard = as_role("guard")
    assert [row["id"] for row in guard.get("/api/lists").json()] == [2, 1]
    assert [row["id"] for row in guard.get("/api/lists?kind=deny&q=CONTRACTOR&ended=").json()] == [2]
    assert guard.get("/api/lists?ended=true").json() == []
    assert guard.get("/api/lists/1").json()["reason"] == "plumber"
    for method, path in (("post", "lists"), ("patch", "lists/1"), ("delete", "lists/1"), ("get", "lists.csv")):
        more = {"json": BAN} if method in ("post", "patch") else {}
        assert getattr(guard, method)(f"/api/{path}", **more).status_code == 403
    manager = as_role("manager")
    assert manager.delete("/api/lists/1").json() == {"removed": 1}
    assert manager.get("/api/lists/1").status_code == 404


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"kind": "deny"}, 400, "needs a plate"),
        ({"kind": "guest", "plate": "A 1"}, 422, "kind"),
        ({"kind": "visitor", "plate": "A 1"}, 400, "a visitor needs an end"),
        ({"kind": "deny", "plate": "A*"}, 400, "without * and ?"),
        ({"kind": "deny", "plate": "A 1", "end": "2020-01-01"}, 400, "in the past"),
        ({"kind": "deny", "plate": "A 1", "end": "soon"}, 400, "no day such as 2026-12-24"),
        ({"kind": "deny", "plate": "A 1", "ends": "2900-01-01"}, 422, "did you mean 'end'"),
        ({"kind": "deny", "vehicle": 99}, 404, "there is no vehicle 99"),
        ({"kind": "deny", "vehicle": True}, 422, "vehicle"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_in_one_line(manager, given, status, words):
    answer = manager.post("/api/lists", json=given)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert manager.get("/api/lists").json() == []


def test_lists_are_taken_away_and_read_as_tables(manager, identification):
    for given in (BAN, VISIT):
        manager.post("/api/lists", json=given)
    table = manager.get("/api/lists.csv")
    assert table.headers["content-disposition"] == 'attachment; filename="lists.csv"'
    lines = table.text.splitlines()
    assert lines[0] == "entry,kind,plate,vehicle,reason,flat,begin,end,account,created"
    assert lines[1].startswith("2,visitor,VI 51,,,12,,2900-06-30 24:00,manager,")

    def send(text):
        return manager.post("/api/lists/import", files={"table": ("lists.csv", io.BytesIO(text.encode()), "text/csv")})

    assert send(table.text).json() == {"rows": 2, "added": [], "skipped": 2}
    assert send("kind,plate\nallow,QQ 1\n").json() == {"rows": 1, "added": [3], "skipped": 0}
    refused = send("kind,plate\nallow,QQ 2\nallow,XY-4711\n")
    assert refused.status_code == 400
    assert refused.json()["detail"].startswith("table.csv, row 3: list entry 1 has the kind deny")
    assert send("a,b\n1,2").json()["detail"].startswith("table.csv, row 1: unknown column 'a'")
    assert send(lines[0] + "\x00").status_code == 400
    two = [("table", (f"{number}.csv", io.BytesIO(b"kind\n"), "text/csv")) for number in range(2)]
    assert manager.post("/api/lists/import", files=two).json()["detail"] == "give one table"
    assert len(manager.get("/api/lists").json()) == 3
    actions = [row.action for row in identification.journal.audit()]
    assert {"export list", "import list", "add list entry"} <= set(actions)


def test_an_answer_and_its_sighting_say_what_is_listed(manager, as_role, read):
    manager.post("/api/lists", json=BAN)
    manager.post("/api/lists", json=VISIT)
    guard = as_role("guard")
    read("XY4711")
    answer = guard.post("/api/identify", files={"pictures": jpeg(7)}).json()
    ban = {"entry": 1, "kind": "deny", "reason": BAN["reason"], "flat": "", "plate": "XY 4711", "vehicle": None}
    assert answer["listed"] == [ban | {"until": None, "exact": True}]
    read("XY47I1")
    assert guard.post("/api/identify", files={"pictures": jpeg(8)}).json()["listed"][0]["exact"] is False
    read("VI51")
    visit = guard.post("/api/identify", files={"pictures": jpeg(9)}).json()
    assert (visit["decision"], visit["listed"][0]["until"]) == ("unknown", "2900-06-30 24:00")
    guard.patch("/api/lists/1", json={})
    as_role("manager").delete("/api/lists/1")
    kept = as_role("guard").get(f"/api/sightings/{answer['sighting']}").json()
    assert kept["listed"] == answer["listed"]
    assert guard.get("/api/sightings").json()[0]["listed"] == visit["listed"]


def test_candidates_have_tags_and_managers_change_them(manager, as_role):
    version = manager.get("/api/vehicles/1").json()["version"]
    changed = manager.patch("/api/vehicles/1", json={"version": version, "tags": ["EV", "ev", "taxi"]})
    assert changed.json()["tags"] == ["EV", "taxi"]
    version = changed.json()["version"]
    assert manager.patch("/api/vehicles/1", json={"version": version, "tags": ["a,b"]}).status_code == 400
    made = manager.post("/api/vehicles", files={"pictures": jpeg(30)}, data={"tags": "EV, disabled"}).json()
    assert made["tags"] == ["EV", "disabled"]
    assert [hit["found_by"] for hit in manager.get("/api/search?q=taxi").json()["hits"]] == ["tag"]
    answer = as_role("guard").post("/api/identify", files={"pictures": jpeg(1), "plate_pictures": jpeg(101)}).json()
    assert answer["candidates"][0]["tags"] == ["EV", "taxi"]


def test_a_note_to_the_owner_is_queued_by_the_guard_who_reported(manager, as_role, identification, inbox):
    version = manager.get("/api/vehicles/1").json()["version"]
    manager.patch("/api/vehicles/1", json={"version": version, "contact": "resident@home.example"})
    guard = as_role("guard")
    sighting = guard.post("/api/identify", files={"pictures": jpeg(1), "plate_pictures": jpeg(101)}).json()["sighting"]
    report = guard.post("/api/incidents", json={"sighting": sighting, "kind": "blocks a gate"}).json()
    other = as_role("manager").post("/api/incidents", json={"sighting": sighting, "kind": "other"}).json()
    guard = as_role("guard")
    page = guard.get("/incidents", headers={"accept": "text/html"}).text
    assert "Write to the owner" not in page
    refused = guard.post(f"/api/incidents/{report['id']}/note", json={"text": "please move"})
    assert (refused.status_code, "notes = true" in refused.json()["detail"]) == (400, True)
    name_receivers(identification.folder, office(inbox.port, "notes = true"))
    assert guard.get("/incidents", headers={"accept": "text/html"}).text.count('class="note"') == 1
    assert guard.post(f"/api/incidents/{other['id']}/note", json={}).status_code == 404
    done = guard.post(f"/api/incidents/{report['id']}/note", json={"text": "please move"})
    assert (done.status_code, done.json()["noted"] is not None) == (200, True)
    again = guard.post(f"/api/incidents/{report['id']}/note", json={})
    assert (again.status_code, "was written to" in again.json()["detail"]) == (409, True)
    assert "The owner was written to" in guard.get("/incidents", headers={"accept": "text/html"}).text
    assert "resident@home.example" not in done.text + again.text
    (event,) = identification.outbox.waiting("office", 9)
    assert "resident@home.example" in event.body


def test_pages_show_lists_and_escape_what_people_wrote(manager, as_role, read):
    manager.post("/api/lists", json=BAN)
    manager.post("/api/lists", json=VISIT)
    html = {"accept": "text/html"}
    page = manager.get("/lists", headers=html).text
    assert "&lt;b&gt;contractor&lt;/b&gt; banned" in page
    assert "<b>contractor" not in page
    assert 'id="list-entry"' in page
    assert "2900-06-30 24:00" in page
    assert "XY 4711" not in manager.get("/lists?kind=visitor&q=12", headers=html).text
    assert "Nothing is listed." in manager.get("/lists?ended=true&kind=&q=", headers=html).text
    guard = as_role("guard")
    page = guard.get("/lists", headers=html).text
    assert "VI 51" in page
    assert 'id="list-entry"' not in page
    assert "remove-entry" not in page
    read("XY47I1")
    sighting = guard.post("/api/identify", files={"pictures": jpeg(7)}).json()["sighting"]
    for path in ("/sightings", f"/sightings/{sighting}"):
        page = guard.get(path, headers=html).text
        assert "No entry: &lt;b&gt;contractor" in page
        assert "please compare" in page
