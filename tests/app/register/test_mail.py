"""Events by mail to a real server: words, addresses, encryption, what is tried again and what is given up."""

import json
import re
import threading

import numpy as np
import pytest
from event_receivers import name_receivers, see, wait_until
from mail_server import Inbox, office, server_context
from registers import view

from app.register.delivery import Delivery, Line, deliver_now, make_sender
from app.register.errors import RegisterError
from app.register.folder import RegisterFolder
from app.register.mail import MailSender
from app.register.matcher import Outcome
from app.register.model_versions import Models
from app.register.notes import NotedError, NoteError, queue_note
from app.register.receivers import EventsFileError, Mail, is_address, read_receivers
from app.register.records import NewOwner
from app.register.tags import tagged
from app.register.webhook import DeliveryError

OWNER = "resident@home.example"


@pytest.fixture
def held(tmp_path):
    """A register with vehicle 1 of an owner with a mail address, and vehicle 2 of one with a telephone."""
    held = RegisterFolder(tmp_path / "register")
    model = Models(held.database).add("0" * 16, ["fused", "plate", "vehicle"], "a test", "tester")
    rng = np.random.default_rng(0)
    for number, contact in enumerate((OWNER, "evenings")):
        about = {"owner": NewOwner(f"{'AB'[number]}. Resident", "12", contact), "plate": f"AB {number}"}
        held.register.enrol([view(rng)], model_id=model.id, account="tester", also=tagged(["EV"]), **about)
    yield held
    held.close()


def deliver(held):
    mail = held.outbox.receivers().mail[0]
    line = Line(held.outbox, mail, make_sender(mail, held.folder))
    line.deliver(threading.Event())


def test_a_mail_says_in_plain_words_what_was_seen(held, inbox):
    name_receivers(held.folder, 'time_zone = "Asia/Kathmandu"\n' + office(inbox.port))
    number = see(held, Outcome.match, 1, plate="AB\u00d6 0")
    key = held.outbox.waiting("office", 1)[0].key
    deliver(held)
    (((address,), message, _),) = inbox.mails
    assert (address, message["To"], message["From"]) == (*["office@park.example"] * 2, "gate@park.example")
    assert (message["Subject"], message["Message-ID"]) == ("Vehicle recognised: AB 0", f"<{key}@park.example>")
    assert message["Date"].endswith("+0545")
    (text,) = inbox.texts()
    assert re.sub(r"Time: .{16}\n", "", text) == (
        "Answer: Vehicle recognised\nCamera: gate (gate north)\nPlate: AB 0\n"
        f"Plate read by the camera: AB\u00d6 0\nVehicle: 1\nTags: EV\nSighting: {number}\n"
    )
    assert held.outbox.queues() == []


def test_each_address_gets_its_own_mail_and_is_tried_by_itself(held, inbox):
    name_receivers(held.folder, office(inbox.port, 'to = ["a@x.example", "b@x.example"]\nowner = true'))
    see(held, Outcome.match, 1)
    inbox.answers["b@x.example"] = "451 later"
    with pytest.raises(DeliveryError, match=f"^127.0.0.1:{inbox.port} answered 451 to the address$"):
        deliver(held)
    deliver(held)
    assert [addresses for addresses, _, _ in inbox.mails] == [["a@x.example"], ["b@x.example"]]
    assert all(f"Owner: A. Resident, 12, {OWNER}" in text for text in inbox.texts())
    assert [row.account for row in held.journal.audit() if row.action == "look at owner"] == ["office (events)"]


@pytest.mark.parametrize("who", ["office@park.example", "DATA"])
def test_what_a_server_never_takes_is_given_up_and_holds_up_nothing(held, inbox, caplog, who):
    name_receivers(held.folder, office(inbox.port))
    numbers = [see(held), see(held)]
    inbox.answers[who] = "550 no such box <somebody@x.example>"
    deliver(held)
    assert [f"Sighting: {numbers[1]}" in text for text in inbox.texts()] == [True]
    (row,) = (row for row in held.journal.audit() if row.action == "event refused")
    assert (row.account, row.subject) == ("office (events)", f"sighting {numbers[0]}")
    assert "answered 550 to the" in caplog.text
    assert "somebody" not in caplog.text


def test_a_plate_makes_no_header(held, inbox):
    """`email` decodes words of RFC 2047 in what it is given, line ends among them."""
    name_receivers(held.folder, office(inbox.port))
    see(held, plate="=?utf-8?q?=0ABcc:x@y.example?=")
    deliver(held)
    ((addresses, message, _),) = inbox.mails
    assert (addresses, message["Bcc"]) == (["office@park.example"], None)
    assert "\n" not in message["Subject"]


def test_a_mailbox_that_is_full_holds_up_no_other(held, inbox):
    name_receivers(held.folder, office(inbox.port, 'to = ["full@x.example", "b@x.example"]'))
    see(held)
    inbox.answers["full@x.example"] = "452 full"
    with pytest.raises(DeliveryError, match="452"):
        deliver(held)
    assert [addresses for addresses, _, _ in inbox.mails] == [["b@x.example"]]
    assert [queue.events for queue in held.outbox.queues()] == [1]


