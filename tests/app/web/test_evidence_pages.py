"""Answers by the sum of all evidence, in the API and on the pages."""

import contextlib
import json
import math
import re
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from registers import photo
from sqlalchemy import text
from web_service import jpeg

from app.evaluation.likelihood import Line
from app.register.calibrate_evidence import Rates
from app.register.calibrate_own import calibrate_by_register
from app.register.evidence import Calibration
from app.register.photos import VehiclePhoto
from app.register.plate_reader import PlateRead
from app.web import figures

pytestmark = pytest.mark.slow

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


def test_the_page_has_a_column_for_strangers_whose_plate_told_them(as_role, decided, identification):
    """Of a calibration with plate texts, those who are not registered are a part of the 100."""
    manager = as_role("manager")
    decided(3.0, 10.0, -10.0)
    folder = identification.folder / "calibration" / identification.active_model.current()[0].digest
    folder.mkdir(parents=True)
    answers = {"residents": ("right", "wrong", "unsure", "unknown"), "strangers": ("named", "unsure", "unknown")}
    names = [f"{who}_{each}" for who, those in answers.items() for each in those]
    evidence = {"vehicles": 20, "queries": 40, "registered": 2, "stranger_rate": 0.01, **dict.fromkeys(names, SHARE)}
    evidence |= {f"{who}_not_registered": {"share": 0.3, "low": 0.2, "high": 0.4} for who in answers}

    def page(**more):
        (folder / "report.json").write_text(json.dumps({"libraries": {}, "evidence": evidence | more}))
        return manager.get("/calibration", headers={"accept": "text/html"}).text

    with_texts = page(texts=31)
    assert "among 2 vehicles, with the plate texts of 31 queries." in " ".join(with_texts.split())
    assert '<th scope="col">Not registered</th>' in with_texts
    assert rows_of(manager)["strangers"] == ["", "50.0", "50.0", "50.0", "30.0"]
    without = page(texts=0)
    assert "among 2 vehicles, without plate texts." in " ".join(without.split())
    assert "Not registered" not in without
    assert rows_of(manager)["strangers"] == ["", "50.0", "50.0", "50.0"]


FIGURES = ("residents_right", "residents_wrong", "residents_unsure", "residents_unknown")
STRANGERS = ("strangers_named", "strangers_unsure", "strangers_unknown")


def rows_of(client):
    """The table of the sum of all evidence: cells by the words of its rows."""
    page = client.get("/calibration", headers={"accept": "text/html"}).text
    table = page.split("<tbody>")[1].split("</tbody>")[0]
    found = {}
    for row in table.split("<tr>")[1:]:
        name = re.search('<th scope="row">(.*?)</th>', row)[1]
        found[name] = [cell.split(" ")[0] for cell in re.findall("<td>(.*?)</td>", row)]
    return found


@pytest.fixture
def calibrated(identification):
    """Ten vehicles with two photographs, and the sum calibrated on them; the service's two have one."""

    def calibrated(**words):
        return calibrate_by_register(identification, account="tester", **words)["evidence"]

    rng = np.random.default_rng(0)
    for _ in range(10):
        views = [VehiclePhoto(photo(int(rng.integers(2**30)))) for _ in range(2)]
        identification.enrol(views, account="tester")
    return calibrated


def percents(figures, who):
    if who == "strangers":  # none of them can be named right
        return ["", *(f"{100 * figures[name]['share']:.1f}" for name in STRANGERS)]
    return [f"{100 * figures[name]['share']:.1f}" for name in FIGURES]


def test_the_page_has_the_figures_before_and_after_and_a_curve(as_role, calibrated):
    manager = as_role("manager")
    first = calibrated()
    rows = rows_of(manager)
    assert rows == {"residents": percents(first, "residents"), "strangers": percents(first, "strangers")}
    second = calibrated(rates=Rates(stranger_rate=0.3))
    rows = rows_of(manager)
    assert rows["residents after it"] == percents(second, "residents")
    assert rows["strangers after it"] == percents(second, "strangers")
    assert rows["residents before this calibration"] == percents(second["before"], "residents")
    page = manager.get("/calibration", headers={"accept": "text/html"}).text
    points = re.search('<polyline class="line" points="(.*?)"', page)[1].split()
    assert len(points) == len(second["curve"])
    x, y = map(float, re.search('<circle class="working" cx="(.*?)" cy="(.*?)"', page).groups())
    right, strangers = second["residents_right"]["share"], max(second["strangers_named"]["share"], 0.001)
    # Of 420 x 260 pixels: three decades from 48 to 408, and all residents from 216 up to 12.
    assert x == pytest.approx(408 + (408 - 48) * math.log10(strangers) / 3, abs=0.1)
    assert y == pytest.approx(216 - 204 * right, abs=0.1)
    assert f"Of 100 residents {100 * right:.1f} are named right" in page


