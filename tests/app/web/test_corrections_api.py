"""Corrections in the API: who may, what is refused and how, and that nobody's change is lost silently."""

import pytest
from web_service import jpeg

from app.register.accounts import Role


@pytest.fixture
def url(tmp_path):
    """Corrections themselves are tested on both databases; their service on one."""
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture
def manager(as_role):
    return as_role("manager")


def version(client, number):
    return client.get(f"/api/vehicles/{number}").json()["version"]


def patch(client, number, **change):
    return client.patch(f"/api/vehicles/{number}", json={"version": version(client, number), **change})


def owner_of(client, number):
    found = client.get(f"/api/vehicles/{number}/owner").json()
    return found["name"], found["flat"], found["contact"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("patch", "/api/vehicles/1"),
        ("patch", "/api/vehicles/1/views/1"),
        ("delete", "/api/vehicles/1/views/1?version=1"),
        ("post", "/api/vehicles/1/merge"),
        ("post", "/api/vehicles/1/undo"),
        ("get", "/api/vehicles/1/alike"),
    ],
)
def test_corrections_are_for_managers(client, as_role, method, path):
    body = (
        {}
        if method in ("get", "delete")
        else {"json": {"version": 1, "other": 2} if "merge" in path else {"version": 1}}
    )
    assert client.request(method, path, **body).status_code == 401
    for role in Role:
        said = as_role(role.name).request(method, path, **body)
        assert (said.status_code == 403) == (role < Role.manager), (role, said.text)


def test_a_guard_sees_no_version(identification, as_role):
    guard = as_role("guard")
    assert guard.post("/api/identify", files=[("pictures", jpeg(2))]).json()["vehicle"] == 2
    assert guard.get("/api/vehicles/2").json()["version"] is None
    assert "Correct" not in guard.get("/vehicles/2", headers={"accept": "text/html"}).text
    page = as_role("manager").get("/vehicles/2", headers={"accept": "text/html"}).text
    assert f'data-version="{identification.register.vehicle(2).version}"' in page


def test_values_are_corrected_and_the_last_change_is_undone(identification, manager):
    said = patch(manager, 1, plate="AB 13", note="red", flat="13")
    assert (said.status_code, said.json()["plate"], said.json()["note"]) == (200, "AB 13", "red")
    assert owner_of(manager, 1) == ("A. Resident", "13", "evenings")
    assert said.json()["version"] == version(manager, 1)
    page = manager.get("/vehicles/1", headers={"accept": "text/html"}).text
    assert "Last change: values were changed, by manager" in page
    undone = manager.post("/api/vehicles/1/undo", json={"version": version(manager, 1)}).json()
    assert (undone["undone"], undone["vehicle"]["plate"]) == ("edit", "AB 12")
    assert owner_of(manager, 1) == ("A. Resident", "12", "evenings")
    again = manager.post("/api/vehicles/1/undo", json={"version": version(manager, 1)})
    assert (again.status_code, again.json()["detail"]) == (400, "vehicle 1 has no last change that can be undone")
    lines = [line.action for line in identification.journal.audit(9)]
    assert {"correct", "undo edit"} <= set(lines)


def test_the_second_of_two_editors_is_told(manager):
    seen = version(manager, 1)
    assert manager.patch("/api/vehicles/1", json={"version": seen, "note": "red"}).status_code == 200
    late = {"version": seen}
    for method, path, body in (
        ("patch", "/api/vehicles/1", {"json": {**late, "note": "blue"}}),
        ("patch", "/api/vehicles/1/views/1", {"json": {**late, "modality": "infrared"}}),
        ("delete", f"/api/vehicles/1/views/1?version={seen}", {}),
        ("post", "/api/vehicles/1/merge", {"json": {**late, "other": 2}}),
        ("post", "/api/vehicles/1/undo", {"json": late}),
    ):
        said = manager.request(method, path, **body)
        assert said.status_code == 409, (path, said.text)
        assert said.json()["detail"].startswith("somebody else changed vehicle 1 meanwhile; nothing was changed"), path
    assert manager.get("/api/vehicles/1").json()["note"] == "red"


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"plate": "?!"}, 400, "not a plate"),
        ({"owner": ""}, 400, "an owner needs a name"),
        ({"owner_id": 9}, 404, "there is no owner 9"),
        ({"owner_id": True}, 422, "owner_id: "),
        ({"note": "x" * 2001}, 422, "note: has 2,001 characters"),
        ({"version": None}, 422, "version: "),
        ({"colour": "red"}, 422, "unknown field 'colour'"),
        ({"plates": "AB 1"}, 422, "unknown field 'plates': did you mean 'plate'?"),
    ],
)
def test_a_change_that_is_refused_has_a_status_and_a_line(manager, change, status, reason):
    before = manager.get("/api/vehicles/1").json()
    said = patch(manager, 1, **change)
    assert said.status_code == status, said.text
    assert reason in said.json()["detail"]
    assert manager.get("/api/vehicles/1").json() == before


def test_a_plate_of_another_vehicle_and_a_change_of_none(manager):
    said = patch(manager, 2, plate="ab-12")
    assert (said.status_code, said.json()["detail"]) == (409, "vehicle 1 has this plate already")
    assert manager.patch("/api/vehicles/9", json={"version": 1, "note": "x"}).status_code == 404
    assert manager.patch("/api/vehicles/9999999999", json={"version": 1}).status_code == 422


