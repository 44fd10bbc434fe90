"""File of a register that names the receivers of its events: `events.toml` in its folder. TOML, read strictly."""

import base64
import binascii
import re
import zoneinfo
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from app.register.errors import RegisterError
from app.settings.toml_file import TomlSection, read_toml, require_private

EVENTS_FILE = "events.toml"
CAMERAS_FILE = "cameras.toml"
"""Of `app.cameras`, in the same folder."""
SECRET_PREFIX = "whsec_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_ADDRESS = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*@[\w-]+(\.[\w-]+)*", re.ASCII)
_LONGEST_ADDRESS = 254
_HERE = ("localhost", "127.0.0.1", "::1")
_LEAST_SECRET = 24  # bytes, as the Standard Webhooks have it


class EventsFileError(RegisterError, ValueError):
    """The file of receivers cannot be used; the message names it, and the key."""


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of letters, digits, - and _, at most 40")
    return name


def is_address(text: str) -> bool:
    """Whether a text is an address of mail, and nothing beside it."""
    return len(text) <= _LONGEST_ADDRESS and _ADDRESS.fullmatch(text) is not None


def _checked_address(text: str) -> str:
    if not is_address(text):
        raise ValueError(f"{text[:60]!r} is no mail address such as gate@example.org")
    return text


def _checked_secret(secret: str) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) < _LEAST_SECRET:
        raise ValueError(f"is {SECRET_PREFIX} and base64 of {_LEAST_SECRET} random bytes or more")
    return secret


Name = Annotated[str, AfterValidator(_checked_name)]
Address = Annotated[str, AfterValidator(_checked_address)]
Secret = Annotated[str, AfterValidator(_checked_secret)]
Kind = Literal["match", "unsure", "unknown", "not_registered"]
Names = Annotated[list[Name], Field(default_factory=list)]
Numbers = Annotated[list[Annotated[int, Field(ge=1)]], Field(default_factory=list)]
Seconds = Annotated[int, Field(ge=1, le=120)]
_ALL: list[Kind] = ["match", "unsure", "unknown", "not_registered"]


def _require_place(url: str, *schemes: str) -> str:
    """Raise ValueError for what is no URL of one of these schemes with a host, or one with a user or a fragment."""
    parts = urlsplit(url)
    try:
        is_place = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_place = False
    if not is_place or parts.username is not None or parts.fragment or not url.isprintable() or " " in url:
        raise ValueError(f"is no URL such as {schemes[-1]}://host:port/path, without a user")
    return url


class Receiver(TomlSection):
    """Common settings of receivers.

    Args:
        name: in `scripts.register events` and in the queue; a receiver of another name has a queue of its own.
        cameras: whose sightings it gets; empty for all sightings, those of persons among them.
        timeout_seconds: of one delivery.
        ca_file: certificates that a server's is checked against; those of the system if empty.
    """

    name: Name
    cameras: Names
    timeout_seconds: Seconds = 10
    ca_file: str = ""


class Subscriber(Receiver):
    """A receiver of events.

    Args:
        events: decisions that it gets.
        owner: whether a match holds name, flat and contact of the owner; each is a look in the trail.
    """

    events: Annotated[list[Kind], Field(min_length=1)] = _ALL
    owner: bool = False


class Webhook(Subscriber):
    """A server that gets events by HTTP POST.

    Args:
        secret: of its signatures.
    """

    url: str
    secret: Secret

    @field_validator("url")
    @classmethod
    def _web(cls, url: str) -> str:
        return _require_place(url, "http", "https")


class Broker(Subscriber):
    """A broker of MQTT.

    Args:
        topic: events are published as TOPIC/DECISION.
        user, password: at the broker; empty for none.
    """

    url: str
    topic: str = "vehicles"
    user: str = ""
    password: str = ""

    @field_validator("url")
    @classmethod
    def _mqtt(cls, url: str) -> str:
        _require_place(url, "mqtt", "mqtts")
        if urlsplit(url).path.strip("/") or urlsplit(url).query:
            raise ValueError("is no URL such as mqtts://host:port; the topic has a key of its own")
        return url

    @field_validator("topic")
    @classmethod
    def _plain(cls, topic: str) -> str:
        if not topic or len(topic) > 200 or not topic.isprintable() or any(sign in topic for sign in "+#$"):
            raise ValueError("is no topic of at most 200 characters without +, # and $")
        return topic.strip("/")


