"""The REST API: who may do what, what is refused, and that nothing is half-written."""

import pytest
from sqlalchemy.exc import OperationalError
from web_service import jpeg

from app.register.accounts import Role
from app.register.matcher import Threshold
from app.register.photos import Photos
from app.register.vehicles import Register
from app.web.security import LimitBody

pytestmark = pytest.mark.slow


@pytest.fixture
def url(tmp_path):
    """The register itself is tested on both databases; its service on one."""
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def identify(client, *seeds, plates=(), **data):
    files = [("pictures", jpeg(seed)) for seed in seeds] + [("plate_pictures", jpeg(seed)) for seed in plates]
    return client.post("/api/identify", files=files, data=data)


def test_a_guard_identifies_and_sees_plate_and_flat_and_no_name(as_role):
    response = identify(as_role("guard"), 1, plates=[101])
    assert response.status_code == 200
    answer = response.json()
    assert (answer["decision"], answer["vehicle"], answer["decided_by"]) == ("match", 1, "fused")
    best = answer["candidates"][0]
    assert (best["plate"], best["flat"]) == ("AB 12", "12")
    assert "Resident" not in response.text
    assert "evenings" not in response.text
    for name in (best["picture"], answer["pictures"][0]):
        picture = as_role("guard").get(f"/api/pictures/{name}")
        assert picture.content.startswith(b"\xff\xd8")


def test_a_guard_sees_nothing_of_vehicles_that_a_photograph_does_not_resemble(identification, as_role):
    client = as_role("guard")
    model, _ = identification.active_model.current()
    identification.models.set_thresholds(model.id, dict.fromkeys(model.libraries, Threshold(1.0, 1.0)), "tester")
    answer = identify(client, 40, plates=[140]).json()
    assert (answer["decision"], answer["candidates"]) == ("unknown", [])
    assert client.get("/api/vehicles/1").status_code == 404
    identification.models.set_thresholds(
        model.id, dict.fromkeys(model.libraries, Threshold(0.999999, 0.99, 0.0)), "tester"
    )
    assert identify(client, 1, plates=[101]).json()["vehicle"] == 1
    seen = client.get("/api/vehicles/1").json()
    assert (seen["note"], seen["has_owner"]) == (None, None)
    assert [line.subject for line in identification.journal.audit(1)] == ["vehicle 1"]
    assert as_role("manager").get("/api/vehicles/1").json()["has_owner"] is True


def test_a_guard_does_not_enrol(identification, as_role):
    response = identify(as_role("guard"), 40, enrol_unknown="true")
    assert (response.status_code, response.json()["detail"]) == (403, "enrolling needs the role manager")
    assert identification.register.counts()["sightings"] == 0
    model, _ = identification.active_model.current()
    identification.models.set_thresholds(model.id, dict.fromkeys(model.libraries, Threshold(1.0, 1.0)), "tester")
    assert identify(as_role("manager"), 40, enrol_unknown="true").json()["enrolled"] == 3


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("get", "/api/status", "guard"),
        ("get", "/api/vehicles/1", "guard"),
        ("get", "/api/incidents", "guard"),
        ("get", "/api/vehicles", "manager"),
        ("get", "/api/vehicles/1/owner", "manager"),
        ("delete", "/api/vehicles/1", "manager"),
        ("delete", "/api/owners/1", "manager"),
        ("post", "/api/incidents/9/close", "manager"),
        ("get", "/api/audit", "admin"),
        ("get", "/api/accounts", "admin"),
        ("post", "/api/accounts/3/disable", "admin"),
        ("get", "/register", "manager"),
        ("get", "/enrol", "manager"),
        ("get", "/calibration", "manager"),
        ("get", "/accounts", "admin"),
        ("get", "/", "guard"),
    ],
)
def test_roles(client, as_role, method, path, least):
    assert getattr(client, method)(path).status_code == 401
    for role in Role:
        response = getattr(as_role(role.name), method)(path)
        assert (response.status_code == 403) == (role < Role[least]), (role, response.text)
        if role < Role[least]:
            assert f"needs the role {least}" in response.json()["detail"]


