"""Delivery of events to a real server: in order, each id once, through outages; gates not too late."""

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from event_receivers import SECRET, desk, name_receivers, see, wait_until

from app.register import delivery as delivery_module
from app.register.delivery import Delivery, Line, lock_of, make_sender
from app.register.errors import RegisterError
from app.register.folder import RegisterFolder
from app.register.webhook import DeliveryError
from app.settings.checks import SettingsError
from scripts import register as register_command

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
GATE = f"""
[[gate]]
name = "barrier"
url = "{{url}}"
secret = "{SECRET}"
cameras = ["gate"]
vehicles = [1]
"""


@pytest.fixture
def held(tmp_path):
    held = RegisterFolder(tmp_path / "register")
    yield held
    held.close()


def delivering(held):
    return Delivery(held.outbox, held.folder, first_pause=0.05)


def test_events_are_delivered_as_they_come(held, webhook):
    name_receivers(held.folder, desk(webhook.url))
    delivery = delivering(held)
    numbers = [see(held) for _ in range(5)]
    wait_until(lambda: len(webhook.bodies) == 5)
    assert [body["sighting"] for body in webhook.bodies] == numbers
    wait_until(lambda: not held.outbox.queues())
    delivery.stop()


def test_a_thousand_events_outlast_an_outage_in_order(held, webhook):
    name_receivers(held.folder, desk(webhook.url))
    webhook.status = 503
    delivery = delivering(held)
    last = see(held, count=1000)
    wait_until(lambda: held.outbox.queues()[0].tries)
    assert held.outbox.queues()[0].error == f"127.0.0.1:{webhook.port} answered 503 Service Unavailable"
    webhook.status = 200
    wait_until(lambda: not held.outbox.queues(), 120)
    assert [body["sighting"] for body in webhook.bodies] == list(range(last - 999, last + 1))
    assert len(webhook.ids()) == 1000
    delivery.stop()


def test_a_receiver_that_is_away_does_not_hold_up_another(held, webhook):
    away = desk("http://127.0.0.1:9/").replace('"desk"', '"away"')
    name_receivers(held.folder, away + desk(webhook.url))
    delivery = delivering(held)
    see(held)
    wait_until(lambda: webhook.bodies)
    wait_until(lambda: [each.receiver for each in held.outbox.queues() if each.tries or each.events] == ["away"])
    wait_until(lambda: held.outbox.queues()[0].tries)
    (queue,) = held.outbox.queues()
    assert (queue.receiver, queue.events, queue.error) == ("away", 1, "127.0.0.1:9: Connection refused")
    delivery.stop()


def test_pauses_grow_and_an_outage_is_logged_once(held, caplog):
    name_receivers(held.folder, desk("http://127.0.0.1:9/"))
    see(held)
    line = Line(held.outbox, held.outbox.receivers().webhook[0], make_sender(held.outbox.receivers().webhook[0]), 1.0)
    pauses = []

    class Stopped(threading.Event):
        def wait(self, timeout):
            pauses.append(timeout)
            return len(pauses) > 9

    line.run(Stopped())
    assert pauses == [0.25, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert caplog.text.count("they are kept and sent later") == 1
    assert held.outbox.queues()[0].tries == 9


def test_a_changed_file_of_receivers_counts_at_once(held, webhook):
    name_receivers(held.folder, desk("http://127.0.0.1:9/"))
    delivery = delivering(held)
    see(held)
    wait_until(lambda: held.outbox.queues()[0].tries)
    name_receivers(held.folder, desk(webhook.url))
    wait_until(lambda: webhook.bodies)
    delivery.stop()


def test_delivery_goes_on_after_the_folder_was_away(held, webhook, monkeypatch, caplog):
    monkeypatch.setattr(delivery_module, "_LOCKED", 0.05)
    monkeypatch.setattr(delivery_module, "_LOOK", 0.05)
    name_receivers(held.folder, desk(webhook.url))
    delivery = delivering(held)
    see(held)
    wait_until(lambda: len(webhook.bodies) == 1)

    def away():
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as context:
        context.setattr(held.outbox, "receivers", away)
        wait_until(lambda: "events: [Errno 5] Input/output error; they are kept" in caplog.text)
        with lock_of(held.folder).acquire(timeout=5):  # another process may deliver, and so this one must not
            assert [thread.name for thread in threading.enumerate() if thread.name.startswith("events")] == ["events"]
    see(held)
    wait_until(lambda: len(webhook.bodies) == 2)
    wait_until(lambda: "events: answers again" in caplog.text)
    delivery.stop()


def test_one_process_at_a_time_delivers(held, webhook):
    name_receivers(held.folder, desk(webhook.url))
    with lock_of(held.folder).acquire(timeout=0):
        delivery = delivering(held)
        see(held)
        time.sleep(0.8)
        assert webhook.bodies == []
    wait_until(lambda: webhook.bodies)
    delivery.stop()


def test_a_gate_opens_at_once_or_not_at_all(held, webhook, monkeypatch):
    """An event that waited longer than it is valid is dropped, with a line in the trail, also by a clock put back."""
    name_receivers(held.folder, GATE.format(url=webhook.url).replace("cameras", "valid_seconds = 5\ncameras"))
    sender = make_sender(held.outbox.receivers().gate[0])
    line = Line(held.outbox, held.outbox.receivers().gate[0], sender)
    monkeypatch.setattr("app.register.outbox._is_allowed", lambda *_: True)
    see(held)
    line.deliver(threading.Event())
    (body,) = webhook.bodies
    lasts = datetime.fromisoformat(body["expires"]) - datetime.fromisoformat(body["time"])
    assert (body["event"], lasts) == ("open", timedelta(seconds=5))
    webhook.status = 500
    late = see(held)
    with pytest.raises(DeliveryError, match="answered 500"):
        line.deliver(threading.Event())
    webhook.status = 200
    started = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: started + 6)  # the clock on the wall stands still
    line.deliver(threading.Event())
    assert len(webhook.bodies) == 1
    assert held.outbox.queues() == []
    (row,) = (row for row in held.journal.audit() if row.action == "event expired")
    assert (row.account, row.subject) == ("barrier (events)", f"sighting {late}")


