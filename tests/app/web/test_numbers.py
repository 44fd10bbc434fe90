"""Numbers that are none, or that nothing can hold: one clear error, no 500, and nothing is allocated."""

import time
from itertools import product

import pytest
from typer.testing import CliRunner
from web_service import jpeg

from app.register.errors import NotEnrolledError
from scripts import register as register_command
from scripts import serve
from scripts.register_options import app as register_app

HUGE = [str(2**31), str(2**63), str(2**63 - 1), str(10**30), "9" * 4000, "-1", "0", "1e400", "nan", "1.5", "inf"]


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


BOXES = {
    "nan,0,9,9": "finite numbers",
    "0,0,inf,9": "finite numbers",
    "-inf,0,9,9": "finite numbers",
    "0,0,1e400,9": "finite numbers",
    "9" * 190 + "e9,0,9,9": "outside the image",
    "0,0,0,9": "more than 0",
    "0,0,9,-9": "more than 0",
    "0,0,-0.0,9": "more than 0",
    "1e300,1e300,1e300,1e300": "outside the image",
    "-1e300,0,9,9": "outside the image",
    "0,0,1e-300,9": "outside the image",
    "0,0,9": "not left,top,width,height",
    "0,0,9,9,9": "not left,top,width,height",
    "a,b,c,d": "not left,top,width,height",
    "0x10,0,9,9": "not left,top,width,height",
}


def test_a_box_that_is_none_is_refused(as_role):
    client = as_role("manager")
    for path in ("/api/identify", "/api/vehicles", "/api/vehicles/1/views"):
        for field in ("boxes", "plate_boxes"):
            for box, reason in BOXES.items():
                said = client.post(path, files=[("pictures", jpeg(1))], data={field: box})
                assert said.status_code == 422, (path, field, box)
                assert reason in said.json()["detail"]


def test_a_box_is_cut_to_the_picture_before_anything_is_made_of_it(as_role):
    client, started = as_role("manager"), time.monotonic()
    for box in ("0,0,1e300,1e300", "0,0,13000,13000", "-1e300,-1e300,1.5e300,1.5e300", "-5,-5,500,500"):
        answer = client.post("/api/identify", files=[("pictures", jpeg(1))], data={"boxes": box, "plate_boxes": box})
        assert answer.status_code == 200, answer.text
        assert answer.json()["photographs"][0]["box"] == [0, 0, 40, 48]  # all of the picture, which is 40 x 48
    assert time.monotonic() - started < 60  # an image of 13,000 x 13,000 pixels took three minutes


@pytest.mark.slow
def test_numbers_of_an_address_or_a_query(as_role):
    client = as_role("admin")
    for number in HUGE:
        for method, path in (
            ("get", "/api/vehicles/{}"),
            ("delete", "/api/vehicles/{}"),
            ("get", "/api/vehicles/{}/owner"),
            ("delete", "/api/owners/{}"),
            ("post", "/api/incidents/{}/close"),
            ("post", "/api/accounts/{}/disable"),
            ("delete", "/api/tokens/{}"),
            ("get", "/vehicles/{}"),
            ("get", "/api/audit?limit={}"),
            ("get", "/api/vehicles?limit={}"),
        ):
            said = client.request(method, path.format(number))
            assert said.status_code in (404, 422), (path, number, said.text)
            assert said.json()["detail"]
        said = client.get(f"/api/vehicles?after={number}")
        assert said.status_code == (200 if number == "0" else 422)


def test_numbers_of_a_body(as_role):
    client = as_role("admin")
    headers = {"content-type": "application/json"}
    for number in (*HUGE, "NaN", "Infinity", "true", '"1e5"', "[1]"):
        for path, text in (
            ("/api/incidents", f'{{"sighting": {number}, "kind": "x"}}'),
            ("/api/incidents", f'{{"sighting": 1, "kind": "x", "vehicle": {number}}}'),
            ("/api/tokens", f'{{"days": {number}}}'),
        ):
            if number == "true":
                continue  # pydantic takes it for 1
            said = client.post(path, content=text, headers=headers)
            assert said.status_code in (400, 404, 422), (text[:80], said.text)
            assert said.json()["detail"]


BEYOND = (2**31, 2**63, 10**30, 0, -1)


def test_numbers_of_the_command_line(identification):
    for number, option in product(BEYOND, ("--vehicle", "--owner-id")):
        words = ["forget", option]
        with pytest.raises(NotEnrolledError, match=f"there is no (vehicle|owner) {number}"):
            register_command.main([*words, str(number), *_there(identification)])


def test_numbers_out_of_range_name_the_option(identification):
    for words in (
        ["forget", "--sightings", str(10**10)],
        ["forget", "--sightings", str(10**30)],
        ["forget", "--sightings", "36501"],
        ["forget", "--sightings", "-1"],
        ["audit", "--limit", str(2**63)],
        ["audit", "--limit", "-1"],
    ):
        with pytest.raises(ValueError, match=f"{words[1]}.*not in the range"):
            register_command.main([*words, *_there(identification)])


def test_the_longest_time_is_one(identification, capsys):
    register_command.main(["forget", "--sightings", "36500", *_there(identification)])
    assert '"pictures": 0' in capsys.readouterr().out
    assert CliRunner().invoke(register_app, ["forget", "--sightings", "36501"]).exit_code == 2


def test_numbers_of_the_commands_of_the_service(identification):
    for number in BEYOND:
        with pytest.raises(NotEnrolledError, match=f"there is no token {number}"):
            serve.main(["revoke", *_there(identification), "--", str(number)])
        with pytest.raises((ValueError, RuntimeError), match="1 to 3650 days"):
            serve.main(["token", "guard", "--days", str(number), *_there(identification)])


def _there(identification):
    return ["--register", str(identification.folder), "--url", str(identification.database.engine.url)]