def test_a_form_of_another_site_is_refused(as_role):
    client = as_role("manager")
    del client.headers["x-csrf-token"]
    assert client.delete("/api/vehicles/1").status_code == 403
    assert client.delete("/api/vehicles/1", headers={"x-csrf-token": "0" * 64}).status_code == 403
    assert client.delete("/api/vehicles/1", headers={"x-csrf-token": "ä".encode()}).status_code == 403
    assert client.post("/logout", data={"csrf": "ä" * 64}).status_code == 403
    assert client.get("/api/vehicles/1").status_code == 200


def test_a_program_uses_a_token(client, as_role):
    secret = as_role("guard").post("/api/tokens", json={"label": "gate"}).json()["token"]
    client.cookies.clear()
    del client.headers["x-csrf-token"]
    client.headers["authorization"] = f"Bearer {secret}"
    assert identify(client, 2).json()["vehicle"] == 2
    assert client.get("/api/vehicles").status_code == 403
    assert client.post("/api/tokens", json={"days": 3650}).status_code == 403  # it would outlive this one
    client.headers["authorization"] = "Bearer wrong"
    assert client.get("/api/status").status_code == 401


def test_a_manager_enrols_adds_and_forgets(as_role):
    client = as_role("manager")
    made = client.post(
        "/api/vehicles",
        files=[("pictures", jpeg(30)), ("plate_pictures", jpeg(130))],
        data={"owner": "B. Resident", "flat": "7", "plate": "CD 34"},
    )
    assert made.status_code == 201
    number = made.json()["id"]
    assert made.json()["plate"] == "CD 34"
    assert identify(client, 30, plates=[130]).json()["vehicle"] == number
    more = client.post(f"/api/vehicles/{number}/views", files=[("pictures", jpeg(31))])
    assert len(more.json()["views"]) == 2
    owner = client.get(f"/api/vehicles/{number}/owner").json()
    assert (owner["name"], owner["flat"]) == ("B. Resident", "7")
    gone = client.delete(f"/api/owners/{owner['id']}").json()
    assert (gone["owners"], gone["vehicles"], gone["views"], gone["sightings"]) == (1, [number], 2, 1)
    assert client.get(f"/api/vehicles/{number}").status_code == 404
    for view in more.json()["views"]:
        assert client.get(f"/api/pictures/{view['picture']}").status_code == 404


def test_an_incident_from_the_sighting_to_its_end(as_role):
    sighting = identify(as_role("guard"), 1, plates=[101]).json()["sighting"]
    report = {"sighting": sighting, "kind": "blocks a gate", "note": "<b>white</b>\nvan"}
    made = as_role("guard").post("/api/incidents", json=report)
    assert (made.status_code, made.json()["vehicle"]) == (201, 1)
    client = as_role("manager")
    assert "&lt;b&gt;white" in client.get("/incidents", headers={"accept": "text/html"}).text
    assert client.post(f"/api/incidents/{made.json()['id']}/close").json()["closed"]
    assert client.get("/api/incidents?open_only=true").json() == []
    assert client.post("/api/incidents", json=report | {"sighting": 99}).status_code == 404


def test_an_incident_is_of_the_vehicle_that_the_guard_names_and_ends_once(as_role, identification):
    sighting = identify(as_role("guard"), 7).json()["sighting"]
    client = as_role("manager")
    report = {"sighting": sighting, "kind": "blocks a gate"}
    assert client.post("/api/incidents", json=report).json()["vehicle"] is None
    made = client.post("/api/incidents", json=report | {"vehicle": 2}).json()
    assert made["vehicle"] == 2
    assert client.post("/api/incidents", json=report | {"vehicle": 99}).status_code == 404
    ends = [client.post(f"/api/incidents/{made['id']}/close").json()["closed"] for _ in range(2)]
    assert ends[0] == ends[1]
    assert [line.action for line in identification.journal.audit()].count("close incident") == 1