def test_a_note_that_the_server_refuses_can_be_written_again(held, inbox):
    name_receivers(held.folder, office(inbox.port, "notes = true"))
    number = report(held)
    queue_note(held.outbox, number, "", "guard")
    inbox.answers[OWNER] = "550 no such box"
    deliver(held)
    assert queue_note(held.outbox, number, "", "guard").noted is not None


def test_an_owner_is_written_to_only_where_it_is_set_and_learns_nothing_else(held, inbox):
    name_receivers(held.folder, office(inbox.port, "to_owner = true"))
    for outcome, vehicle in ((Outcome.match, 1), (Outcome.match, 2), (Outcome.unsure, 1), (Outcome.unknown, None)):
        see(held, outcome, vehicle)
    deliver(held)
    (((address,), message, _),) = inbox.mails
    assert (address, message["Subject"]) == (OWNER, "Your vehicle AB 0")
    assert re.fullmatch(r"Your vehicle with the plate AB 0 was seen at gate north: [\d: -]{16}\.\n", inbox.texts()[0])
    lines = [(row.subject, row.details) for row in held.journal.audit() if row.action == "write to owner"]
    assert lines == [("vehicle 1", {"owner": 1})]
    name_receivers(held.folder, office(inbox.port))
    see(held, Outcome.match, 1)
    deliver(held)
    assert [addresses for addresses, _, _ in inbox.mails[1:]] == [["office@park.example"]]


def test_a_photograph_is_attached_where_it_is_wanted_and_still_there(held, inbox):
    name_receivers(held.folder, office(inbox.port, 'to = ["a@x.example"]\nto_owner = true\nphoto = true'))
    see(held, Outcome.match, 1)
    deliver(held)
    (held.folder / "pictures" / f"{0:032x}.jpg").write_bytes(b"an image")
    see(held, Outcome.match, 1)
    deliver(held)
    attached = [[part.get_content() for part in message.iter_attachments()] for _, message, _ in inbox.mails]
    assert attached == [[], [], [b"an image"], []]


def test_a_listed_vehicle_stands_in_the_subject(held, inbox):
    name_receivers(held.folder, 'time_zone = "UTC"\n' + office(inbox.port))
    ban = {"entry": 1, "kind": "deny", "reason": "contractor\nBcc: all@x.example", "flat": "", "ends": None}
    visit = ban | {"kind": "visitor", "flat": "12", "reason": "", "ends": "2900-06-30T14:00:00+00:00"}
    for listed in ([ban | {"exact": True, "stops": True}], [visit | {"exact": False, "stops": False}]):
        see(held, listed=listed)
    deliver(held)
    assert [message["Subject"] for _, message, _ in inbox.mails] == ["No entry: Unknown vehicle", "Unknown vehicle"]
    assert [text.splitlines()[0] for text in inbox.texts()] == [
        "No entry (contractor Bcc: all@x.example)",
        "Visitor of flat 12 until 2900-06-30 14:00 may be; please compare the plate",
    ]
    assert inbox.mails[0][1]["Bcc"] is None


def test_mails_outlast_an_outage_in_order_and_each_comes_once(held, inbox):
    name_receivers(held.folder, office(inbox.port))
    inbox.close()
    delivery = Delivery(held.outbox, held.folder, first_pause=0.05)
    numbers = [see(held) for _ in range(20)]
    wait_until(lambda: held.outbox.queues()[0].tries)
    assert held.outbox.queues()[0].error == f"127.0.0.1:{inbox.port}: Connection refused"
    inbox.start()
    wait_until(lambda: not held.outbox.queues())
    delivery.stop()
    assert [int(text.split("Sighting: ")[1]) for text in inbox.texts()] == numbers
    assert len({message["Message-ID"] for _, message, _ in inbox.mails}) == 20


def test_a_mail_that_is_sent_twice_has_one_message_id(held, inbox):
    name_receivers(held.folder, office(inbox.port))
    see(held)
    event = held.outbox.waiting("office", 1)[0]
    sender = make_sender(held.outbox.receivers().mail[0])
    for _ in range(2):  # the process was killed before it took the event out of its queue
        sender.send(event.key, event.kind, event.body)
    assert len({message["Message-ID"] for _, message, _ in inbox.mails}) == 1


def post(**more):
    mail = Mail(**{"name": "office", "sender": "gate@x.example", "to": ["a@x.example"], **more})
    body = {"id": "a", "event": "test", "time": "2026-11-29T12:00:00+00:00"}
    MailSender(mail).send("a", "test", json.dumps(body))


