"""Answers by the sum of all evidence, in the API and on the pages."""

import json

import pytest
from registers import photo
from web_service import jpeg

from app.evaluation.likelihood import Line
from app.register.evidence import Calibration
from app.register.photos import VehiclePhoto
from app.register.plate_reader import PlateRead

RATES = {"strangers": 0.5, "stranger_rate": 0.01, "unknown_rate": 0.01}
SHARE = {"share": 0.5, "low": 0.4, "high": 0.6}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture
def decided(identification):
    """Sets what every score is worth, and the log odds from which a vehicle is named and is not unknown."""

    def decided(offset, named, registered):
        model, _ = identification.active_model.current()
        lines = dict.fromkeys(model.libraries, Line(0.0, offset))
        calibration = Calibration(lines=lines, named=named, registered=registered, **RATES)
        identification.models.set_evidence(model.id, calibration, "tester")

    return decided


def identify(client, seed):
    return client.post("/api/identify", files=[("pictures", jpeg(seed))]).json()


def test_probabilities_stand_in_the_answer(as_role, decided):
    decided(3.0, 10.0, -10.0)
    answer = identify(as_role("guard"), 1)
    assert (answer["decision"], answer["decided_by"], answer["threshold"]) == ("unsure", "evidence", None)
    # Two vehicles with a ratio of e^3 each and one stranger in two queries.
    each = 20.0855 / 2 / (20.0855 + 1)
    rows = answer["evidence"]["candidates"]
    assert [row["probability"] for row in rows] == pytest.approx([each, each], abs=1e-3)
    assert answer["evidence"]["not_registered"] == pytest.approx(1 / 21.0855, abs=1e-3)
    assert [row["vehicle"] for row in rows] == [row["vehicle"] for row in answer["candidates"]]


def test_a_guard_sees_no_probability_of_vehicles_that_are_not_shown(as_role, decided):
    decided(-9.0, 10.0, 5.0)
    answer = identify(as_role("guard"), 1)
    assert (answer["decision"], answer["candidates"], answer["evidence"]["candidates"]) == ("unknown", [], [])
    assert answer["evidence"]["not_registered"] > 0.99
    assert as_role("guard").get("/api/vehicles/1").status_code == 404


def test_a_foreign_plate_is_not_registered(as_role, decided, identification, monkeypatch):
    decided(-9.0, 10.0, -2.0)
    monkeypatch.setattr(identification.plate_reader, "read", lambda _: [PlateRead("XY987", 0.99, 0, (0.99,) * 5)])
    answer = identify(as_role("guard"), 1)
    assert (answer["decision"], answer["vehicle"], answer["candidates"]) == ("not_registered", None, [])
    assert answer["plate_text"]["text"] == "XY987"
    assert (
        as_role("manager")
        .post("/api/identify", files=[("pictures", jpeg(1))], data={"enrol_unknown": "true"})
        .json()["enrolled"]
    )


def test_the_page_of_the_calibration_has_the_rates_and_warns(as_role, decided, identification):
    manager = as_role("manager")

    def page():
        return manager.get("/calibration", headers={"accept": "text/html"}).text

    assert "the sum is not calibrated" in page()
    decided(3.0, 10.0, -10.0)
    folder = identification.folder / "calibration" / identification.active_model.current()[0].digest
    folder.mkdir(parents=True)
    names = ("residents_right", "residents_wrong", "residents_unsure", "residents_unknown", "strangers_named")
    evidence = {"vehicles": 20, "queries": 40, "registered": 2, "stranger_rate": 0.01, **dict.fromkeys(names, SHARE)}
    (folder / "report.json").write_text(json.dumps({"libraries": {}, "evidence": evidence}))
    shown = page()
    assert "This sum decides" in shown
    assert "50.0 (40.0 to 60.0)" in shown
    assert "More strangers are named than the 1.0 %" in shown
    assert "calibrated among" not in shown
    for number in range(3):
        identification.enrol([VehiclePhoto(photo(50 + number))], account="tester")
    assert "The register has 2 times the vehicles that it was calibrated among" in page()
    identification.models.set_decides("libraries", "tester")
    assert "the sum was switched off" in page()
    (folder / "report.json").write_text(json.dumps({"libraries": {}, "evidence": {"error": "9 vehicles"}}))
    assert "The last calibration changed nothing here: 9 vehicles." in page()
