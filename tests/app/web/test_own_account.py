"""Passwords that their owners change, and that an admin resets; accounts that come back."""

import re

import pytest
from fastapi.testclient import TestClient
from web_service import WORDS

from app.register.accounts import Role
from app.web.rendering import TEMPLATES

HTML = {"accept": "text/html"}
NEW = "another long password"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def log_in(client, name, password):
    client.cookies.clear()
    return client.post("/login", data={"name": name, "password": password}).status_code


def change(client, old=WORDS["guard"], new=NEW):
    return client.put("/api/password", json={"old": old, "new": new})


def lines(as_role):
    return [(row["account"], row["action"], row["subject"]) for row in as_role("admin").get("/api/audit").json()]


def test_the_owner_changes_the_password_and_other_sessions_end(service, as_role):
    guard = as_role("guard")
    secret = guard.post("/api/tokens", json={"label": "camera"}).json()["token"]
    other = TestClient(service, follow_redirects=False)
    assert log_in(other, "guard", WORDS["guard"]) == 303
    assert other.get("/api/status").status_code == 200
    assert "Change your password" in guard.get("/password", headers=HTML).text
    said = change(guard)
    assert (said.status_code, said.json()) == (200, {"account": "guard"})
    assert guard.get("/api/status").status_code == 200  # this session goes on
    assert other.get("/api/status").status_code == 401
    assert other.get("/api/status", headers={"authorization": f"Bearer {secret}"}).status_code == 401
    assert log_in(other, "guard", WORDS["guard"]) == 401
    assert log_in(other, "guard", NEW) == 303
    assert ("guard", "change account", "account 1") in lines(as_role)


def test_wrong_old_passwords_count_as_log_ins(as_role):
    guard = as_role("guard")
    for _ in range(5):
        said = change(guard, "not the password")
        assert (said.status_code, said.json()["detail"]) == (403, "the old password is not right")
    said = change(guard)
    assert (said.status_code, int(said.headers["retry-after"]) > 60) == (429, True)
    assert guard.get("/api/status").status_code == 200  # the session is none the worse
    assert lines(as_role).count(("", "refuse password", "account 1")) == 5


@pytest.mark.parametrize(
    ("new", "status", "why"),
    [
        ("short", 400, "a password has 10 to 1024 letters"),
        ("", 400, "a password has 10 to 1024 letters"),
        (WORDS["guard"], 400, "the new password is the old one"),
        ("x" * 1025, 422, "new: String should have at most 1024 characters"),
    ],
)
def test_a_new_password_is_long_enough_and_new(client, as_role, new, status, why):
    said = change(as_role("guard"), new=new)
    assert (said.status_code, said.json()["detail"]) == (status, why)
    assert log_in(client, "guard", WORDS["guard"]) == 303


def test_a_token_changes_no_password(client, as_role):
    secret = as_role("admin").post("/api/tokens", json={"label": "backup"}).json()["token"]
    client.cookies.clear()
    client.headers.pop("x-csrf-token")
    client.headers["authorization"] = f"Bearer {secret}"
    assert change(client, WORDS["admin"]).status_code == 403
    assert client.post("/api/accounts/1/password", json={"password": NEW}).status_code == 403
    assert client.get("/password").status_code == 403


def test_an_admin_resets_a_password_but_not_the_own_one(service, as_role):
    other = TestClient(service, follow_redirects=False)
    assert log_in(other, "guard", WORDS["guard"]) == 303
    for role in ("guard", "manager"):
        assert as_role(role).post("/api/accounts/1/password", json={"password": NEW}).status_code == 403
    admin = as_role("admin")
    assert admin.post("/api/accounts/1/password", json={"password": "short"}).status_code == 400
    assert admin.post("/api/accounts/1/password", json={"password": ""}).status_code == 400
    assert admin.post("/api/accounts/99/password", json={"password": NEW}).status_code == 404
    assert other.get("/api/status").status_code == 200
    assert admin.post("/api/accounts/1/password", json={"password": NEW}).json()["name"] == "guard"
    assert other.get("/api/status").status_code == 401
    assert log_in(other, "guard", NEW) == 303
    own = next(row["id"] for row in admin.get("/api/accounts").json() if row["name"] == "admin")
    said = admin.post(f"/api/accounts/{own}/password", json={"password": NEW})
    assert (said.status_code, "with the old one" in said.json()["detail"]) == (403, True)
    page = admin.get("/accounts", headers=HTML).text
    assert f'<option value="{own}">' not in page
    assert '<option value="1">guard' in page


@pytest.mark.slow
def test_an_account_is_enabled_again_and_the_last_admin_stays(client, as_role):
    admin = as_role("admin")
    assert admin.post("/api/accounts/1/disable").json()["disabled"] is True
    assert 'class="enable" data-account="1"' in admin.get("/accounts", headers=HTML).text
    assert admin.post("/api/accounts/1/enable").json()["disabled"] is False
    assert 'class="enable"' not in admin.get("/accounts", headers=HTML).text
    own = next(row["id"] for row in admin.get("/api/accounts").json() if row["role"] == Role.admin.name)
    said = admin.post(f"/api/accounts/{own}/disable")
    assert (said.status_code, said.json()["detail"]) == (400, "the last admin cannot be taken away")
    assert admin.get("/api/accounts").json()[own - 1]["disabled"] is False
    assert log_in(client, "guard", WORDS["guard"]) == 303
    changes = [row for row in as_role("admin").get("/api/audit").json() if row["action"] == "change account"]
    assert [row["details"]["disabled"] for row in changes] == [False, True]


def test_a_form_of_a_script_writes_no_password_into_an_address_before_the_script_has_arrived():
    """A form with neither method nor action is sent as GET, with its fields in the address and in every log."""
    pages = {
        path.name: re.findall(r"<form [^>]*>", path.read_text(encoding="utf-8")) for path in TEMPLATES.glob("*.html")
    }
    forms = [(name, form) for name, found in pages.items() for form in found if " action=" not in form]
    assert {"password.html", "accounts.html", "search.html"} <= {name for name, _ in forms}
    assert [form for form in forms if ' method="dialog"' not in form[1]] == []