def test_an_event_is_expired_by_the_clock_after_a_restart(held, webhook, monkeypatch):
    name_receivers(held.folder, GATE.format(url=webhook.url))
    monkeypatch.setattr("app.register.outbox._is_allowed", lambda *_: True)
    see(held)
    later = datetime.now(UTC) + timedelta(seconds=11)

    class Later(datetime):
        @classmethod
        def now(cls, zone=None):
            return later.astimezone(zone)

    monkeypatch.setattr("app.register.outbox.datetime", Later)
    gate = held.outbox.receivers().gate[0]
    Line(held.outbox, gate, make_sender(gate)).deliver(threading.Event())
    assert webhook.bodies == []
    assert held.outbox.queues() == []


def test_commands_show_try_and_give_up(held, webhook, run_register, capsys):
    name_receivers(held.folder, desk(webhook.url))
    webhook.status = 500
    for _ in range(3):
        see(held)
    with pytest.raises(SystemExit, match="1"):
        run_register("events", "--deliver")
    captured = capsys.readouterr()
    assert captured.err == f"failed: desk: 127.0.0.1:{webhook.port} answered 500 Internal Server Error\n"
    answer, lines = run_register("events")
    (row,) = answer["receivers"]
    assert (row["receiver"], row["waiting"], row["tries"], row["named"]) == ("desk", 3, 1, True)
    assert "3 waiting  1 tries: 127.0.0.1" in lines[0]
    assert run_register("events", "--skip", "desk")[0] == {"dropped": 1}
    webhook.status = 200
    answer, _ = run_register("events", "--test", "desk")
    assert (answer["delivered"], webhook.bodies[-1]["event"]) == (True, "test")
    assert run_register("events", "--deliver")[0] == {"delivered": {"desk": 2}, "failed": {}}
    see(held)
    name_receivers(held.folder, "")
    answer, lines = run_register("events")
    assert "not in events.toml" in lines[0]
    assert run_register("events", "--drop", "desk")[0] == {"dropped": 1}
    for words, error, says in (
        (("--test", "desk"), RegisterError, "no receiver 'desk' in events.toml; there are: none"),
        (("--drop", "desk"), RegisterError, "no event waits for 'desk'"),
        (("--drop", "desk", "--deliver"), SettingsError, "give one of"),
    ):
        with pytest.raises(error, match=says):
            register_command.main(["events", *words])


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from event_receivers import see
from app.register import delivery as delivery_module
from app.register.delivery import Delivery
from app.register.folder import RegisterFolder

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
random_, seen = random.Random(0), 0
for kill in range(kills):
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            held = RegisterFolder(folder)
            delivery = Delivery(held.outbox, folder, first_pause=0.05)
            for _ in range(100_000):
                os.write(into, f"{see(held)}\\n".encode())
        finally:
            os._exit(1)
    os.close(into)
    said = os.read(out, 64)
    time.sleep(random_.uniform(0.26, 0.4))  # some deliveries, after the first look at the outbox
    os.kill(child, signal.SIGKILL)
    while piece := os.read(out, 65536):
        said += piece
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, said
    os.close(out)
    seen = int(said.split()[-1])
print(seen)
"""


def test_no_event_is_lost_or_of_two_ids_through_fifty_kills(held, webhook):
    name_receivers(held.folder, desk(webhook.url))
    held.close()
    path = f"{ROOT / 'tests/helpers'}"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r})\n{KILLED}", str(held.folder), "50"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(webhook.bodies) > 50, "the processes delivered some themselves"
    again = RegisterFolder(held.folder)
    delivery = Delivery(again.outbox, again.folder)
    wait_until(lambda: not again.outbox.queues(), 120)
    delivery.stop()
    kept = [row["sighting"] for row in _sightings(again)]
    again.close()
    ids = webhook.ids()
    first = {body["id"]: body["sighting"] for body in reversed(webhook.bodies)}
    assert [first[key] for key in ids] == kept  # each sighting with one id, in order, none lost
    assert int(done.stdout) <= kept[-1] <= int(done.stdout) + 1
    assert len(webhook.bodies) - len(ids) <= 50  # one a kill may come twice, with the same id


def _sightings(held):
    with held.database.reading() as session:
        return [{"sighting": row[0]} for row in session.connection().exec_driver_sql("SELECT id FROM sighting").all()]
