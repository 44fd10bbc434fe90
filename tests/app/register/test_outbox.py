"""Events of sightings: who gets which, without whose names, and when a gate opens."""

import json
import re
import time

import numpy as np
import pytest
from event_receivers import SECRET, desk, name_receivers, see
from registers import photo, view

from app.register.event_tables import Event
from app.register.folder import RegisterFolder
from app.register.matcher import Outcome
from app.register.model_versions import Models
from app.register.outbox import Outbox
from app.register.photos import VehiclePhoto
from app.register.receivers import EventsFileError, read_receivers
from app.register.records import NewOwner, SeenBy
from app.register.schema import Sighting

GATE = f"""
[[gate]]
name = "barrier"
url = "http://127.0.0.1:1/open"
secret = "{SECRET}"
cameras = ["gate"]
"""


@pytest.fixture
def held(tmp_path, url):
    """A register with vehicle 1 of an owner, with a plate, and vehicle 2 of nobody."""
    held = RegisterFolder(tmp_path / "register", url)
    model = Models(held.database).add("0" * 16, ["fused", "plate", "vehicle"], "a test", "tester")
    rng = np.random.default_rng(0)
    who = {"owner": NewOwner("A. Resident", "12"), "plate": "AB 12"}
    held.register.enrol([view(rng)], model_id=model.id, account="tester", **who)
    held.register.enrol([view(rng)], model_id=model.id, account="tester")
    yield held
    held.close()


def bodies(held, receiver):
    return [json.loads(event.body) for event in held.outbox.waiting(receiver, 100)]


def test_without_receivers_nothing_is_kept(held):
    see(held)
    assert held.outbox.queues() == []


def test_a_receiver_gets_the_decisions_that_it_asks_for(held):
    other = desk("http://127.0.0.1:1", 'events = ["match", "unsure"]').replace("desk", "office")
    name_receivers(held.folder, desk("http://127.0.0.1:1") + other)
    for outcome in Outcome:
        see(held, outcome, 1 if outcome in (Outcome.match, Outcome.unsure) else None)
    assert [body["event"] for body in bodies(held, "desk")] == ["match", "unsure", "unknown", "not_registered"]
    assert [body["event"] for body in bodies(held, "office")] == ["match", "unsure"]
    queues = held.outbox.queues()
    assert [(queue.receiver, queue.events) for queue in queues] == [("desk", 4), ("office", 2)]
    keys = [event.key for name in ("desk", "office") for event in held.outbox.waiting(name, 100)]
    assert len(set(keys)) == 6


def test_an_event_says_what_was_seen_and_where_without_the_owner(held):
    name_receivers(held.folder, 'time_zone = "Asia/Kathmandu"\n' + desk("http://127.0.0.1:1"))
    number = see(held, Outcome.match, 1, plate="AB12")
    see(held, Outcome.unsure, 1, camera=None)
    match, unsure = bodies(held, "desk")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+05:45", match.pop("time"))
    event = held.outbox.waiting("desk", 1)[0]
    about = {"sighting": number, "camera": "gate", "place": "gate north", "vehicle": 1, "plate": "AB 12"}
    assert (
        match
        == {"id": event.key, "event": "match", "plate_text": None, "camera_plate": "AB12", "listed": [], "tags": []}
        | about
    )
    assert (unsure["camera"], unsure["vehicle"], unsure["plate"]) == (None, 1, None)  # a likeness, no plate


def test_only_a_receiver_for_it_gets_the_owner_and_the_trail_says_so(held):
    name_receivers(held.folder, desk("http://127.0.0.1:1", "owner = true"))
    see(held, Outcome.match, 1)
    see(held, Outcome.unsure, 1)
    see(held, Outcome.match, 2)
    owners = [body["owner"] for body in bodies(held, "desk")]
    assert owners == [{"name": "A. Resident", "flat": "12", "contact": ""}, None, None]
    looks = [row for row in held.journal.audit() if row.action == "look at owner"]
    assert [(row.account, row.subject) for row in looks] == [("desk (events)", "vehicle 1")]


def test_a_receiver_of_one_camera_gets_that_one_alone(held):
    name_receivers(held.folder, desk("http://127.0.0.1:1", 'cameras = ["yard"]'))
    see(held)
    see(held, camera=None)
    number = see(held, camera="yard")
    assert [body["sighting"] for body in bodies(held, "desk")] == [number]


@pytest.mark.parametrize(
    ("more", "seen", "opens"),
    [
        ("", {"outcome": Outcome.match, "vehicle": 1}, True),
        ("", {"outcome": Outcome.match, "vehicle": 2}, False),  # of no owner
        ("vehicles = [2]", {"outcome": Outcome.match, "vehicle": 2}, True),
        ("vehicles = [2]", {"outcome": Outcome.match, "vehicle": 1}, False),
        ("except_vehicles = [1]", {"outcome": Outcome.match, "vehicle": 1}, False),
        ("", {"outcome": Outcome.unsure, "vehicle": 1}, False),
        ("", {"outcome": Outcome.unknown}, False),
        ("", {"outcome": Outcome.not_registered}, False),
        ("vehicles = [2]", {"outcome": Outcome.unknown, "enrolled": 2}, False),  # enrolled by this very sighting
        ("", {"outcome": Outcome.match, "vehicle": 1, "camera": "yard"}, False),
        ("", {"outcome": Outcome.match, "vehicle": 1, "camera": None}, False),  # a person's photograph
        ("", {"outcome": Outcome.match, "vehicle": 1, "decided_by": "plate_text"}, False),
        ("plate_alone = true", {"outcome": Outcome.match, "vehicle": 1, "decided_by": "plate_text"}, True),
    ],
)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_gate_opens_for_a_match_of_an_allowed_vehicle_alone(held, more, seen, opens):
    name_receivers(held.folder, GATE + more)
    see(held, **seen)
    assert [body["event"] for body in bodies(held, "barrier")] == ["open"] * opens