def test_an_owner_gets_a_second_vehicle(manager):
    made = manager.post("/api/vehicles", files=[("pictures", jpeg(30))], data={"owner_id": "1", "plate": "CD 1"}).json()
    assert owner_of(manager, made["id"]) == owner_of(manager, 1)
    assert patch(manager, 2, owner_id=1).json()["has_owner"] is True
    assert owner_of(manager, 2) == owner_of(manager, 1)
    assert patch(manager, 2, owner="B. Resident", new_owner=True).status_code == 200
    assert owner_of(manager, 2) == ("B. Resident", "", "")
    both = manager.post("/api/vehicles", files=[("pictures", jpeg(31))], data={"owner_id": "1", "owner": "B"})
    assert (both.status_code, both.json()["detail"]) == (400, "give the number of an owner, or name, flat and contact")
    none = manager.post("/api/vehicles", files=[("pictures", jpeg(31))], data={"owner_id": "77"})
    assert (none.status_code, none.json()["detail"]) == (404, "there is no owner 77")
    page = manager.get("/enrol?owner=1", headers={"accept": "text/html"}).text
    assert 'name="owner_id" value="1"' in page
    assert 'name="flat"' not in page


def test_images_are_added_corrected_and_removed(identification, manager):
    more = manager.post("/api/vehicles/2/views", files=[("pictures", jpeg(3))]).json()
    first, second = more["views"]
    changed = manager.patch(
        f"/api/vehicles/2/views/{second['id']}",
        json={"version": more["version"], "modality": "infrared", "vehicle_box": [2, 2, 20, 30]},
    ).json()
    assert [view["modality"] for view in changed["views"]] == ["visible", "infrared"]
    held = identification.register.vehicle(2).views[1]
    assert held.vehicle_box == [2.0, 2.0, 20.0, 30.0]
    undone = manager.post("/api/vehicles/2/undo", json={"version": changed["version"]}).json()
    assert (undone["undone"], undone["vehicle"]["views"][1]["modality"]) == ("view", "visible")
    assert identification.register.vehicle(2).views[1].vehicle_box is None
    seen = undone["vehicle"]["version"]
    left = manager.delete(f"/api/vehicles/2/views/{first['id']}?version={seen}").json()
    assert [view["id"] for view in left["views"]] == [second["id"]]
    assert manager.get(f"/api/pictures/{first['picture']}").status_code == 404
    last = manager.delete(f"/api/vehicles/2/views/{second['id']}?version={left['version']}")
    assert (last.status_code, "is the only one of vehicle 2" in last.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vehicle_box": [1, 2, 3]}, "a box has left, top, width and height, not 3 numbers"),
        ({"vehicle_box": [900, 0, 9, 9]}, "outside the image"),
        ({"plate_box": [0, 0, 0, 9]}, "width and height must be more than 0"),
        ({"modality": "grey"}, "modality: "),
    ],
)
def test_an_image_is_not_corrected_to_something_that_is_none(manager, change, reason):
    body = {"version": version(manager, 1), **change}
    said = manager.patch("/api/vehicles/1/views/1", json=body)
    assert said.status_code == 422, said.text
    assert reason in said.json()["detail"]
    assert manager.patch("/api/vehicles/2/views/1", json={"version": version(manager, 2)}).status_code == 404


def test_two_vehicles_are_merged_and_what_is_unclear_is_said(manager):
    made = manager.post("/api/vehicles", files=[("pictures", jpeg(5))], data={"owner": "B", "plate": "CD 1"}).json()
    body = {"version": version(manager, 1), "other": made["id"]}
    said = manager.post("/api/vehicles/1/merge", json=body)
    assert (said.status_code, "different owners: say whose owner stays" in said.json()["detail"]) == (400, True)
    said = manager.post("/api/vehicles/1/merge", json={**body, "other": 1})
    assert said.json()["detail"] == "vehicle 1 cannot be merged with itself"
    merged = manager.post("/api/vehicles/1/merge", json={**body, "owner_of": made["id"], "plate_of": 1}).json()
    assert (merged["plate"], len(merged["views"])) == ("AB 12", 2)
    assert owner_of(manager, 1) == ("B", "", "")
    assert manager.get(f"/api/vehicles/{made['id']}").status_code == 404
    found = manager.post("/api/identify", files=[("pictures", jpeg(5))]).json()
    assert found["vehicle"] == 1


def test_a_duplicate_is_offered_and_not_enforced(identification, manager):
    made = manager.post(
        "/api/vehicles", files=[("pictures", jpeg(1)), ("plate_pictures", jpeg(101))], data={"plate": "A8 12"}
    )
    assert made.status_code == 201
    [offer] = made.json()["looks_like"]
    assert (offer["vehicle"], offer["plate"], offer["cost"]) == (1, "AB 12", 0.25)
    assert offer["similarity"] == pytest.approx(1.0, abs=1e-4)
    assert manager.get(f"/api/vehicles/{made.json()['id']}/alike").json() == [offer]
    other = manager.post("/api/vehicles", files=[("pictures", jpeg(2))]).json()
    assert [(row["vehicle"], row["cost"]) for row in other["looks_like"]] == [(2, None)]
    model, _ = identification.active_model.current()
    with identification.database.writing() as session:
        session.merge(model).thresholds = {}  # before a calibration nothing is known of looks
    assert manager.get(f"/api/vehicles/{other['id']}/alike").json() == []
    assert manager.get("/api/vehicles/99/alike").status_code == 404
