"""Identifications decided by the sum of all evidence, in a register that calibrates itself."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from registers import photo
from sqlalchemy import text

from app.evaluation.errors import EvaluationError
from app.register.calibrate import read_report
from app.register.calibrate_evidence import Rates
from app.register.calibrate_own import calibrate_by_register
from app.register.errors import RegisterError
from app.register.evidence import EVIDENCE
from app.register.matcher import PLATE_TEXT, Outcome
from app.register.photos import VehiclePhoto, read_photo
from app.register.plate_evidence import TextEffect
from app.register.plate_reader import PlateRead
from app.settings.checks import SettingsError

VEHICLES = 14
PLATES = [f"{letter}{letter}{letter} {number}{number}" for number, letter in enumerate("ABCDEFGHJKLMNP", start=10)]


@pytest.fixture
def seen(tmp_path):
    """A photograph of a vehicle: a pattern of its own, and noise."""

    def seen(number, variant):
        grid = np.random.default_rng(number).integers(0, 256, (4, 5, 3)).astype(np.uint8)
        large = np.asarray(Image.fromarray(grid).resize((50, 40), Image.Resampling.BICUBIC), np.int16)
        noise = np.random.default_rng(1000 * number + variant).integers(-20, 21, large.shape)
        path = tmp_path / f"{number}-{variant}.png"
        Image.fromarray((large + noise).clip(0, 255).astype(np.uint8)).save(path)
        return VehiclePhoto(read_photo(path))

    return seen


@pytest.fixture
def enrolled(identification, seen):
    for number in range(VEHICLES):
        photos = [seen(number, variant) for variant in (1, 2)]
        identification.enrol(photos, account="tester", plate=PLATES[number])
    return identification


def reads(monkeypatch, identification, plate, confidence=0.99):
    read = PlateRead(plate, confidence, 0, (confidence,) * len(plate))
    monkeypatch.setattr(identification.plate_reader, "read", lambda _: [read])


def test_the_registers_own_images_calibrate_it(enrolled, seen):
    before = enrolled.identify([seen(3, 3)], account="guard").decision
    assert before.evidence is None
    report = calibrate_by_register(enrolled, account="tester")
    assert (report["evidence"]["vehicles"], report["evidence"]["queries"]) == (VEHICLES, 2 * VEHICLES)
    assert report["evidence"]["registered"] == VEHICLES
    kept = read_report(enrolled.folder / "calibration" / report["model"])
    assert kept["evidence"] == report["evidence"]
    assert [line.action for line in enrolled.journal.audit(1)] == ["set evidence"]
    outcomes, first = [], []
    for number in range(VEHICLES):
        found = enrolled.identify([seen(number, 3)], account="guard").decision
        assert found.decided_by == EVIDENCE
        outcomes.append(found.outcome)
        first.append(found.evidence.candidates[0].vehicle == number + 1)
        total = sum(each.probability for each in found.evidence.candidates)
        assert total + found.evidence.others + found.evidence.stranger == pytest.approx(1)
    assert sum(first) >= VEHICLES - 1
    assert outcomes.count(Outcome.unknown) <= 2  # below all of the 28 that set the threshold: 1 in 29 on average
    strangers = [enrolled.identify([seen(100 + n, 1)], account="guard").decision for n in range(10)]
    assert sum(each.outcome is Outcome.match for each in strangers) <= 1


def test_libraries_in_turn_decide_if_that_is_chosen(enrolled, seen):
    calibrate_by_register(enrolled, account="tester")
    enrolled.models.set_decides("libraries", "tester")
    assert enrolled.identify([seen(3, 3)], account="guard").decision.evidence is None
    enrolled.models.set_decides("evidence", "tester")
    assert enrolled.identify([seen(3, 3)], account="guard").decision.decided_by == EVIDENCE


def test_a_plate_text_adds_to_the_look(enrolled, seen, monkeypatch):
    calibrate_by_register(enrolled, account="tester")
    look = enrolled.identify([seen(5, 3)], account="guard")
    reads(monkeypatch, enrolled, PLATES[5].replace(" ", ""))
    both = enrolled.identify([seen(5, 3)], account="guard")
    assert (both.decision.outcome, both.decision.vehicle) == (Outcome.match, 6)
    assert both.plate.says is TextEffect.agrees
    best = both.decision.evidence.candidates[0]
    assert best.llr[PLATE_TEXT] > 5
    assert best.probability > look.decision.evidence.candidates[0].probability
    # The text of one vehicle with the look of another names neither alone.
    other = enrolled.identify([seen(9, 3)], account="guard").decision
    llr = {each.vehicle: each.llr[PLATE_TEXT] for each in other.evidence.candidates}
    assert llr[6] > 0 > llr[10]


def test_a_plate_that_nobody_has_is_not_registered(enrolled, seen, monkeypatch):
    calibrate_by_register(enrolled, account="tester")
    reads(monkeypatch, enrolled, "ZZ999XY")
    answer = enrolled.identify([seen(200, 1)], account="guard")
    assert (answer.decision.outcome, answer.decision.vehicle) == (Outcome.not_registered, None)
    assert answer.decision.shown() == ()
    assert enrolled.journal.audit(1)[0].details == {"decision": "not_registered", "shown": []}
    new = enrolled.identify([seen(200, 1)], account="guard", enrol_unknown=True)
    assert enrolled.register.vehicle(new.enrolled).note == "enrolled as unknown"


def test_a_stranger_is_not_named_for_a_plate_that_is_nearly_a_residents(enrolled, seen, monkeypatch):
    calibrate_by_register(enrolled, account="tester")
    reads(monkeypatch, enrolled, "BBB1112", confidence=0.99)  # enrolled is BBB 1111
    strangers = [enrolled.identify([seen(400 + n, 1)], account="guard") for n in range(5)]
    assert all(each.decision.outcome is not Outcome.match for each in strangers)
    assert [row.vehicle for row in strangers[0].plate.candidates] == [2]


def test_a_photograph_at_night_is_decided_by_libraries_until_it_is_calibrated(enrolled, seen):
    calibrate_by_register(enrolled, account="tester")
    night = [replace(seen(3, 3), modality="infrared")]
    decision = enrolled.identify(night, account="guard").decision
    assert decision.evidence is None
    assert decision.decided_by == "vehicle-infrared-to-visible"


def test_a_confident_text_is_needed_for_that(enrolled, seen, monkeypatch):
    calibrate_by_register(enrolled, account="tester")
    reads(monkeypatch, enrolled, "ZZ999XY", confidence=0.5)
    answer = enrolled.identify([seen(200, 1)], account="guard")
    assert answer.decision.outcome in (Outcome.unknown, Outcome.unsure)


def test_too_few_vehicles_leave_the_calibration_as_it_was(enrolled, seen):
    calibrate_by_register(enrolled, account="tester")
    before = enrolled.models.active().evidence
    for vehicle in range(1, VEHICLES - 8):
        enrolled.register.forget(account="tester", vehicle_id=vehicle)
    enrolled.enrol([seen(300, 1)], account="tester")
    with pytest.raises(EvaluationError, match="9 vehicles have a second image"):
        calibrate_by_register(enrolled, account="tester")
    with pytest.raises(SettingsError, match=r"stranger-rate lies between 0 and 1, got 1\.0"):
        calibrate_by_register(enrolled, account="tester", rates=Rates(stranger_rate=1.0))
    assert enrolled.models.active().evidence == before


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("{}", "evidence.lines: Field required"),
        ('{"lines": {"vehicle": [1]}}', "evidence.lines.vehicle"),
        ("[]", "evidence"),
    ],
)
def test_damaged_evidence_is_named(enrolled, value, place):
    calibrate_by_register(enrolled, account="tester")
    with enrolled.database.writing() as session:
        session.execute(text("UPDATE model SET evidence = :value"), {"value": value})
    with pytest.raises(RegisterError, match=f"{place}.*calibrate again"):
        enrolled.identify([VehiclePhoto(photo(1))], account="guard")
