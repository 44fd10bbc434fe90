"""Vehicles and images a guard sees: those that an answer showed to that guard, and no other numbers."""

import pytest
from registers import photo
from web_service import WORDS, jpeg

from app.register.accounts import Role
from app.register.errors import NotEnrolledError
from app.register.matcher import Threshold
from app.register.photos import VehiclePhoto


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture
def narrow(identification, service):
    """Nine vehicles, more than an answer shows."""
    model, _ = identification.active_model.current()
    identification.models.set_thresholds(
        model.id, dict.fromkeys(model.libraries, Threshold(0.999999, 0.999999, 0.0)), "tester"
    )
    for number in range(3, 10):  # an answer shows five vehicles, and others not
        identification.enrol([VehiclePhoto(photo(50 + number))], account="tester", plate=f"ZZ {number}")
    return service


ALL = set(range(1, 10))


def identify(client, seed):
    response = client.post("/api/identify", files=[("pictures", jpeg(seed))])
    assert response.status_code == 200, response.text
    return response.json()


def hidden(identification, numbers):
    """Their enrolled pictures."""
    return [view.picture for number in numbers for view in identification.register.vehicle(number).views]


@pytest.mark.usefixtures("narrow")
def test_a_guard_sees_no_vehicle_by_its_number(identification, as_role):
    guard = as_role("guard")
    page = {"accept": "text/html"}
    for number in (1, 2, 3, 77):  # the last is none: the answers are alike
        answer = guard.get(f"/api/vehicles/{number}")
        assert (answer.status_code, answer.json()["detail"]) == (
            404,
            f"there is no vehicle {number} that an answer showed to you",
        )
        assert guard.get(f"/vehicles/{number}", headers=page).status_code == 404
    for name in hidden(identification, (1, 2, 3)):
        assert guard.get(f"/api/pictures/{name}").status_code == 404
    manager = as_role("manager")
    assert manager.get("/api/vehicles/3").json()["plate"] == "ZZ 3"
    assert all(manager.get(f"/api/pictures/{name}").status_code == 200 for name in hidden(identification, (1, 2, 3)))


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
def test_an_answer_shows_its_vehicles_to_its_account_alone(identification, as_role):
    client = as_role("guard")
    answer = identify(client, 2)
    shown = {row["vehicle"] for row in answer["candidates"]}
    assert 2 in shown
    assert len(shown) == 5
    for number in ALL:
        expected = 200 if number in shown else 404
        assert client.get(f"/api/vehicles/{number}").status_code == expected
        assert client.get(f"/vehicles/{number}", headers={"accept": "text/html"}).status_code == expected
        assert all(
            client.get(f"/api/pictures/{name}").status_code == expected for name in hidden(identification, [number])
        )
    assert client.get(f"/api/pictures/{answer['pictures'][0]}").status_code == 200
    assert client.get("/api/vehicles/2/owner").status_code == 403

    as_role("admin")
    client.app.state.register.accounts.add("other", Role.guard, WORDS["guard"], "tester")
    client.post("/login", data={"name": "other", "password": WORDS["guard"]})
    assert client.get("/api/vehicles/2").status_code == 404
    for name in [answer["pictures"][0], *hidden(identification, ALL)]:
        assert client.get(f"/api/pictures/{name}").status_code == 404


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
def test_it_lasts_as_long_as_the_sighting_and_through_restarts(identification, as_role):
    client = as_role("guard")
    number = identify(client, 2)["sighting"]
    assert identification.visible.vehicles("guard", {1, 2, 3, 2**63, 0, -1}) >= {2}
    identification.register.forget(account="tester", vehicle_id=2)
    assert client.get("/api/vehicles/2").status_code == 404
    assert identification.visible.vehicles("guard", {2}) == set()
    with identification.database.reading() as session:
        rows = session.connection().exec_driver_sql("SELECT COUNT(*) FROM shown WHERE sighting_id = ?", (number,))
        assert rows.scalar() == 0


@pytest.mark.parametrize("number", [2**31, 2**63, 10**30, 0, -1])
def test_a_number_that_no_row_can_have_is_not_there(identification, number):
    with pytest.raises(NotEnrolledError, match=f"there is no sighting {number} of yours"):
        identification.visible.require_sighting(number, "guard")
    with pytest.raises(NotEnrolledError, match=f"there is no vehicle {number} that an answer showed"):
        identification.visible.require_vehicle(number, "guard")


@pytest.mark.usefixtures("narrow")
def test_a_guard_reports_what_the_own_answers_showed(as_role):
    sighting = identify(as_role("manager"), 2)["sighting"]
    answer = identify(as_role("guard"), 2)
    own, unseen = answer["sighting"], min(ALL - {row["vehicle"] for row in answer["candidates"]})
    client = as_role("guard")
    report = {"kind": "blocks a gate"}
    assert client.post("/api/incidents", json=report | {"sighting": sighting}).status_code == 404
    assert client.post("/api/incidents", json=report | {"sighting": own, "vehicle": unseen}).status_code == 404
    assert client.post("/api/incidents", json=report | {"sighting": own, "vehicle": 2}).status_code == 201
    manager = as_role("manager")
    assert manager.post("/api/incidents", json=report | {"sighting": own, "vehicle": unseen}).status_code == 201
    page = {"accept": "text/html"}
    assert f'href="/vehicles/{unseen}"' in manager.get("/incidents", headers=page).text
    seen = as_role("guard").get("/incidents", headers=page).text
    assert 'href="/vehicles/2"' in seen
    assert f'href="/vehicles/{unseen}"' not in seen
