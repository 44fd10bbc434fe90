"""Requests that are sent again with their key: done once, answered alike, forgotten with what they led to."""

import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from web_service import jpeg

from app.evaluation.likelihood import Line
from app.register.evidence import Calibration
from app.register.lists import Kind, NewEntry
from app.register.retention import forget_old_sightings
from app.register.schema import Incident, Sighting, now
from app.register.sent_once import SentRequest

pytestmark = pytest.mark.slow

KEY = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def ask(client, *seeds, key=KEY, **fields):
    headers = {"idempotency-key": key} if key else {}
    return client.post(
        "/api/identify", files=[("pictures", jpeg(seed)) for seed in seeds], data=fields, headers=headers
    )


def counts(identification):
    with identification.database.reading() as session:
        return [session.scalar(select(func.count()).select_from(table)) for table in (Sighting, Incident, SentRequest)]


@pytest.mark.parametrize("seed", [1, 2, 7], ids=["match", "match without plate", "unknown"])
def test_the_same_query_is_answered_once(as_role, identification, seed):
    client = as_role("guard")
    first = ask(client, seed)
    assert first.status_code == 200
    for _ in range(3):
        assert ask(client, seed).json() == first.json()
    assert counts(identification) == [1, 0, 1]
    assert ask(client, seed, key=None).json()["sighting"] == 2
    assert ask(client, seed, key=OTHER).json()["sighting"] == 3
    assert client.get("/api/pictures/" + first.json()["pictures"][0]).status_code == 200


def test_an_entry_of_the_lists_is_said_again(as_role, identification):
    identification.lists.add(NewEntry(Kind.deny, vehicle=1, reason="banned"), "tester")
    client = as_role("guard")
    first = ask(client, 1).json()
    assert [entry["reason"] for entry in first["listed"]] == ["banned"]
    assert ask(client, 1).json() == first


def test_answers_of_every_kind_are_alike(as_role, identification):
    """By the sum of all evidence where it decides, unsure and with candidates."""
    model = identification.models.active()
    near = {name: type(limit)(0.99, -1.0, 0.0) for name, limit in identification.models.thresholds(model).items()}
    identification.models.set_thresholds(model.id, near, "tester")
    client = as_role("guard")
    first = ask(client, 40, 41)
    assert (first.json()["decision"], len(first.json()["candidates"])) == ("unsure", 2)
    assert ask(client, 40, 41).json() == first.json()


def test_evidence_and_plate_texts_are_alike(as_role, identification, reader_run, texts):
    model, _ = identification.active_model.current()
    identification.plate_reader.use(reader_run, "global", "tester")
    texts["texts"] = [("AB12", 0.99)]
    client, files = as_role("guard"), [("pictures", jpeg(1)), ("plate_pictures", jpeg(101))]

    def both(key):
        headers = {"idempotency-key": key}
        return [client.post("/api/identify", files=files, headers=headers).json() for _ in range(2)]

    first, second = both(KEY)
    assert first["plate_text"]["candidates"] == [{"vehicle": 1, "plate": "AB 12", "cost": 0.0}]
    assert second == first
    lines = dict.fromkeys((*model.libraries, "plate_text"), Line(0.0, 3.0))
    calibration = Calibration(
        lines=lines, named=10.0, registered=-10.0, strangers=0.5, stranger_rate=0.01, unknown_rate=0.01
    )
    identification.models.set_evidence(model.id, calibration, "tester")
    first, second = both(OTHER)
    assert (first["decided_by"], len(first["evidence"]["candidates"])) == ("evidence", 2)
    assert second == first


def test_an_unknown_vehicle_is_enrolled_once(as_role, identification):
    client = as_role("manager")
    first = ask(client, 30, enrol_unknown="true").json()
    assert first["enrolled"] == 3
    assert ask(client, 30, enrol_unknown="true").json() == first
    assert identification.size() == 3


