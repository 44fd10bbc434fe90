"""Sightings and incidents through the service: who sees which, pages with photographs, tables, reopening, retention."""

import csv
import io
import re
from datetime import timedelta

import pytest
from web_service import jpeg

from app.register.schema import Incident, Sighting, now

pytestmark = pytest.mark.slow

HTML = {"accept": "text/html"}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def identify(client, seed, **fields):
    response = client.post("/api/identify", files=[("pictures", jpeg(seed))], data=fields)
    assert response.status_code == 200, response.text
    return response.json()["sighting"]


@pytest.fixture
def seen(as_role):
    """Sightings 1 and 2 of the guard, of vehicle 2 and of nobody, and 3 of the manager."""
    guard = as_role("guard")
    assert identify(guard, 2, plate_boxes="5,5,20,10", boxes="2,4,30,24") == 1
    assert identify(guard, 77) == 2
    report = {"sighting": 1, "kind": "blocks a gate", "note": "=van"}
    assert guard.post("/api/incidents", json=report).status_code == 201
    manager = as_role("manager")
    assert identify(manager, 1) == 3
    assert manager.post("/api/incidents", json={"sighting": 3, "kind": "other"}).status_code == 201
    return as_role


def test_a_guard_sees_own_sightings_and_a_manager_all(seen):
    guard = seen("guard")
    assert [row["id"] for row in guard.get("/api/sightings").json()] == [2, 1]
    assert [row["id"] for row in guard.get("/api/sightings?account=manager").json()] == [2, 1]
    assert guard.get("/api/sightings/3").status_code == 404
    page = guard.get("/sightings", headers=HTML).text
    assert re.findall(r'<a href="/sightings/(\d)">Sighting', page) == ["2", "1"]
    assert guard.get("/sightings/3", headers=HTML).status_code == 404
    manager = seen("manager")
    assert [row["id"] for row in manager.get("/api/sightings").json()] == [3, 2, 1]
    assert [row["id"] for row in manager.get("/api/sightings?account=guard&limit=1").json()] == [2]
    assert [row["id"] for row in manager.get("/api/sightings?vehicle=1").json()] == [3]


def test_a_sighting_of_a_camera_says_which_and_where(seen):
    manager = seen("manager")
    with manager.app.state.register.identification.database.writing() as session:
        session.add(
            Sighting(decision="unknown", answer={}, pictures=[], account="camera", camera="<gate>", place="north")
        )
    row = manager.get("/api/sightings/4").json()
    assert (row["camera"], row["place"]) == ("<gate>", "north")
    assert manager.get("/api/sightings/3").json()["camera"] is None
    for path in ("/sightings", "/sightings/4"):
        assert "camera &lt;gate&gt;, north" in manager.get(path, headers=HTML).text
    assert [row["id"] for row in manager.get("/api/sightings?camera=%3Cgate%3E").json()] == [4]
    page = manager.get("/sightings?camera=%3Cgate%3E", headers=HTML).text
    assert re.findall(r'<a href="/sightings/(\d)">Sighting', page) == ["4"]
    assert "/api/sightings.csv?camera=%3Cgate%3E" in page
    assert seen("guard").get("/api/sightings?camera=%3Cgate%3E").json() == []


def test_the_plate_of_a_vehicle_that_a_manager_confirmed_is_not_shown_to_the_guard(seen):
    said = {"says": "vehicle", "vehicle": 1}
    assert seen("manager").post("/api/sightings/2/confirmation", json=said).status_code == 200
    with seen("guard").app.state.register.identification.database.writing() as session:
        session.connection().exec_driver_sql("DELETE FROM shown WHERE vehicle_id = 1")
    guard = seen("guard")
    row = guard.get("/api/sightings/2").json()
    assert (row["vehicle"], row["plate"], row["confirmed"]) == (1, None, "vehicle")
    for path in ("/sightings", "/sightings/2"):
        page = guard.get(path, headers=HTML).text
        assert "Confirmed: vehicle 1" in page
        assert "AB 12" not in page
    assert "(AB 12)" in seen("manager").get("/sightings/2", headers=HTML).text


def test_the_page_of_a_sighting_has_its_photographs_with_boxes(seen):
    guard = seen("guard")
    row = guard.get("/api/sightings/1").json()
    (photograph,) = row["photographs"]
    assert (photograph["width"], photograph["height"]) == (40, 48)
    assert (photograph["box"], photograph["plate_box"]) == ([2, 4, 30, 24], [5, 5, 20, 10])
    page = guard.get("/sightings/1", headers=HTML).text
    assert '<svg viewBox="0 0 40 48"' in page
    assert '<rect class="vehicle" x="2.0" y="4.0" width="30.0" height="24.0">' in page
    assert f'src="/api/pictures/{photograph["picture"]}"' in page
    assert '<a href="/incidents">Incident 1</a>' in page
    for name in re.findall(r'src="(/api/[^"]+)"', page):
        assert guard.get(name).status_code == 200, name


