"""Confirmations of guards: kept with the sighting, changed, withdrawn, and forgotten with it."""

from datetime import timedelta

import pytest
from sqlalchemy import select
from web_service import jpeg

from app.register.matcher import Threshold
from app.register.schema import Confirmation, Sighting, now

pytestmark = pytest.mark.slow


@pytest.fixture
def url(request, tmp_path):
    """SQLite, unless a test names another database."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'register.sqlite'}"
    return request.getfixturevalue("postgres")()


@pytest.fixture
def thresholds(identification):
    """Sets from which similarity on an answer is a match, and unsure."""

    def thresholds(match, unsure):
        model, _ = identification.active_model.current()
        each = Threshold(match, unsure, 0.0)
        identification.models.set_thresholds(model.id, dict.fromkeys(model.libraries, each), "tester")

    return thresholds


def identify(client, seed, **data):
    return client.post("/api/identify", files=[("pictures", jpeg(seed))], data=data).json()


def say(client, answer, says, vehicle=None):
    body = {"says": says} if vehicle is None else {"says": says, "vehicle": vehicle}
    return client.post(f"/api/sightings/{answer['sighting']}/confirmation", json=body)


def rows(identification):
    with identification.database.reading() as session:
        return {row.sighting_id: row for row in session.scalars(select(Confirmation))}


def test_a_match_is_confirmed_changed_and_withdrawn(as_role, identification):
    guard = as_role("guard")
    answer = identify(guard, 1)
    assert (answer["decision"], answer["vehicle"]) == ("match", 1)
    said = say(guard, answer, "right").json()
    number = answer["sighting"]
    assert {**said, "created": None} == {
        "sighting": number, "truth": "vehicle", "vehicle": 1, "right": True, "account": "guard", "created": None,
    }  # fmt: skip
    assert guard.get(f"/api/sightings/{number}/confirmation").json() == said
    other = next(row["vehicle"] for row in answer["candidates"] if row["vehicle"] != 1)
    for says, vehicle, truth in (("wrong", None, "wrong"), ("vehicle", other, "vehicle"), ("none", None, "none")):
        said = say(guard, answer, says, vehicle).json()
        assert (said["truth"], said["vehicle"], said["right"]) == (truth, vehicle, False)
    assert len(rows(identification)) == 1
    path = f"/api/sightings/{number}/confirmation"
    assert guard.delete(path).json() == {"withdrawn": number}
    assert [guard.delete(path).status_code, guard.get(path).status_code] == [404, 404]
    assert rows(identification) == {}
    lines = [(line.account, line.action, line.subject, line.details) for line in identification.journal.audit(5)]
    assert lines[::-1] == [
        ("guard", "confirm", f"sighting {number}", {"truth": "vehicle", "vehicle": 1}),
        ("guard", "confirm", f"sighting {number}", {"truth": "wrong", "vehicle": None}),
        ("guard", "confirm", f"sighting {number}", {"truth": "vehicle", "vehicle": other}),
        ("guard", "confirm", f"sighting {number}", {"truth": "none", "vehicle": None}),
        ("guard", "withdraw confirmation", f"sighting {number}", {}),
    ]


def test_an_unsure_answer_is_one_of_the_candidates_or_none(as_role, thresholds):
    thresholds(1.0, -1.0)
    guard = as_role("guard")
    answer = identify(guard, 7)
    assert answer["decision"] == "unsure"
    for says in ("right", "wrong"):
        refused = say(guard, answer, says)
        assert refused.status_code == 400
        assert refused.json()["detail"] == "an unsure answer names nobody: say which vehicle it was, or none"
    said = say(guard, answer, "vehicle", 2).json()
    assert (said["truth"], said["vehicle"], said["right"]) == ("vehicle", 2, None)
    assert say(guard, answer, "none").json()["right"] is None


def test_an_unknown_vehicle_that_nobody_has_is_right(as_role, thresholds):
    thresholds(1.0, 1.0)
    answer = identify(as_role("guard"), 40)
    assert answer["decision"] == "unknown"
    assert say(as_role("guard"), answer, "right").json()["truth"] == "none"
    assert say(as_role("guard"), answer, "none").json()["right"] is True
    assert say(as_role("guard"), answer, "wrong").json()["right"] is False
    said = say(as_role("manager"), answer, "vehicle", 2).json()  # who knows all of them
    assert (said["right"], said["vehicle"], said["account"]) == (False, 2, "manager")


def test_a_guard_speaks_of_own_sightings_and_of_vehicles_shown(as_role, thresholds):
    thresholds(1.0, 1.0)
    manager = as_role("manager")
    foreign = identify(manager, 1)
    assert say(manager, foreign, "none").status_code == 200
    guard = as_role("guard")
    assert say(guard, foreign, "none").status_code == 404
    path = f"/api/sightings/{foreign['sighting']}/confirmation"
    assert [guard.get(path).status_code, guard.delete(path).status_code] == [404, 404]
    own = identify(guard, 1)
    hidden = say(guard, own, "vehicle", 2)
    assert (hidden.status_code, hidden.json()["detail"]) == (404, "there is no vehicle 2 that an answer showed to you")
    assert guard.get(f"/api/sightings/{own['sighting']}/confirmation").status_code == 404
    guard.cookies.clear()
    assert say(guard, own, "none").status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"says": "vehicle"}, 400, "a vehicle belongs to the answer `vehicle`, and to no other"),
        ({"says": "none", "vehicle": 1}, 400, "a vehicle belongs to the answer `vehicle`"),
        ({"says": "vehicle", "vehicle": 99}, 404, "there is no vehicle 99"),
        ({"says": "maybe"}, 422, "says"),
        ({}, 422, "says: Field required"),
        ({"says": "vehicle", "vehicle": True}, 422, "vehicle"),
        ({"says": "none", "vehicel": 1}, 422, "unknown field 'vehicel': did you mean 'vehicle'?"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(as_role, identification, body, status, reason):
    manager = as_role("manager")
    answer = identify(manager, 1)
    before = say(manager, answer, "right").json()
    refused = manager.post(f"/api/sightings/{answer['sighting']}/confirmation", json=body)
    assert refused.status_code == status, refused.text
    assert reason in refused.json()["detail"]
    assert manager.get(f"/api/sightings/{answer['sighting']}/confirmation").json() == before
    assert [line.action for line in identification.journal.audit()].count("confirm") == 1


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_it_is_forgotten_with_the_vehicle_or_the_sighting(as_role, identification, thresholds):
    guard = as_role("guard")
    matched, other = identify(guard, 1), identify(guard, 2)
    thresholds(1.0, -1.0)
    unsure, stranger = identify(guard, 7), identify(guard, 8)
    assert say(guard, matched, "right").json()["vehicle"] == 1
    assert say(guard, other, "none").status_code == 200
    assert say(guard, unsure, "vehicle", 1).status_code == 200
    assert say(guard, stranger, "none").status_code == 200
    done = as_role("manager").delete("/api/vehicles/1").json()
    # The unsure photograph is known to show that vehicle.
    assert (done["vehicles"], done["sightings"]) == ([1], 2)
    assert rows(identification).keys() == {other["sighting"], stranger["sighting"]}
    for name in unsure["pictures"]:
        assert not identification.photos.path(name).exists()
    identification.journal.forget_sightings(now() + timedelta(days=1), "tester")
    assert rows(identification) == {}
    with identification.database.reading() as session:
        assert session.scalar(select(Sighting.id)) is None


def test_a_sighting_keeps_the_boxes_of_its_photographs(as_role, identification):
    answer = identify(as_role("guard"), 1, boxes="2,3,30,40", plate_boxes="4,5,10,6")
    with identification.database.reading() as session:
        [row] = session.get(Sighting, answer["sighting"]).answer["views"]
    assert (row["picture"], row["vehicle_box"], row["plate_box"]) == (
        answer["pictures"][0],
        [2, 3, 30, 40],
        [4, 5, 10, 6],
    )
    assert (row["plate_picture"], row["modality"]) == (None, "visible")
