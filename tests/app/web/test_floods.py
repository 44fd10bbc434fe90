"""Strangers, and a database that is away, do not stop the guards: the service answers, and says when to come again."""

import asyncio
import http.client
import io
import logging
import logging.config
import threading
import time

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from web_service import WORDS, jpeg, served

from app.register.accounts import Accounts
from app.web import passwords, security
from app.web.logs import log_config
from app.web.service import create_app
from app.web.state import State


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


class Slow(PasswordHasher):
    """Hashing that takes as long as the test wants."""

    def __init__(self):
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.go = threading.Event()
        self.at_once, self.most = 0, 0
        self._lock = threading.Lock()

    def verify(self, hashed, password):
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        if password == "wrong":
            assert self.go.wait(60)
        with self._lock:
            self.at_once -= 1
        return super().verify(hashed, password)


def test_a_hundred_log_ins_of_strangers_do_not_stop_the_guards(service, as_role):
    """Each hundred of strangers from addresses of their own and from one. While all of them wait, sessions and
    look-ups are answered; the queue is bounded; and a guard gets in when the hashing is done."""
    state, slow = service.state.register, Slow()
    guard = as_role("guard")
    state.accounts.hasher = slow
    cookies, csrf = dict(guard.cookies), guard.headers["x-csrf-token"]

    async def flood():
        def stranger(address):
            transport = httpx.ASGITransport(service, client=(address, 1))
            return httpx.AsyncClient(transport=transport, base_url="http://testserver")

        addresses = [f"10.0.{number}.1" for number in range(100)] + ["10.9.9.9"] * 100
        strangers = [stranger(address) for address in addresses]
        form = {"name": "guard", "password": "wrong"}
        waiting = [asyncio.create_task(each.post("/login", data=form)) for each in reversed(strangers)]
        deadline = time.monotonic() + 300
        while len([task for task in waiting if task.done()]) < 200 - passwords._MOST_WAITING:
            assert time.monotonic() < deadline, "more log-ins wait than the queue holds"
            await asyncio.sleep(0.01)
        refused = [task.result() for task in waiting if task.done()]
        assert {answer.status_code for answer in refused} == {503}
        assert {answer.headers["retry-after"] for answer in refused} == {"5"}
        one = sum(task.done() for task in waiting[:100])
        assert one == 100 - passwords._MOST_WAITING_OF_ONE  # the queue is not one address's alone

        inside = stranger("10.1.1.1")
        inside.cookies.update(cookies)
        inside.headers["x-csrf-token"] = csrf
        started = time.monotonic()
        for _ in range(20):
            assert (await inside.get("/api/status")).status_code == 200
        answer = await inside.post("/api/identify", files=[("pictures", jpeg(1))])
        assert (answer.status_code, answer.json()["candidates"][0]["vehicle"]) == (200, 1)
        assert time.monotonic() - started < 20
        assert slow.most <= 2
        slow.go.set()
        await asyncio.gather(*waiting)
        found = [task.result().status_code for task in waiting if task.result().status_code != 503]
        assert len(found) == passwords._MOST_WAITING
        assert set(found) <= {401, 429}
        late = await stranger("10.2.2.2").post("/login", data={"name": "manager", "password": WORDS["manager"]})
        assert late.status_code == 303
        for each in strangers:
            await each.aclose()

    asyncio.run(flood())


def send(port, body, headers, method="POST", path="/api/identify"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer, text


@pytest.mark.parametrize("close", [True, False])
@pytest.mark.parametrize("size", [1_000, 70_000, 9_000_000])
@pytest.mark.parametrize("message", ["connection refused", "database is locked"])
def test_a_database_that_is_away_is_said_whatever_the_size(identification, service, message, size, close, monkeypatch):
    def fail(*_):
        with identification.database.reading():
            raise OperationalError("", {}, Exception(message))

    headers = {"authorization": "Bearer x", "content-type": "multipart/form-data; boundary=x"}
    headers |= {"connection": "close"} if close else {}
    part = b'--x\r\nContent-Disposition: form-data; name="pictures"; filename="a"\r\n\r\n'
    with served(service) as port:
        monkeypatch.setattr(Accounts, "who", fail)
        for chunked in (False, True):
            body = part + b"x" * size + b"\r\n--x--\r\n"
            pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536)) if chunked else body
            answer, text = send(port, pieces, headers)
            assert answer.status == 503, text
            assert '{"detail":' in text
            assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("close", [True, False])
def test_a_request_that_nobody_reads_gets_its_answer(service, close):
    """Too large a request, and an address that is none, are answered and not reset."""
    headers = {"connection": "close"} if close else {}
    with served(service) as port:
        answer, text = send(port, b"x" * 9_000_000, headers, path="/login")
        assert (answer.status, "over 65536 bytes" in text) == (413, True)
        answer, _ = send(port, b"x" * 60_000, headers, path="/nowhere")
        assert answer.status == 404


def test_what_is_read_after_an_answer_is_bounded(monkeypatch):
    monkeypatch.setattr(security, "_IDLE_SECONDS", 0.05)
    sent, pieces = [], 0

    async def app(scope, receive, send):
        del scope, receive
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    async def endless():
        nonlocal pieces
        pieces += 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    async def silent():
        await asyncio.sleep(60)

    async def keep(message):
        sent.append(message)

    scope = {"type": "http", "headers": [(b"content-length", b"1000000")]}
    asyncio.run(security.ReadOut(app, 10_000)(scope, endless, keep))
    assert pieces == 11
    started = time.monotonic()
    asyncio.run(security.ReadOut(app, 10_000)(scope, silent, keep))
    assert time.monotonic() - started < 20
    assert [message.get("more_body", False) for message in sent] == [False, True, False] * 2


@pytest.mark.parametrize("secure", [True, False])
def test_tls_is_demanded_where_there_is_tls(identification, secure):
    with TestClient(create_app(lambda: State(identification, secure=secure))) as client:
        for path in ("/login", "/api/status", "/static/app.js", "/nowhere"):
            said = client.get(path).headers.get("strict-transport-security")
            assert said == ("max-age=31536000" if secure else None), path


@pytest.mark.parametrize("text", ["a\nERROR: forged", "a\r\nb", "\x1b[2J\x1b]0;x\x07", "\x9b2J", "a\u2028b", "\u202ex"])
def test_nothing_that_a_client_sent_begins_a_line_of_the_log(text):
    """By the messages of a logger, by a warning, and by an error of the service with its traceback."""
    stream = io.StringIO()
    config = log_config() | {"root": {"handlers": ["default"], "level": "INFO"}}
    config["handlers"]["default"]["stream"] = stream
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    loggers = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.access", "uvicorn.error")]
    held = [(each, each.level, each.propagate, each.handlers[:], each.disabled) for each in loggers]
    for each in loggers:  # as in a new process: an earlier test's server may have set them
        each.setLevel(logging.NOTSET)
        each.propagate, each.handlers[:], each.disabled = True, [], False
    try:
        logging.config.dictConfig(config)
        logging.getLogger("uvicorn.access").info('%s - "%s"', "10.0.0.1", text)
        try:
            raise ValueError(text)
        except ValueError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application %s", text)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        for each, kept, each.propagate, each.handlers[:], each.disabled in held:
            each.setLevel(kept)
    lines = stream.getvalue().split("\n")
    assert lines[0].startswith("INFO: 10.0.0.1")
    assert sum(line[:1] not in ("", " ") for line in lines) == 2
    assert all(line.isprintable() for line in lines)
    assert "Traceback" in stream.getvalue()