class Gate(Receiver):
    """A gate that opens by HTTP POST, for a match of an allowed vehicle alone, never for one that is denied.

    Args:
        cameras: the gate's own; one at least.
        vehicles: numbers of those that are allowed; empty for every vehicle with an owner.
        except_vehicles: numbers of those that are not.
        plate_alone: whether a match that the plate text alone decided opens: a plate can be moved or copied.
        listed: whether a plate on the list of visitors or allowed ones opens, if it was read with confidence.
        valid_seconds: age of a sighting at which it opens no more, for then the vehicle may be gone.
    """

    url: str
    secret: Secret
    cameras: Annotated[list[Name], Field(min_length=1)]
    vehicles: Numbers
    except_vehicles: Numbers
    plate_alone: bool = False
    listed: bool = False
    valid_seconds: Annotated[int, Field(ge=1, le=300)] = 10

    @field_validator("url")
    @classmethod
    def _web(cls, url: str) -> str:
        return _require_place(url, "http", "https")


class Mail(Subscriber):
    """A server that takes mail by SMTP: events to fixed addresses, one mail for each, and notes to owners.

    Args:
        url: smtps:// for TLS from the first byte, smtp:// for STARTTLS.
        starttls: False, for a server on this machine alone, sends in the clear.
        sender: address that the mails come from.
        to: addresses that get each event.
        to_owner: whether the owner of a match gets a mail, too, where the contact is a mail address.
        notes: whether notes to owners about incidents go this way.
        photo: whether the first photograph is attached; never to what an owner gets.
    """

    url: str
    starttls: bool = True
    user: str = ""
    password: str = ""
    sender: Address
    to: Annotated[list[Address], Field(default_factory=list)]
    to_owner: bool = False
    notes: bool = False
    photo: bool = False

    @field_validator("url")
    @classmethod
    def _smtp(cls, url: str) -> str:
        _require_place(url, "smtps", "smtp")
        if urlsplit(url).path.strip("/") or urlsplit(url).query:
            raise ValueError("is no URL such as smtp://host:port")
        return url

    @model_validator(mode="after")
    def _useful(self) -> "Mail":
        if not (self.to or self.to_owner or self.notes):
            raise ValueError("sends nothing to anybody: give `to`, `to_owner` or `notes`")
        if not self.starttls and urlsplit(self.url).hostname not in _HERE:
            raise ValueError("starttls = false is for a server on this machine alone")
        return self


AnyReceiver = Webhook | Broker | Gate | Mail


class Receivers(TomlSection):
    """All of the file.

    Args:
        time_zone: of times in events, such as "Europe/Berlin"; that of the machine if empty.
    """

    format: Literal[1] = 1
    time_zone: str = ""
    webhook: Annotated[list[Webhook], Field(default_factory=list)]
    mqtt: Annotated[list[Broker], Field(default_factory=list)]
    gate: Annotated[list[Gate], Field(default_factory=list)]
    mail: Annotated[list[Mail], Field(default_factory=list)]

    @field_validator("time_zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            _ = zone and zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{zone!r} is no time zone such as Europe/Berlin") from error
        return zone

    @model_validator(mode="after")
    def _once(self) -> "Receivers":
        names = [each.name for each in self.every()]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two receivers have the name {twice!r}")
        return self

    def every(self) -> "list[AnyReceiver]":
        """All receivers."""
        return [*self.webhook, *self.mqtt, *self.gate, *self.mail]


NOBODY = Receivers.model_validate({})


def read_receivers(folder: Path) -> Receivers:
    """The receivers of a register; none without a file. Raises EventsFileError, also for a file with secrets that other
    users of the machine may read."""
    path = folder / EVENTS_FILE
    if not path.exists():
        return NOBODY
    receivers = read_toml(path, Receivers, EventsFileError)
    if receivers.every():
        require_private(path, EventsFileError)
    return receivers
