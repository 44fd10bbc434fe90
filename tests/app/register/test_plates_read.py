"""Plates read at the gate: a real network where its file matters, given texts where their meaning does."""

import json

import pytest
import torch
from registers import photo
from web_service import jpeg

from app.core.arrays import float_arrays
from app.core.run_folder import RunFolder
from app.core.sample import Box, Sample
from app.data.crops import VehicleImage, read_image, with_margin
from app.evaluation.plate_texts import PlateReading
from app.evaluation.reading_errors import UNMEASURED
from app.register.errors import RegisterError
from app.register.matcher import Outcome, Threshold
from app.register.photos import VehiclePhoto
from app.register.plate_evidence import text_evidence
from app.register.plate_reader import ERRORS, by_confidence, measured_errors
from app.register.schema import Sighting
from app.settings.checks import SettingsError
from app.settings.load import load_settings
from app.tasks import make_task
from app.tasks.plate_text import PlateText
from app.training.checkpoint import Checkpoint, save_checkpoint
from app.training.packaged_reader import packaged_errors
from scripts import register as register_command

WORDS = (
    "experiment=plates_countries data=manifest data.root=. data.made_plates.share=0 model.backbone=test_resnet "
    "model.height=32 model.width=64 model.dim=16 model.layers=1 device=cpu train.precision=float32"
)
SURE = Threshold(match=0.999999, unsure=0.99, margin=0.0)


@pytest.fixture
def url(tmp_path):
    """The look-up is tested on both databases; the rest of this is in neither."""
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture(scope="module")
def reader_run(tmp_path_factory):
    """Checkpoints of two untrained readers, "global" and "other"."""
    folder = RunFolder(tmp_path_factory.mktemp("reader"))
    settings = load_settings(WORDS)
    task = make_task(settings)
    for seed, name in enumerate(("global", "other")):
        save_checkpoint(folder, name, float_arrays(task.build(1, seed)), settings, task)
    return folder.path


@pytest.fixture
def texts(monkeypatch):
    """What a reader reads, plate by plate; it remembers the crops that it was given."""
    given = {"texts": [], "crops": []}

    def read(task, network, pictures, device, country=""):
        del task, network, device, country
        given["crops"] = list(pictures)
        return [PlateReading(text, (sure,) * len(text)) for text, sure in given["texts"][: len(pictures)]]

    monkeypatch.setattr(PlateText, "read_images", read)
    return given


@pytest.fixture
def reading(identification, reader_run, texts):  # noqa: ARG001 - it reads what the test says
    """Vehicle 1 with the plate AB 1234, vehicle 2 with CD 5678, vehicle 3 without."""
    model, _ = identification.active_model.current()
    identification.models.set_thresholds(model.id, dict.fromkeys(model.libraries, SURE), "tester")
    for number, plate in enumerate(("AB 1234", "CD 5678", ""), start=1):
        identification.enrol([VehiclePhoto(photo(number))], account="tester", plate=plate)
    identification.plate_reader.use(reader_run, "global", "tester")
    return identification


def vehicle_photo(seed):
    return VehiclePhoto(photo(seed), plate_box=Box(4, 8, 20, 10))


def test_a_real_reader_reads_what_its_task_reads_and_is_renewed(identification, reader_run, tmp_path):
    photo(1, (40, 90)).image.save(tmp_path / "x.png")
    samples = [
        Sample(tmp_path / "x.png", pid=0, camid=0),
        Sample(tmp_path / "x.png", pid=0, camid=0, plate_boxes=(Box(20, 10, 50, 20),)),
    ]
    image = photo(1, (40, 90)).image
    images = [VehicleImage(image), VehicleImage(image, plate_box=Box(20, 10, 50, 20))]
    assert identification.plate_reader.read(images) == []
    found = []
    for name in ("global", "other"):
        identification.plate_reader.use(reader_run, name, "tester")
        task, network = Checkpoint.read(reader_run, name).network(load_settings(WORDS))
        readings = task.read(network.eval(), samples, torch.device("cpu"))
        assert readings[0] is None
        expected = by_confidence([(1, readings[1])])
        found.append(identification.plate_reader.read(images))
        assert found[-1] == expected != []
        assert [read.photograph for read in expected] == [1]
    assert found[0] != found[1]
    assert identification.plate_reader.read(images[:1]) == []
    identification.plate_reader.forget("tester")
    assert identification.plate_reader.read(images) == []
    assert [line.action for line in identification.journal.audit(3)] == ["plate reader"] * 3


