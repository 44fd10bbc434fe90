"""Plates read at the gate: what texts mean for an identification, and what is told and kept of them."""

import json

import pytest
import torch
from plate_readers import vehicle_photo
from registers import photo
from web_service import jpeg

from app.core.sample import Box
from app.data.crops import read_image, with_margin
from app.evaluation.plate_texts import PlateReading
from app.register.errors import RegisterError
from app.register.matcher import Outcome, Threshold
from app.register.photos import VehiclePhoto
from app.register.plate_evidence import text_evidence
from app.register.schema import Sighting
from app.tasks.plate_text import PlateText


@pytest.fixture
def url(tmp_path):
    """The look-up is tested on both databases; the rest of this is in neither."""
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def test_a_text_finds_a_vehicle_that_looks_like_none(reading, texts):
    texts["texts"] = [("AB1234", 0.95)]
    answer = reading.identify([vehicle_photo(70)], account="guard")
    decision = answer.decision
    assert (decision.outcome, decision.vehicle, decision.decided_by) == (Outcome.match, 1, "plate_text")
    assert (decision.similarity, decision.threshold) == (0.95, 0.9)
    assert answer.plate.as_dict(plates=True) == {
        "text": "AB1234",
        "confidence": 0.95,
        "photograph": 0,
        "box": [4, 8, 20, 10],
        "says": "decides",
        "others": [],
        "combined": None,
        "country": None,
        "region": None,
        "candidates": [{"vehicle": 1, "cost": 0, "plate": "AB 1234"}],
    }
    (crop,) = texts["crops"]
    kept = reading.photos.path(answer.images[0])
    assert torch.equal(crop, read_image(kept, with_margin(Box(4, 8, 20, 10)), (32, 64)))


def test_texts_that_are_not_sure_or_not_exact_decide_nothing(reading, texts):
    for text, confidence in (("AB1234", 0.89), ("A81234", 0.99), ("AB123", 0.99)):
        texts["texts"] = [(text, confidence)]
        answer = reading.identify([vehicle_photo(70)], account="guard")
        assert answer.decision.decided_by != "plate_text"
        assert (answer.plate.says, [near.vehicle for near in answer.plate.candidates]) == ("nothing", [1])
    reading.plate_reader.set_min_confidence(0.5, "tester")
    texts["texts"] = [("AB1234", 0.6)]
    assert reading.identify([vehicle_photo(70)], account="guard").decision.threshold == 0.5
    for wrong in (0, 1.5, float("nan")):
        with pytest.raises(RegisterError, match="the confidence from which a text counts lies above 0"):
            reading.plate_reader.set_min_confidence(wrong, "tester")
    assert reading.plate_reader.min_confidence == 0.5


def test_a_text_that_contradicts_a_match_makes_it_unsure(reading, texts):
    own = VehiclePhoto(photo(3))
    assert reading.identify([own], account="guard").decision.outcome is Outcome.match
    texts["texts"] = [("CD5678", 0.99)]
    answer = reading.identify([VehiclePhoto(photo(3), plate=photo(90))], account="guard")
    assert (answer.decision.outcome, answer.plate.says) == (Outcome.unsure, "contradicts")
    assert (answer.decision.vehicle, answer.plate.candidates[0].vehicle) == (3, 2)
    assert answer.plate.box is None  # of a picture of the plate alone
    details = reading.journal.audit(1)[0].details
    assert {2, 3} <= set(details["shown"])


def test_several_photographs_give_each_text_once(reading, texts):
    texts["texts"] = [("XX99", 0.5), ("AB1234", 0.92), ("AB1234", 0.97)]
    answer = reading.identify([VehiclePhoto(photo(70)), *map(vehicle_photo, (71, 72, 73))], account="guard")
    kept = answer.plate.as_dict()
    assert (kept["text"], kept["confidence"], kept["photograph"]) == ("AB1234", 0.97, 3)
    assert kept["others"] == [{"text": "XX99", "confidence": 0.5}]
    assert len(texts["crops"]) == 3
    assert kept["combined"]["text"] == "AB1234"  # the third is of another plate


