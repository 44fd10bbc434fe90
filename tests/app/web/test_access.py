"""Access to the service, and what its pages may load and lead to."""

import pytest
from web_service import WORDS

pytestmark = pytest.mark.slow


@pytest.fixture
def url(tmp_path):
    """The service is tested on one database."""
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.mark.parametrize(
    "path", ["/register?after=1000000000000000000000", "/register?after=x", "/vehicles/0", "/nowhere"]
)
def test_pages_with_strange_addresses(as_role, path):
    page = as_role("manager").get(path, headers={"accept": "text/html"})
    assert page.status_code in (404, 422)
    assert "That did not work" in page.text


def test_a_name_with_a_nul(client):
    """No account has it; a log-in takes any text, as names of old accounts may be odd."""
    assert client.post("/login", data={"name": "a\0b", "password": "x"}).status_code == 401


def test_too_many_log_ins(client):
    for _ in range(5):
        assert client.post("/login", data={"name": "guard", "password": "wrong"}).status_code == 401
    assert client.post("/login", data={"name": "guard", "password": WORDS["guard"]}).status_code == 429


def test_every_answer_forbids_frames_and_foreign_scripts(as_role):
    client = as_role("guard")
    for path in ("/", "/login", "/api/status", "/static/app.js", "/nowhere"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    cookie = client.post("/login", data={"name": "guard", "password": WORDS["guard"]}).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_pages_need_no_outside_address(as_role):
    client = as_role("admin")
    for path in (
        "/",
        "/login",
        "/register",
        "/enrol",
        "/vehicles/1",
        "/incidents",
        "/calibration",
        "/federation",
        "/accounts",
        "/api",
    ):
        page = client.get(path, headers={"accept": "text/html"})
        assert page.status_code == 200, path
        for word in ('src="http', 'href="http', 'src="//', 'href="//', "@import"):
            assert word not in page.text


@pytest.mark.parametrize("to", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_a_log_in_leads_nowhere_else(client, to):
    response = client.post("/login", data={"name": "guard", "password": WORDS["guard"], "to": to})
    assert response.headers["location"] == "/"


def test_a_browser_is_sent_to_log_in_and_told_what_is_wrong(client, as_role):
    headers = {"accept": "text/html"}
    response = client.get("/incidents", headers=headers)
    assert (response.status_code, response.headers["location"]) == (303, "/login?to=/incidents")
    page = as_role("guard").get("/vehicles/77", headers=headers)
    assert page.status_code == 404
    assert "there is no vehicle 77" in page.text