def test_starttls_and_a_user_are_used_and_nothing_is_sent_in_the_clear(tmp_path, inbox):
    context, certificate = server_context(tmp_path)
    server = Inbox(tls_context=context, require_starttls=True, auth_required=True)
    about = {"url": f"smtp://127.0.0.1:{server.port}", "ca_file": str(certificate), "user": "me"}
    post(**about, password="word")
    assert [(encrypted, message["Subject"]) for _, message, encrypted in server.mails] == [(True, "Test")]
    with pytest.raises(DeliveryError, match="refuses user or password: 535"):
        post(**about, password="other")
    with pytest.raises(DeliveryError, match="its certificate is refused: self"):
        post(**{**about, "ca_file": ""}, password="word")
    with pytest.raises(DeliveryError, match=r"speaks no STARTTLS .* nothing is sent in the clear"):
        post(url=f"smtp://127.0.0.1:{inbox.port}")
    assert inbox.mails == []
    assert server.users[0] == (b"me", b"word")
    server.close()


def test_tls_from_the_first_byte(tmp_path, inbox):
    context, certificate = server_context(tmp_path)
    server = Inbox(ssl_context=context)
    post(url=f"smtps://127.0.0.1:{server.port}", ca_file=str(certificate))
    assert len(server.mails) == 1
    with pytest.raises(DeliveryError, match=f"^127.0.0.1:{inbox.port}: "):
        post(url=f"smtps://127.0.0.1:{inbox.port}", timeout_seconds=2)
    server.close()


BAD = {
    office(25, ""): "sends nothing to anybody: give `to`, `to_owner` or `notes`",
    office(25, 'to = ["a b@x.example"]'): r"mail.1.to.1: 'a b@x.example' is no mail address",
    office(25).replace("gate@park.example", "gate@park.example\\nBcc: b@x.example"): "is no mail address",
    office(25, scheme="http"): "mail.1.url: is no URL such as smtp://host:port",
    office(25).replace("127.0.0.1", "mail.example"): "starttls = false is for a server on this machine alone",
    office(25, 'to = ["a@x.example"]\nsecret = "x"'): "unknown key mail.1.secret",
}


@pytest.mark.parametrize(("text", "words"), BAD.items())
def test_a_receiver_of_mail_that_cannot_be_used_is_named_with_its_key(tmp_path, text, words):
    name_receivers(tmp_path, text)
    with pytest.raises(EventsFileError, match=words):
        read_receivers(tmp_path)


def test_addresses():
    good = ("a@x.example", "a.b+c@x-y.example", "root@localhost")
    bad = (
        "",
        "a",
        "a@",
        "@x",
        "a@x y",
        "a@x,b@y",
        "a@x\n",
        "\u00e4@x.example",
        "a@x.example, evenings",
        "a" * 255 + "@x",
    )
    assert [is_address(text) for text in (*good, *bad)] == [True] * len(good) + [False] * len(bad)


def report(held, outcome=Outcome.match, vehicle=1, named=None):
    return held.journal.report_incident(see(held, outcome, vehicle), "blocks a gate", "rude words", "guard", named)


def test_a_note_reaches_the_owner_once(held, inbox):
    name_receivers(held.folder, office(inbox.port, "notes = true"))
    number = report(held)
    assert queue_note(held.outbox, number, "Please move it.\nThank you", "guard").noted is not None
    with pytest.raises(NotedError, match=f"the owner was written to about incident {number}: 20"):
        queue_note(held.outbox, number, "", "guard")
    assert deliver_now(held.outbox, held.folder) == ({"office": 1}, {})
    (((address,), message, _),) = inbox.mails
    assert (address, message["Subject"]) == (OWNER, "Your vehicle AB 0")
    assert re.fullmatch(
        r"An incident was reported about your vehicle with the plate AB 0: [\d: -]{16}, blocks a gate\.\n\n"
        r"Please move it\.\nThank you\n",
        inbox.texts()[0],
    )
    (line,) = (row for row in held.journal.audit() if row.action == "note to owner")
    assert (line.account, line.subject, line.details) == ("guard", f"incident {number}", {"vehicle": 1, "owner": 1})


def test_a_note_that_reaches_nobody_is_refused_and_changes_nothing(held, inbox):
    first = report(held)
    with pytest.raises(NoteError, match=r"no \[\[mail\]\] in events.toml has notes = true"):
        queue_note(held.outbox, first, "", "guard")
    name_receivers(held.folder, office(inbox.port, "notes = true"))
    for number, words in (
        (report(held, Outcome.match, 2), "the owner's contact is no mail address"),
        (report(held, Outcome.unknown, None), "is about no vehicle with a known owner"),
        (99, "there is no incident 99"),
    ):
        with pytest.raises(RegisterError, match=words):
            queue_note(held.outbox, number, "", "guard")
    with pytest.raises(RegisterError, match="text holds a character"):
        queue_note(held.outbox, first, "a\u202eb", "guard")
    assert (held.outbox.queues(), held.journal.incident(first).noted) == ([], None)


def test_a_note_goes_with_its_vehicle_also_where_the_sighting_stays(held, inbox):
    name_receivers(held.folder, office(inbox.port, "notes = true"))
    queue_note(held.outbox, report(held, Outcome.unknown, None, named=1), "", "guard")
    held.register.forget(account="m", vehicle_id=1)
    assert (held.outbox.queues(), held.register.counts()["sightings"]) == ([], 1)
