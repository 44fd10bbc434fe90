"""A service over a register of a few vehicles, for tests."""

import io
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from registers import photo

from app.register.accounts import Accounts, Role
from app.register.matcher import Threshold
from app.register.photos import VehiclePhoto
from app.register.records import NewOwner
from app.web.service import create_app
from app.web.state import State

WORDS = {role.name: f"password of {role.name}" for role in Role}
FAST = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def service(identification):
    """The app; vehicle 1 has an owner and a plate, vehicle 2 has none."""
    model, _ = identification.active_model.current()
    identification.models.set_thresholds(
        model.id, dict.fromkeys(model.libraries, Threshold(0.999999, 0.99, 0.0)), "tester"
    )
    owner = NewOwner("A. Resident", "12", "evenings")
    identification.enrol([VehiclePhoto(photo(1), plate=photo(101))], account="tester", owner=owner, plate="AB 12")
    identification.enrol([VehiclePhoto(photo(2))], account="tester")
    accounts = Accounts(identification.database, FAST)
    for role in Role:
        accounts.add(role.name, role, WORDS[role.name], "tester")

    def make_state():
        state = State(identification)
        state.accounts = accounts
        return state

    return create_app(make_state)


@pytest.fixture
def client(service):
    """A browser that is not logged in."""
    with TestClient(service, follow_redirects=False) as client:
        yield client


@pytest.fixture
def as_role(client):
    """Logs the browser in; its forms bring what they must."""

    def as_role(name):
        client.cookies.clear()
        response = client.post("/login", data={"name": name, "password": WORDS[name]})
        assert response.status_code == 303, response.text
        page = client.get("/", headers={"accept": "text/html"}).text
        client.headers["x-csrf-token"] = page.split('name="csrf" content="')[1].split('"')[0]
        return client

    return as_role


def jpeg(seed):
    """An image as an upload."""
    file = io.BytesIO()
    photo(seed).image.save(file, "PNG")
    return (f"{seed}.png", file.getvalue(), "image/png")


@contextmanager
def served(app):
    """A real server on loopback; its port."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)