def test_a_readers_errors_are_measured_on_its_own_plates_and_kept(identification, tmp_path, texts):
    plates = tmp_path / "plates"
    plates.mkdir()
    rows = ["path,pid,camid,split,plate_text,plate_left,plate_top,plate_width,plate_height"]
    for pid, text in enumerate(("AB12", "AB12", "CD34")):
        photo(pid, (40, 90)).image.save(plates / f"{pid}.png")
        rows.append(f"{pid}.png,{pid},0,{'val_query' if pid else 'val_gallery'},{text},20,10,50,20")
    (plates / "manifest.csv").write_text("\n".join(rows) + "\n")
    settings = load_settings(f"{WORDS} data.root={plates}")
    task = make_task(settings)
    folder = RunFolder(tmp_path / "run")
    save_checkpoint(folder, "global", float_arrays(task.build(1, 0)), settings, task)
    texts["texts"] = [("A812", 0.7), ("CD3", 0.9), ("AB12", 0.9)]  # of the queries, then of the gallery
    errors = measured_errors(folder.path, "global", "cpu")
    assert errors.confused == {"8": {"B": 1}}
    assert (errors.plates, errors.characters["A"]) == (3, 2)
    assert errors.missing == pytest.approx(2 / 14)  # one of twelve characters, smoothed by one of two
    reader = identification.plate_reader
    assert reader.errors == UNMEASURED
    reader.use(folder.path, "global", "tester", errors)
    assert reader.errors == errors
    (identification.folder / "models" / ERRORS).write_text('{"missing": 2}')
    with pytest.raises(RegisterError, match="no measured errors of a reader: give the register its reader again"):
        _ = reader.errors
    reader.use(folder.path, "global", "tester")
    assert reader.errors == UNMEASURED


def test_checkpoints_of_other_tasks_are_refused_by_name(identification, run_folder, reader_run):
    with pytest.raises(
        ValueError, match=r"global\.safetensors is of the task dual_reid; plates are read by .*plate_text"
    ):
        identification.plate_reader.use(run_folder, "global", "tester")
    assert not identification.plate_reader.is_there
    active = identification.active_model.current()[0].digest
    with pytest.raises(ValueError, match="a network of the task plate_text has no embeddings"):
        identification.active_model.change_to_run(reader_run, "global", "tester")
    assert identification.active_model.current()[0].digest == active


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


def test_a_reader_that_knows_no_formats_reads_without_them(identification, tmp_path):
    settings = load_settings(f"{WORDS} model.decoder=attention")
    task = make_task(settings)
    save_checkpoint(RunFolder(tmp_path / "run"), "global", float_arrays(task.build(1, 0)), settings, task)
    identification.plate_reader.use(tmp_path / "run", "global", "tester")
    image = VehicleImage(photo(1, (40, 90)).image, plate_box=Box(20, 10, 50, 20))
    before = identification.plate_reader.read([image])
    identification.plate_reader.set_country("br", "tester")
    assert identification.plate_reader.read([image]) == before
    with pytest.raises(SettingsError, match=r"country=br needs a reader with model\.decoder=ctc"):
        task.read_images(task.build(1, 0), torch.zeros(1, 3, 32, 64, dtype=torch.uint8), torch.device("cpu"), "br")


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


def test_the_command_keeps_a_reader_and_takes_it_away(identification, url, reader_run, tmp_path, capsys, texts):
    picture = tmp_path / "x.png"
    photo(1).image.save(picture)
    identification.enrol([VehiclePhoto(photo(2))], account="tester", plate="AB 1234")
    texts["texts"] = [("AB1235", 0.99)]

    def run(*words):
        capsys.readouterr()
        register_command.main([*map(str, words), "--register", str(identification.folder), "--url", url])
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    assert run("plate-reader", reader_run, "--model", "other", "--sure", "0.8") == {
        "reads": True,
        "sure": 0.8,
        "country": None,
    }
    assert not (identification.folder / "models" / ERRORS).exists()  # the run's data is not there
    told = run("identify", picture, "--plate-box", "4,8,20,10")["plate_text"]
    assert (told["text"], told["candidates"]) == ("AB1235", [{"vehicle": 1, "cost": 1, "plate": "AB 1234"}])
    assert run("plate-reader", "--remove") == {"reads": False, "sure": 0.8, "country": None}
    assert run("identify", picture, "--plate-box", "4,8,20,10")["plate_text"] is None
    assert run("plate-reader", "--country", "br")["country"] == "br"
    assert not identification.plate_reader.is_there
    with pytest.raises(RegisterError, match="formats of the plates of 'xx' are not known; known: cn, us"):
        run("plate-reader", "--country", "xx")
    assert run("plate-reader") == {"reads": True, "sure": 0.8, "country": "br"}
    assert identification.plate_reader.errors == packaged_errors()
    assert run("plate-reader", "--country", "")["country"] is None