@pytest.mark.parametrize(
    ("files", "data", "status", "reason"),
    [
        ([("pictures", ("x.jpg", b"nothing", "image/jpeg"))], {}, 415, "x.jpg: not an image"),
        ([("pictures", ("x.jpg", b"", "image/jpeg"))], {}, 415, "x.jpg: not an image"),
        ([("pictures", ("half.png", jpeg(1)[1][:900], "image/png"))], {}, 415, "half.png: cannot be read"),
        ([], {}, 422, "pictures: Field required"),
        (
            [("pictures", jpeg(1)), ("plate_pictures", jpeg(1)), ("plate_pictures", jpeg(2))],
            {},
            400,
            "2 plate photos",
        ),
        ([("pictures", jpeg(1))] * 9, {}, 400, "9 photos at once"),
        ([("pictures", jpeg(1))], {"boxes": "1,2"}, 422, "not left,top,width,height"),
        ([("pictures", jpeg(1))], {"boxes": "900,0,9,9"}, 422, "outside the image"),
        ([("pictures", jpeg(1))], {"plate_boxes": "900,0,9,9"}, 422, "outside the image"),
        ([("pictures", ("x.jpg", b"x" * (32 * 2**20 + 1), "image/jpeg"))], {}, 413, "x.jpg: more than 32 MiB"),
        ([("pictures", jpeg(1))], {"boxes": "nan,0,9,9"}, 422, "finite numbers"),
        ([("pictures", jpeg(1))], {"plate": "ab-12"}, 409, "vehicle 1 has this plate already"),
        ([("pictures", jpeg(1))], {"plate": "?!"}, 400, "not a plate"),
        ([("pictures", jpeg(1))], {"flat": "12"}, 400, "needs an owner"),
        ([("pictures", jpeg(1))], {"owner": "a\x00b"}, 422, "owner: holds a character that is not allowed"),
        ([("pictures", jpeg(1))], {"owner": "a" * 201}, 422, "owner: has 201 characters; the most is 200"),
    ],
)
def test_a_refused_enrolment_has_a_status_a_line_and_no_trace(identification, as_role, files, data, status, reason):
    before, pictures = identification.register.counts(), sorted(identification.photos.folder.iterdir())
    response = as_role("manager").post("/api/vehicles", files=files or None, data=data)
    assert response.status_code == status, response.text
    assert reason in response.json()["detail"]
    assert identification.register.counts() == before
    assert sorted(identification.photos.folder.iterdir()) == pictures


def test_too_large_a_request_is_refused_before_it_is_read(as_role, monkeypatch):
    client = as_role("guard")
    middleware = next(each for each in client.app.user_middleware if each.cls is LimitBody)
    monkeypatch.setitem(middleware.kwargs, "most", 80_000)
    client.app.middleware_stack = None  # built anew
    large = ("large.png", b"x" * 90_000, "image/png")
    assert client.post("/api/identify", files=[("pictures", large)]).status_code == 413
    assert client.post("/api/identify", files=[("pictures", ("x", b"x" * 70_000, "image/png"))]).status_code == 415

    def pieces():  # without a length
        yield b'--x\r\nContent-Disposition: form-data; name="pictures"; filename="a"\r\n\r\n'
        for _ in range(1000):
            yield b"x" * 100

    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/api/identify", content=pieces(), headers=headers).status_code == 413
    client.cookies.clear()  # a stranger
    small = ("x", b"x" * 70_000, "image/png")
    assert client.post("/api/identify", files=[("pictures", small)]).status_code == 401
    assert client.post("/api/identify", files=[("pictures", large)]).status_code == 413
    assert client.post("/login", data={"name": "x" * 70_000, "password": "x"}).status_code == 413


def test_a_full_disk_is_said(as_role, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Photos, "keep", full)
    response = identify(as_role("guard"), 1)
    assert (response.status_code, response.json()["detail"]) == (507, "the disk is full; nothing was changed")


def test_a_database_without_room_and_one_that_is_gone(identification, as_role, monkeypatch):
    client = as_role("manager")
    for message, status in (("database or disk is full", 507), ("disk I/O error", 503), ("database is locked", 503)):

        def fail(*_, message=message):
            with identification.database.writing():
                raise OperationalError("", {}, Exception(message))

        monkeypatch.setattr(Register, "vehicles", fail)
        assert client.get("/api/vehicles").status_code == status


@pytest.mark.parametrize(("given", "said"), [({}, "visible"), *(({"modality": m}, m) for m in ("visible", "infrared"))])
def test_the_answer_says_the_modality(as_role, given, said):
    assert [row["modality"] for row in identify(as_role("guard"), 1, **given).json()["photographs"]] == [said]
    assert identify(as_role("guard"), 1, modality="dusk").status_code in (400, 422)


def test_too_many_look_ups_that_wait_are_sent_away(as_role, monkeypatch):
    monkeypatch.setattr("app.web.state._MOST_WAITING", 0)
    assert identify(as_role("guard"), 1).status_code == 503
