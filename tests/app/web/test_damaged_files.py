"""Answers of the service where files of its register or of its run are missing or damaged: which one, never a 500."""

import json
import shutil

import pytest
from fastapi.testclient import TestClient
from web_service import WORDS, jpeg

from app.register.calibrate import REPORT
from app.register.photos import Photos

LINE = {"server_round": 1, "attempts": 1, "seconds": 1.0, "bytes_up": 1, "bytes_down": 1, "left_out": []}
LINE |= {"clients": {"a": {"pictures": 3}}, "measures": {"global_mAP": 0.5}}
HTML = {"accept": "text/html"}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture
def client(service, tmp_path):
    """A manager's browser; a bug is answered with 500, as in operation."""
    with TestClient(service, follow_redirects=False, raise_server_exceptions=False) as client:
        service.state.register.run = tmp_path / "run"
        (tmp_path / "run").mkdir()
        client.post("/login", data={"name": "manager", "password": WORDS["manager"]})
        page = client.get("/", headers=HTML).text
        client.headers["x-csrf-token"] = page.split('name="csrf" content="')[1].split('"')[0]
        yield client


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not json", "metrics.jsonl, line 1: not JSON"),
        ('{"server_round": 1}', "line 1: &#39;attempts&#39; is missing"),
        (json.dumps({**LINE, "measures": {"global_mAP": "x"}}), "line 1: &#39;measures.global_mAP&#39; is &#39;x&#39;"),
        (json.dumps({**LINE, "left_out": [5]}), "line 1: &#39;left_out.0&#39; is 5"),
        (json.dumps({**LINE, "seconds": None}), "line 1: &#39;seconds&#39; is None"),
        (None, "metrics.jsonl"),  # a folder
        (json.dumps(LINE), '<th scope="row">1</th><td>1.0</td><td>1</td>'),
    ],
)
def test_the_page_of_the_run_names_its_damaged_file(client, tmp_path, content, said):
    path = tmp_path / "run" / "metrics.jsonl"
    path.mkdir() if content is None else path.write_text(f"{content}\n", encoding="utf-8")
    answer = client.get("/federation", headers=HTML)
    assert answer.status_code == 200
    assert said in answer.text
    assert str(tmp_path) not in answer.text


RATE = {"share": 0.1, "low": 0.0, "high": 0.2}
RATES = dict.fromkeys(("residents_right", "residents_wrong", "residents_unsure", "strangers_named"), RATE)
EVIDENCE = {"vehicles": 20, "queries": 40, "registered": 2, "stranger_rate": 0.01, **RATES}


def with_evidence(**wrong):
    return json.dumps({"libraries": {}, "evidence": EVIDENCE | wrong})


@pytest.mark.parametrize(
    "content",
    [
        *("{", "[]", "{}", '{"libraries": 5}', '{"libraries": {"fused": {"miss_rate": 1}}}'),
        with_evidence(strangers_unknown="x"),
        with_evidence(residents_not_registered=5),
        with_evidence(real_strangers_named={"share": 0.1}),
        with_evidence(now=EVIDENCE | {"residents_unknown": [1]}),
        with_evidence(texts="x"),
        with_evidence(calibrated="yesterday"),
        with_evidence(calibrated="2026-03-01"),  # of no time zone
    ],
)
def test_the_page_of_the_calibration_names_its_damaged_report(client, identification, content):
    folder = identification.folder / "calibration" / identification.active_model.current()[0].digest
    folder.mkdir(parents=True)
    (folder / REPORT).write_text(content, encoding="utf-8")
    page = client.get("/calibration", headers=HTML)
    assert (page.status_code, REPORT in page.text) == (200, True)
    picture = client.get("/calibration/fused.png")
    assert (picture.status_code, REPORT in picture.json()["detail"]) == (503, True)
    whole = {"libraries": {"fused": {"false_match_rate": RATE, "miss_rate": RATE}, "plate": {"error": "none"}}}
    (folder / REPORT).write_text(json.dumps(whole), encoding="utf-8")
    assert "10.000 %" in client.get("/calibration", headers=HTML).text
    missing = client.get("/calibration/fused.png")
    assert (missing.status_code, "fused.png" in missing.json()["detail"]) == (503, True)


def test_an_image_of_a_library_reads_the_report_alone(client, identification, monkeypatch):
    folder = identification.folder / "calibration" / identification.active_model.current()[0].digest
    folder.mkdir(parents=True)
    report = {"libraries": {"fused": {"false_match_rate": RATE, "miss_rate": RATE}}, "evidence": EVIDENCE}
    (folder / REPORT).write_text(json.dumps(report), encoding="utf-8")
    (folder / "fused.png").write_bytes(b"image")
    monkeypatch.setattr(identification.confirmations, "all", None)
    monkeypatch.setattr(client.app.state.register.figures, "begin", None)
    assert client.get("/calibration/fused.png").content == b"image"
    assert client.get("/calibration/vehicle.png").status_code == 404
    assert client.get("/calibration", headers=HTML).status_code == 500  # all that the page itself reads


@pytest.mark.parametrize("as_a_file", [False, True])
def test_a_folder_of_pictures_that_is_gone_is_named(client, identification, as_a_file):
    shutil.rmtree(identification.photos.folder)
    if as_a_file:
        identification.photos.folder.write_text("x", encoding="utf-8")
    before = identification.register.counts()
    for address in ("/api/identify", "/api/vehicles", "/api/vehicles/1/views"):
        answer = client.post(address, files={"pictures": jpeg(9)})
        assert (answer.status_code, "pictures" in answer.json()["detail"]) == (503, True), answer.text
        assert str(identification.folder) not in answer.text
    assert identification.register.counts() == before


@pytest.mark.parametrize("number", [5, 13, 30])  # an input/output error, no permission, a disk that is read only
def test_a_disk_that_refuses_is_said_and_a_bug_is_not_hidden(client, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "refused")

    monkeypatch.setattr(Photos, "keep", refuse)
    assert client.post("/api/identify", files={"pictures": jpeg(9)}).status_code == 503

    def bug(*_):
        raise OSError("a bug")

    monkeypatch.setattr(Photos, "keep", bug)
    assert client.post("/api/identify", files={"pictures": jpeg(9)}).status_code == 500
