"""Static files by their digest, and compression that discloses nothing."""

import gzip
import re

import pytest
from web_service import WORDS

from app.register.accounts import masked, unmasked
from app.web.static_files import FOLDER, static, static_files

pytestmark = pytest.mark.slow

HTML = {"accept": "text/html"}
PLAIN = {"accept-encoding": "identity"}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def test_a_page_names_its_files_by_their_digests_and_a_browser_keeps_them(as_role):
    client = as_role("manager")
    named = set()
    for path in ("/", "/register", "/enrol", "/vehicles/1", "/tokens"):
        page = client.get(path, headers=HTML)
        assert page.headers["cache-control"] == "no-store"
        found = re.findall(r'"(/static/[^"]+)"', page.text)
        assert len(found) >= 3
        named.update(found)
    for path in named:
        file = client.get(path)
        _, _, digest, name = path.split("/", 3)
        assert file.content == (FOLDER / name).read_bytes()
        assert (file.status_code, digest) == (200, static_files()[name].digest)
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert file.headers["x-content-type-options"] == "nosniff"
        kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "webmanifest": "application"}
        assert file.headers["content-type"].startswith(kinds.get(name.rpartition(".")[2], "image/png"))


def test_another_digest_and_other_files_are_not_there(client):
    digest = static("app.js").split("/")[2]
    assert client.get("/static/app.js").headers["cache-control"] == "no-store"
    for path in (
        f"/static/{'0' * 16}/app.js",
        f"/static/{digest}/app.css",
        "/static/",
        f"/static/{digest}/",
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store"), path
    for path in ("/static/../service.py", "/static/%2e%2e/service.py", f"/static/{digest}/../../service.py"):
        assert client.get(path).status_code == 404, path
    with pytest.raises(KeyError):
        static("ap.js")


def test_static_files_are_compressed_once_where_that_helps(client):
    whole = client.get(static("app.js"), headers=PLAIN)
    small = client.get(static("app.js"), headers={"accept-encoding": "br, gzip"})
    assert "content-encoding" not in whole.headers
    assert small.headers["content-encoding"] == "gzip"
    assert small.headers["vary"] == whole.headers["vary"] == "Accept-Encoding"
    assert small.content == whole.content
    assert int(small.headers["content-length"]) < len(whole.content) / 2
    assert gzip.decompress(static_files()["app.js"].compressed) == whole.content


def test_nothing_that_a_request_brought_is_compressed_beside_a_secret(as_role):
    client = as_role("manager")
    for path in ("/register", "/api/openapi.json", "/api"):
        small, whole = client.get(path, headers=HTML), client.get(path, headers=HTML | PLAIN)
        assert small.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in whole.headers
        assert int(small.headers["content-length"]) < len(whole.content) / 2
    secret = re.search(r'name="csrf" content="([0-9a-f]+)"', small.text)[1]
    for method, path, body in (
        ("get", f"/sightings?account={secret}", None),
        ("get", "/register?after=0", None),
        ("get", "/api/vehicles?limit=200", None),
        ("post", "/api/vehicles", {"plate": secret}),
    ):
        answer = client.request(method, path, data=body, headers=HTML)
        assert "content-encoding" not in answer.headers, path
    assert "content-encoding" not in client.get("/api/vehicles").headers  # short
    name = client.get("/api/vehicles/1").json()["views"][0]["picture"]
    for path in (f"/api/pictures/{name}", f"/api/thumbnails/{name}"):
        image = client.get(path)
        assert (image.status_code, image.headers["cache-control"]) == (200, "no-store")
        assert "content-encoding" not in image.headers


def test_the_token_of_a_session_looks_different_in_each_page_and_counts_in_each(as_role):
    client = as_role("guard")
    pages = [client.get("/", headers=HTML).text for _ in range(4)]
    tokens = [re.search(r'name="csrf" content="([0-9a-f]+)"', page)[1] for page in pages]
    assert len({token[:64] for token in tokens}) == len({token[64:] for token in tokens}) == 4
    assert len({re.search(r'name="session" content="([0-9a-f]+)"', page)[1] for page in pages}) == 1
    assert len({unmasked(token) for token in tokens}) == 1
    for token in tokens:
        assert client.post("/api/tokens", json={}, headers={"x-csrf-token": token}).status_code == 201
    plain = unmasked(tokens[0])
    for wrong in ("", plain, plain * 2, tokens[0][:-1], tokens[0][2:], tokens[0] + "00", "x" * 128, "ä" * 128):
        header = {"x-csrf-token": wrong.encode()}
        assert client.post("/api/tokens", json={}, headers=header).status_code == 403, wrong
    client.cookies.clear()
    client.post("/login", data={"name": "guard", "password": WORDS["guard"]})
    assert client.post("/api/tokens", json={}, headers={"x-csrf-token": tokens[0]}).status_code == 403


def test_masks():
    assert masked("") == unmasked("") == unmasked("abc") == unmasked("zz") == unmasked("abcdef") == ""
    assert unmasked(masked("00ff")) == "00ff"
