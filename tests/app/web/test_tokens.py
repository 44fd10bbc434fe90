"""Tokens one by one: listed with their last use, revoked by number; and what a token may never do."""

import json

import pytest
from web_service import WORDS

from scripts import serve


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def bearer(client, secret):
    client.cookies.clear()
    client.headers.pop("x-csrf-token", None)
    client.headers["authorization"] = f"Bearer {secret}"
    return client


def session(client, as_role, role):
    client.headers.pop("authorization", None)
    return as_role(role)


def test_an_admins_token_administers_no_account(client, as_role):
    secret = as_role("admin").post("/api/tokens", json={"label": "backup"}).json()["token"]
    account = {"name": "eve", "role": "admin", "password": "a long enough password"}
    program = bearer(client, secret)
    for method, path, body in (
        ("post", "/api/accounts", account),
        ("post", "/api/accounts/1/disable", None),
        ("post", "/api/accounts/1/enable", None),
        ("post", "/api/tokens", {"label": "more"}),
        ("delete", "/api/tokens/1", None),
    ):
        said = program.request(method, path, json=body)
        assert (said.status_code, said.json()["detail"]) == (
            403,
            "this needs a log-in with a password, not a token",
        ), path
    assert {row["name"] for row in program.get("/api/accounts").json()} == set(WORDS)
    assert session(client, as_role, "admin").post("/api/accounts", json=account).status_code == 201


@pytest.mark.slow
def test_a_token_is_revoked_by_its_number_and_others_stay(client, as_role):
    secrets = {}
    for role, label in (("guard", "camera"), ("guard", "barrier"), ("admin", "backup")):
        secrets[label] = session(client, as_role, role).post("/api/tokens", json={"label": label}).json()["token"]
    assert bearer(client, secrets["camera"]).get("/api/status").status_code == 200
    listed = {row["label"]: row for row in session(client, as_role, "guard").get("/api/tokens").json()}
    assert set(listed) == {"camera", "barrier"}
    assert listed["camera"]["used"] is not None
    assert listed["barrier"]["used"] is None
    assert not any(secret in str(listed) for secret in secrets.values())
    assert client.delete("/api/tokens/999").status_code == 404
    every = {row["label"]: row["id"] for row in session(client, as_role, "admin").get("/api/tokens").json()}
    assert set(every) == {"camera", "barrier", "backup"}
    guard = session(client, as_role, "guard")
    assert guard.delete(f"/api/tokens/{every['backup']}").status_code == 404  # not the guard's
    page = guard.get("/tokens", headers={"accept": "text/html"}).text
    assert "Revoke token" in page
    assert "backup" not in page
    assert guard.delete(f"/api/tokens/{every['camera']}").json() == {"revoked": every["camera"]}
    assert bearer(client, secrets["camera"]).get("/api/status").status_code == 401
    assert bearer(client, secrets["barrier"]).get("/api/status").status_code == 200
    assert session(client, as_role, "admin").delete(f"/api/tokens/{every['barrier']}").status_code == 200
    assert bearer(client, secrets["barrier"]).get("/api/status").status_code == 401
    assert bearer(client, secrets["backup"]).get("/api/status").status_code == 200


def test_the_command_line_lists_and_revokes(identification, as_role, capsys):
    as_role("guard").post("/api/tokens", json={"label": "camera"})
    there = ["--register", str(identification.folder), "--url", str(identification.database.engine.url)]
    serve.main(["tokens", "guard", *there])
    [row] = json.loads(capsys.readouterr().out.splitlines()[-1])["tokens"]
    assert (row["account"], row["label"], row["used"]) == ("guard", "camera", None)
    serve.main(["revoke", str(row["id"]), *there])
    serve.main(["tokens", *there])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"tokens": []}