def test_photographs_of_one_plate_are_read_together_and_formats_are_those_of_the_country(reading, monkeypatch):
    """The surest photograph has one character wrong; the two others read it, and so do all three together. The
    reader is told the register's country, whose formats the text has."""
    wrong = PlateReading("A81234", (0.97,) * 6, ({"A": 0.97}, {"8": 0.97, "B": 0.03}, *({c: 0.97} for c in "1234")))
    right = PlateReading("AB1234", (0.91,) * 6, ({"A": 0.91}, {"B": 0.91, "8": 0.01}, *({c: 0.91} for c in "1234")))
    countries = []

    def read(task, network, pictures, device, country=""):
        del task, network, device
        countries.append(country)
        return [wrong, right, right][: len(pictures)]

    monkeypatch.setattr(PlateText, "read_images", read)
    reading.plate_reader.set_country("sk", "tester")
    answer = reading.identify([vehicle_photo(number) for number in (71, 72, 73)], account="guard")
    kept = answer.plate.as_dict(plates=True)
    assert (kept["text"], kept["combined"]["text"]) == ("A81234", "AB1234")
    assert kept["others"] == [{"text": "AB1234", "confidence": 0.91}]
    assert kept["candidates"][0] == {"vehicle": 1, "cost": 0, "plate": "AB 1234"}
    assert (kept["country"], kept["region"]) == (None, None)  # no plate of Slovakia
    reading.plate_reader.set_country("hu", "tester")
    wrong = right = PlateReading("ABC123", (0.9,) * 6)
    answer = reading.identify([vehicle_photo(71), vehicle_photo(72)], account="guard")
    assert answer.plate.as_dict()["country"] == "hu"
    assert countries == ["sk", "hu"]
    evidence = text_evidence(answer.plate, [1], reading.plates, reading.plate_reader).llr
    assert evidence[1] == reading.plate_reader.errors.llr(answer.plate.together, "AB1234")


def test_an_unknown_vehicle_whose_plate_is_known_is_not_enrolled_again(reading, texts):
    model, _ = reading.active_model.current()
    reading.models.set_thresholds(model.id, dict.fromkeys(model.libraries, Threshold(1.0, 1.0)), "tester")
    texts["texts"] = [("CD5678", 0.99)]
    assert reading.identify([vehicle_photo(70)], account="guard", enrol_unknown=True).enrolled is None
    texts["texts"] = [("CD5679", 0.99)]
    assert reading.identify([vehicle_photo(70)], account="guard").decision.outcome is Outcome.unknown
    assert reading.journal.audit(1)[0].details["shown"] == [2]  # its plate is in the answer
    texts["texts"] = [("EF9999", 0.99)]
    number = reading.identify([vehicle_photo(70)], account="guard", enrol_unknown=True).enrolled
    assert reading.register.vehicle(number).plate is None  # a text that was read is not enrolled


def test_the_sighting_keeps_the_text_and_the_trail_does_not(reading, texts):
    texts["texts"] = [("AB1234", 0.99)]
    number = reading.identify([vehicle_photo(70)], account="guard").sighting
    with reading.database.reading() as session:
        kept = session.get(Sighting, number).answer["plate_text"]
    assert (kept["text"], kept["candidates"]) == ("AB1234", [{"vehicle": 1, "cost": 0}])
    told = json.dumps([[line.action, line.subject, line.details] for line in reading.journal.audit()])
    assert "1234" not in told
    reading.register.forget(account="tester", vehicle_id=1)
    with reading.database.reading() as session:
        assert session.get(Sighting, number) is None


def test_the_api_and_the_page_tell_what_was_read(as_role, identification, reader_run, texts):
    identification.plate_reader.use(reader_run, "global", "tester")
    client = as_role("guard")
    texts["texts"] = [("AB12", 0.96)]
    data = {"plate_boxes": "4,8,20,10"}
    answer = client.post("/api/identify", files=[("pictures", jpeg(40))], data=data).json()
    assert (answer["decision"], answer["vehicle"], answer["decided_by"]) == ("match", 1, "plate_text")
    assert answer["candidates"][0]["picture"]  # to be compared by eye
    assert answer["candidates"][0]["flat"] == "12"
    assert answer["plate_text"]["candidates"] == [{"vehicle": 1, "plate": "AB 12", "cost": 0}]
    assert (answer["plate_text"]["text"], answer["plate_text"]["box"]) == ("AB12", [4, 8, 20, 10])
    bare = client.post("/api/identify", files=[("pictures", jpeg(40))]).json()
    assert bare["plate_text"] is None
    schema = client.get("/api/openapi.json").json()["components"]["schemas"]
    assert set(schema["PlateTextAnswer"]["properties"]) == set(answer["plate_text"])
    assert 'id="plate-text"' in client.get("/", headers={"accept": "text/html"}).text