def test_figures_are_renewed_as_the_register_grows(as_role, calibrated, identification):
    manager = as_role("manager")
    first = calibrated()

    def page():
        return manager.get("/calibration", headers={"accept": "text/html"}).text

    assert "measured again" not in page().lower()
    for number in range(4):
        identification.enrol([VehiclePhoto(photo(900 + number))], account="tester")
    deadline = time.monotonic() + 30
    while "Measured again on the register as it is: 20 queries of 10 vehicles, among 16" not in page():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "residents in the register as it is" in rows_of(manager)
    assert rows_of(manager)["residents"] == percents(first, "residents")
    service = manager.app.state.register
    assert not service.figures.is_running
    before = service.figures._begun
    page()
    assert service.figures._begun == before  # nothing has changed since


def test_the_page_warns_of_what_guards_confirmed(as_role, calibrated, identification):
    manager = as_role("manager")

    def page():
        return " ".join(manager.get("/calibration", headers={"accept": "text/html"}).text.split())

    assert "No answer was confirmed yet" in page()
    calibrated()
    model, _ = identification.active_model.current()
    all_named = identification.models.evidence(model).model_copy(update={"named": -1e9, "registered": -1e9})
    identification.models.set_evidence(model.id, all_named, "tester")
    for number in range(5):
        answer = identify(manager, 50 + number)
        assert answer["decision"] == "match"
        manager.post(f"/api/sightings/{answer['sighting']}/confirmation", json={"says": "none"})
        assert ("Guards confirmed that strangers were named" in page()) == (number >= 3)
    assert "named: 5 of 5 (100.0 (40.0 to 100.0) of 100), more than the 1.0 % that were asked for" in page()
    assert "strangers 5, of them named 5, of 100 100.0 (40.0 to 100.0)" in page()
    assert "these answers are no sample of all that comes" in page()
    calibrated(confirmed=True)
    after = page()
    assert "Guards confirmed that strangers were named" not in after  # those answers were given before
    assert "strangers whom guards confirmed" in after
    assert "Confirmed answers among them: 5, of strangers 5." in after


def test_the_page_warns_of_a_network_of_rendered_vehicles(as_role, identification):
    manager = as_role("manager")

    def page():
        return manager.get("/calibration", headers={"accept": "text/html"}).text

    _, recogniser = identification.active_model.current()
    assert recogniser.settings.data.reader == "synthetic"  # that of the defaults
    assert "This network was trained on rendered vehicles" in page()
    assert "The sum of all evidence has never been calibrated" in page()
    recogniser.settings = replace(recogniser.settings, data=replace(recogniser.settings.data, reader="two_cam"))
    assert "This network was trained on rendered vehicles" not in page()


def test_the_page_counts_confirmed_answers_without_reading_them(as_role, identification):
    """The answers are nearly all of the bytes: of thousands of sightings it would wait a second for them."""
    manager = as_role("manager")
    answer = identify(manager, 1)
    manager.post(f"/api/sightings/{answer['sighting']}/confirmation", json={"says": "none"})
    with identification.database.writing() as session:
        session.execute(text("UPDATE sighting SET answer = 'cannot be read'"))
    with pytest.raises(json.JSONDecodeError):
        identification.confirmations.all()
    assert "Confirmed answers: 1." in manager.get("/calibration", headers={"accept": "text/html"}).text


def test_pages_that_are_opened_at_once_measure_once(identification, monkeypatch):
    renewal, both, measured = figures.FiguresRenewal(identification), threading.Barrier(2), []
    monkeypatch.setattr(figures, "renew_figures", measured.append)

    def moment():
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.3)  # until the other thread is here as well, if it can be
        return 1000.0

    monkeypatch.setattr(figures, "time", SimpleNamespace(monotonic=moment))
    pages = [threading.Thread(target=renewal.begin) for _ in range(2)]
    for page in pages:
        page.start()
    for page in pages:
        page.join()
    renewal._thread.shutdown(wait=True)  # `close` would cancel a second one
    assert measured == [identification]
