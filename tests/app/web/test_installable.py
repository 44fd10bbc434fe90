"""Manifest, service worker and the frame of the first page; health without a log-in."""

import io
import re

import pytest
from PIL import Image
from sqlalchemy.exc import OperationalError

from app.register.errors import DatabaseAwayError

HTML = {"accept": "text/html"}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def test_the_manifest_has_all_that_an_installation_needs(client):
    answer = client.get("/manifest.webmanifest")
    assert answer.headers["content-type"] == "application/manifest+json"
    told = answer.json()
    assert (told["name"], told["start_url"], told["scope"], told["display"]) == ("Register", "/", "/", "standalone")
    assert {(icon["sizes"], icon["purpose"]) for icon in told["icons"]} == {
        ("192x192", "any"),
        ("512x512", "any"),
        ("512x512", "maskable"),
    }
    for icon in told["icons"]:
        file = client.get(icon["src"])
        assert (file.headers["content-type"], "immutable" in file.headers["cache-control"]) == ("image/png", True)
        with Image.open(io.BytesIO(file.content)) as image:
            assert f"{image.width}x{image.height}" == icon["sizes"]
    assert client.get("/manifest.webmanifest", headers={"accept-language": "zh"}).json()["lang"] == "zh-Hans"
    assert '<link rel="manifest" href="/manifest.webmanifest">' in client.get("/login", headers=HTML).text


def test_the_frame_holds_nothing_of_anybody(client, as_role):
    before = client.get("/shell", headers=HTML)
    assert before.status_code == 200
    admin = as_role("admin")
    after = admin.get("/shell", headers=HTML)
    assert after.text == before.text
    for word in ("admin", 'name="csrf"', 'name="account"', 'id="search"', "enrol_unknown", "/logout"):
        assert word not in after.text, word
    assert 'name="shell"' in after.text
    assert 'id="identify"' in after.text
    page = admin.get("/", headers=HTML).text
    assert '<meta name="account" content="admin">' in page
    assert 'name="shell"' not in page


@pytest.mark.slow
def test_the_worker_is_for_all_pages_and_asked_for_anew(client):
    worker = client.get("/service-worker.js")
    assert worker.headers["content-type"].startswith("text/javascript")
    assert worker.headers["cache-control"] == "no-store"
    files = re.findall(r'(?:src|href)="(/(?:static|locales)/[^"]+)"', client.get("/shell", headers=HTML).text)
    assert len(files) >= 7
    assert {client.get(path).status_code for path in files} == {200}


def test_workers_and_manifests_of_this_service_alone(client):
    policy = dict(
        part.strip().split(" ", 1) for part in client.get("/login").headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'self'",
        "img-src": "'self' blob: data:",
        "worker-src": "'self'",
        "manifest-src": "'self'",
        "frame-ancestors": "'none'",
        "form-action": "'self'",
    }


def test_health_needs_no_log_in_and_has_no_details(client, identification, monkeypatch):
    def both():
        answers = client.get("/healthz"), client.get("/readyz")
        return [(answer.status_code, answer.json()) for answer in answers]

    assert both() == [(200, {"status": "ok"}), (200, {"status": "ready"})]
    recogniser = identification.active_model._recogniser
    monkeypatch.setattr(identification.active_model, "_recogniser", None)
    not_ready = {"status": "not ready", "reason": "the network is not loaded yet"}
    assert both() == [(200, {"status": "ok"}), (503, not_ready)]
    monkeypatch.setattr(identification.active_model, "_recogniser", recogniser)
    monkeypatch.setattr(identification.models, "active", lambda: None)
    assert both()[1] == (503, {"status": "not ready", "reason": "the register has no network"})

    def away():
        raise DatabaseAwayError("the register at db.example:5432/register cannot be used") from OperationalError(
            "", {}, Exception()
        )

    monkeypatch.setattr(identification.models, "active", away)
    assert both()[1] == (503, {"status": "not ready", "reason": "the database does not answer"})
    assert client.get("/readyz").headers["retry-after"] == "10"