def test_a_sighting_of_an_earlier_version_and_a_missing_photograph(seen, identification):
    with identification.database.writing() as session:
        session.add(Sighting(decision="match", answer={}, pictures=["f" * 32 + ".jpg"], account="guard"))
    page = seen("guard").get("/sightings/4", headers=HTML)
    assert page.status_code == 200
    assert "Named a vehicle that was forgotten" in page.text
    assert "Photograph 1 is missing or damaged." in page.text


def test_filters_of_the_pages(seen):
    manager = seen("manager")
    today = now().date()
    for query, expected in (
        (f"day={today}", ["3", "2", "1"]),
        (f"day={today - timedelta(days=1)}", []),
        ("day=&decision=&vehicle=", ["3", "2", "1"]),
        ("vehicle=1", ["3"]),
        ("before=2", ["1"]),
    ):
        page = manager.get(f"/sightings?{query}", headers=HTML)
        assert re.findall(r'<a href="/sightings/(\d)">Sighting', page.text) == expected, query
    for query in ("day=yesterday", "day=5", "vehicle=0", "vehicle=x", "decision=maybe", "before=0", "colour=red"):
        assert manager.get(f"/sightings?{query}", headers=HTML).status_code == 422, query
        assert manager.get(f"/api/sightings?{query}").status_code == 422, query


def test_the_way_to_older_ones_keeps_the_filter(seen, monkeypatch):
    monkeypatch.setattr("app.web.sightings_pages.PAGE", 1)
    manager = seen("manager")
    path, pages = "/sightings?decision=", []
    while path:
        page = manager.get(path, headers=HTML).text
        pages += re.findall(r'<a href="/sightings/(\d)">Sighting', page)
        path = (re.findall(r'<a href="([^"]+)">Older ones', page) or [""])[0].replace("&amp;", "&")
    assert pages == ["3", "2", "1"]
    page = manager.get(f"/incidents?state=open&day={now().date()}", headers=HTML).text
    assert f'href="/incidents?day={now().date()}&amp;state=open&amp;before=2"' in page


def test_photographs_of_an_incident_are_shown_to_who_reported_it_and_to_managers(seen):
    assert re.findall(r'href="/sightings/(\d)"', seen("guard").get("/incidents", headers=HTML).text) == ["1"]
    page = seen("manager").get("/incidents", headers=HTML).text
    assert re.findall(r'href="/sightings/(\d)"', page) == ["3", "1"]
    assert len(re.findall(r'src="/api/thumbnails/', page)) == 2


def test_an_incident_is_closed_and_reopened(seen):
    manager = seen("manager")
    assert manager.post("/api/incidents/1/close").json()["closed"]
    assert [row["id"] for row in manager.get("/api/incidents?open_only=true").json()] == [2]
    assert [row["id"] for row in manager.get("/api/incidents?state=closed").json()] == [1]
    assert 'class="reopen" data-incident="1"' in manager.get("/incidents", headers=HTML).text
    assert manager.post("/api/incidents/1/reopen").json()["closed"] is None
    assert manager.post("/api/incidents/77/reopen").status_code == 404
    assert seen("guard").post("/api/incidents/1/reopen").status_code == 403


def test_tables_are_taken_away_by_managers(seen):
    for name in ("sightings", "incidents"):
        assert seen("guard").get(f"/api/{name}.csv").status_code == 403
    manager = seen("manager")
    answer = manager.get("/api/incidents.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="incidents.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [(row["incident"], row["note"]) for row in rows] == [("2", ""), ("1", "'=van")]
    rows = list(csv.DictReader(io.StringIO(manager.get("/api/sightings.csv?vehicle=1").text, newline="")))
    assert [(row["sighting"], row["plate"]) for row in rows] == [("3", "AB 12")]


def test_a_vehicle_says_how_often_it_was_seen(seen, identification):
    manager = seen("manager")
    assert "Seen once this week." in manager.get("/vehicles/1", headers=HTML).text
    identify(manager, 1)
    assert "Seen 2 times this week." in manager.get("/vehicles/1", headers=HTML).text
    with identification.database.writing() as session:
        session.query(Incident).delete()
        for row in session.query(Sighting):
            row.created = now() - timedelta(days=8)
    assert "Not seen this week." in manager.get("/vehicles/1", headers=HTML).text


def test_retention(as_role):
    manager = as_role("manager")
    assert manager.get("/api/retention").json() == {"days": None}
    assert manager.put("/api/retention", json={"days": 30}).status_code == 403
    assert 'id="retention"' not in manager.get("/sightings", headers=HTML).text
    admin = as_role("admin")
    assert admin.put("/api/retention", json={"days": 30}).json() == {"days": 30}
    assert 'name="days" min="1" max="36500" value="30"' in admin.get("/sightings", headers=HTML).text
    for days in (0, -1, 36_501, "30", True, 1.5):
        assert admin.put("/api/retention", json={"days": days}).status_code == 422
    assert admin.put("/api/retention", json={}).status_code == 422
    assert admin.get("/api/retention").json() == {"days": 30}
    assert admin.put("/api/retention", json={"days": None}).json() == {"days": None}
    assert admin.get("/api/audit").json()[0]["details"] == {"days": None}