def test_a_key_is_for_one_request_of_one_account(as_role, identification):
    client = as_role("guard")
    first = ask(client, 1).json()
    for other in (ask(client, 2), ask(client, 1, 1), ask(client, 1, modality="infrared"), ask(client, 1, whole="true")):
        assert (other.status_code, other.json()["detail"]) == (
            422,
            "this Idempotency-Key came with another request before",
        )
    for wrong in ("short", "x" * 65, "0f8fad5b d9cb 469f a165", "'; DROP TABLE sighting; --"):
        said = ask(client, 1, key=wrong)
        assert (said.status_code, said.json()["detail"].partition(":")[0]) == (422, "header.Idempotency-Key"), wrong
    assert ask(as_role("manager"), 1).json()["sighting"] != first["sighting"]
    assert counts(identification) == [2, 0, 2]


def test_queries_at_the_same_time_are_one(as_role, identification, monkeypatch):
    client, real, answers = as_role("guard"), identification.identify, []

    def slow(*args, **kwargs):
        time.sleep(0.3)
        return real(*args, **kwargs)

    monkeypatch.setattr(identification, "identify", slow)
    threads = [threading.Thread(target=lambda: answers.append(ask(client, 1).json())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers[0]["sighting"] == 1
    assert answers == [answers[0]] * 4
    assert counts(identification) == [1, 0, 1]


def test_a_query_whose_process_ended_before_its_answer_is_not_done_again(as_role, identification, monkeypatch):
    client = as_role("guard")

    def killed(*_):
        raise MemoryError("as if it were killed")

    monkeypatch.setattr(identification.sent_once, "add_photographs", killed)
    with pytest.raises(MemoryError):
        ask(client, 1)
    assert counts(identification) == [1, 0, 1]
    monkeypatch.undo()
    answer = ask(client, 1).json()
    assert (answer["decision"], answer["vehicle"], answer["sighting"]) == ("match", 1, 1)
    assert (answer["candidates"][0]["plate"], answer["candidates"][0]["flat"]) == ("AB 12", "12")
    [photograph] = answer["photographs"]
    assert (photograph["vehicles"], photograph["width"] > 1) == (None, True)


def test_a_query_that_was_refused_is_done_when_it_is_mended(as_role, identification):
    client = as_role("guard")
    said = client.post(
        "/api/identify", files=[("pictures", ("a.jpg", b"no", "image/jpeg"))], headers={"idempotency-key": KEY}
    )
    assert said.status_code == 415
    assert counts(identification) == [0, 0, 0]
    assert ask(client, 1).status_code == 200


def test_an_incident_is_reported_once(as_role, identification):
    client = as_role("guard")
    sighting = ask(client, 1).json()["sighting"]

    def report(note="a note", key=OTHER):
        body = {"sighting": sighting, "kind": "blocks a gate", "note": note}
        return client.post("/api/incidents", json=body, headers={"idempotency-key": key})

    first = report()
    assert (first.status_code, report().json()) == (201, first.json())
    assert counts(identification) == [1, 1, 2]
    assert report("another note").status_code == 422
    assert report(key=KEY).status_code == 422  # the key of the query
    assert counts(identification) == [1, 1, 2]


def test_a_key_goes_with_its_sighting_or_its_incident(as_role, identification):
    client = as_role("guard")
    ask(client, 7)
    match = ask(client, 1, key=OTHER).json()["sighting"]
    client.post(
        "/api/incidents", json={"sighting": match, "kind": "x"}, headers={"idempotency-key": "a" * 16}
    ).raise_for_status()
    with identification.database.writing() as session:
        for row in session.scalars(select(Sighting)):
            row.created = now() - timedelta(days=40)
    forget_old_sightings(identification, 30, "tester")
    assert counts(identification) == [1, 1, 2]  # the one with a report stays
    as_role("manager").delete("/api/vehicles/1").raise_for_status()
    assert counts(identification) == [0, 0, 0]
    assert ask(as_role("guard"), 7).json()["decision"] == "unknown"


def test_nothing_of_a_vehicle_that_was_forgotten_is_in_an_answer_of_before(as_role, identification):
    model = identification.models.active()
    near = {name: type(limit)(0.99, -1.0, 0.0) for name, limit in identification.models.thresholds(model).items()}
    identification.models.set_thresholds(model.id, near, "tester")
    first = ask(as_role("guard"), 40)
    assert "AB 12" in first.text
    as_role("manager").delete("/api/vehicles/1").raise_for_status()
    again = ask(as_role("guard"), 40)
    assert again.json()["sighting"] == first.json()["sighting"]
    assert "AB 12" not in again.text