def test_an_event_goes_with_its_sighting(held):
    name_receivers(held.folder, desk("http://127.0.0.1:1", "owner = true"))
    see(held, Outcome.match, 1)
    other = see(held)
    held.register.forget(account="tester", vehicle_id=1)
    assert [body["sighting"] for body in bodies(held, "desk")] == [other]


def test_a_sighting_and_its_events_are_kept_together_or_not_at_all(held, monkeypatch):
    name_receivers(held.folder, desk("http://127.0.0.1:1") + desk("http://127.0.0.1:2").replace("desk", "office"))

    def is_from(_, receiver):
        if receiver.name == "office":
            raise OSError(28, "No space left on device")
        return True

    monkeypatch.setattr("app.register.outbox._is_from", is_from)
    with pytest.raises(OSError, match="No space"):
        see(held)
    with held.database.reading() as session:
        assert (session.query(Sighting).count(), session.query(Event).count()) == (0, 0)


def test_an_identification_keeps_its_camera_and_its_events(identification):
    name_receivers(identification.folder, desk("http://127.0.0.1:1"))
    seen = []
    camera = SeenBy("gate", "north entrance", "AB 12")
    answer = identification.identify(
        [VehiclePhoto(photo(1))], account=camera.account, camera=camera, also=lambda _, number: seen.append(number)
    )
    (event,) = bodies(identification, "desk")
    assert (event["sighting"], event["event"], event["camera_plate"]) == (answer.sighting, "unknown", "AB 12")
    assert seen == [answer.sighting]
    with identification.database.reading() as session:
        row = session.get(Sighting, answer.sighting)
        assert (row.camera, row.place, row.account) == ("gate", "north entrance", "gate (camera)")


BAD = {
    "webhook = 1": r"webhook: ",
    "formats = 1": "unknown key formats",
    'time_zone = "Moon"': "time_zone: 'Moon' is no time zone",
    'time_zone = "../etc/passwd"': "time_zone: .* is no time zone",
    "= 1": "is not TOML",
    desk("ftp://host/x"): r"webhook.1.url: is no URL such as https://host:port/path",
    desk("https://me:word@host/x"): "without a user",
    desk("https://host:99999/x"): "webhook.1.url",
    desk("https://host/x", "owner = 1"): "webhook.1.owner",
    desk("https://host/x", 'events = ["matches"]'): "webhook.1.events.1: Input should be 'match'",
    desk("https://host/x", "events = []"): "webhook.1.events",
    desk("https://host/x").replace("whsec_", ""): "webhook.1.secret: is whsec_ and base64",
    desk("https://host/x") + desk("https://host/y"): "two receivers have the name 'desk'",
    GATE.replace('cameras = ["gate"]', ""): "gate.1.cameras: Field required",
    GATE.replace('["gate"]', "[]"): "gate.1.cameras",
    GATE + 'events = ["unsure"]': "unknown key gate.1.events",
    '[[mqtt]]\nname = "hub"\nurl = "mqtt://host/topic"': "mqtt.1.url: .*the topic has a key of its own",
    '[[mqtt]]\nname = "hub"\nurl = "mqtt://host"\ntopic = "a/#"': "mqtt.1.topic: is no topic",
    '[[mqtt]]\nname = "hub hub"\nurl = "mqtt://host"': "mqtt.1.name: 'hub hub' is no name",
}


@pytest.mark.parametrize(("text", "words"), BAD.items())
def test_a_file_of_receivers_that_cannot_be_used_is_named_with_its_key(tmp_path, text, words):
    name_receivers(tmp_path, text)
    with pytest.raises(EventsFileError, match=f"{tmp_path}/events.toml.*{words}"):
        read_receivers(tmp_path)


def test_a_file_of_secrets_that_others_may_read_is_refused(tmp_path):
    name_receivers(tmp_path, desk("http://127.0.0.1:1"))
    (tmp_path / "events.toml").chmod(0o640)
    with pytest.raises(EventsFileError, match="may be read by others: chmod 600"):
        read_receivers(tmp_path)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_mistake_while_it_runs_loses_no_event(held, caplog):
    """The receivers before the change count; a process that starts with the mistake refuses."""
    name_receivers(held.folder, desk("http://127.0.0.1:1"))
    see(held)
    time.sleep(0.01)
    name_receivers(held.folder, "webhook = 1")
    number = see(held)
    assert [body["sighting"] for body in bodies(held, "desk")][-1] == number
    assert "the receivers before the change count" in caplog.text
    with pytest.raises(EventsFileError):
        Outbox(held.database, held.folder).receivers()
    time.sleep(0.01)
    name_receivers(held.folder, "")
    see(held)
    assert len(bodies(held, "desk")) == 2
