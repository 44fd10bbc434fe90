"""A PostgreSQL that is there and does not answer: 503 in time, and on the service goes when it answers again."""

import os
import signal
import time

import httpx
import pytest
from registers import photo
from sqlalchemy import event
from test_database_away import server, url, whole_vehicles  # noqa: F401 - fixtures
from web_service import FAST, WORDS, jpeg, served

from app.register.accounts import Accounts, Role
from app.register.database import Database
from app.register.errors import DatabaseAwayError, UncertainError
from app.register.identification import Identification
from app.register.photos import VehiclePhoto
from app.web.service import create_app
from app.web.state import State

pytestmark = pytest.mark.slow


@pytest.fixture
def stopped(server):  # noqa: F811
    """Stops all processes of PostgreSQL, which keep their connections, and lets them go on."""
    process = server.get_postmaster_info().process

    def signalled(how):
        for each in (process, *process.children()):
            os.kill(each.pid, how)

    yield signalled
    signalled(signal.SIGCONT)


@pytest.fixture
def hasty(url, tmp_path, run_folder):  # noqa: F811
    """A register that waits two seconds for an answer of its database."""
    identification = Identification(tmp_path / "hasty", f"{url}&answer_timeout=2&connect_timeout=2", "cpu")
    identification.active_model.change_to_run(run_folder, "global", "tester")
    identification.enrol([VehiclePhoto(photo(1))], account="tester", plate="AB 1")
    accounts = Accounts(identification.database, FAST)
    accounts.add("admin", Role.admin, WORDS["admin"], "tester")

    def make_state():
        state = State(identification)
        state.accounts = accounts
        return state

    yield identification, create_app(make_state)
    identification.close()


def test_a_database_that_hangs_is_a_503_in_time_and_the_service_goes_on(hasty, stopped):
    """Its processes are stopped: connections stay, packets are taken, and nothing is answered."""
    identification, app = hasty
    with served(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        assert client.post("/login", data={"name": "admin", "password": WORDS["admin"]}).status_code == 303
        page = client.get("/", headers={"accept": "text/html"}).text
        client.headers["x-csrf-token"] = page.split('name="csrf" content="')[1].split('"')[0]
        token = client.post("/api/tokens", json={"label": "gate"}).json()["token"]
        client.headers["authorization"] = f"Bearer {token}"
        asked = [
            ("GET", "/api/status", {}),
            ("POST", "/api/identify", {"files": [("pictures", jpeg(1))]}),
            ("DELETE", "/api/vehicles/99", {}),
        ]
        stopped(signal.SIGSTOP)
        for method, path, more in asked * 2:
            started = time.monotonic()
            answer = client.request(method, path, **more)
            assert time.monotonic() - started < 8, (method, path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "10"), (method, path, answer.text)
            assert answer.json()["detail"] == "the register's database does not answer; try again in a moment"
        stopped(signal.SIGCONT)
        deadline = time.monotonic() + 15
        while client.get("/api/status").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        for (method, path, more), status in zip(asked, (200, 200, 404), strict=True):
            assert client.request(method, path, **more).status_code == status, (method, path)
    assert whole_vehicles(identification) == 1


def test_a_statement_that_takes_its_time_is_waited_for(url):  # noqa: F811
    """As long as the server is silent for less than the limit."""
    database = Database(f"{url}&answer_timeout=2")
    with database.reading() as session:
        assert session.connection().exec_driver_sql("SELECT 1 FROM pg_sleep(1)").scalar() == 1
    with pytest.raises(DatabaseAwayError, match="the server sent nothing for 2 seconds"), database.reading() as session:
        session.connection().exec_driver_sql("SELECT pg_sleep(60)")
    database.close()
    patient = Database(f"{url}&answer_timeout=0")
    with patient.reading() as session:
        assert session.connection().exec_driver_sql("SELECT 1 FROM pg_sleep(0.5)").scalar() == 1
    patient.close()


def test_a_commit_that_is_not_answered_may_have_been_kept(hasty, stopped):
    identification, _ = hasty
    with pytest.raises(UncertainError, match="the last change may have been kept"), identification.database.writing():
        event.listen(identification.database.engine, "commit", lambda _: stopped(signal.SIGSTOP), once=True)
    stopped(signal.SIGCONT)
