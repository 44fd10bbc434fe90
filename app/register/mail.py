"""Delivery of an event by mail: SMTP, by TLS or STARTTLS; it counts as delivered when the server accepted the mail.

A mail that is sent twice, because a process was killed in between, has the same Message-ID.
"""

import contextlib
import json
import smtplib
from collections.abc import Mapping
from datetime import datetime
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.register.receivers import Mail
from app.register.webhook import DeliveryError, LaterError, RefusedEventError, reason, tls

_TOO_LARGE = 552  # RFC 1870
_PORTS = {"smtp": 587, "smtps": 465}
NOTE = "note"
"""Kind of an event that is a note to an owner about an incident."""
_SUBJECTS = {
    "match": "Vehicle recognised",
    "unsure": "A vehicle has to be compared",
    "unknown": "Unknown vehicle",
    "not_registered": "Vehicle that is not registered",
    "test": "Test",
}
_KINDS = {"deny": "No entry", "visitor": "Visitor", "allow": "Allowed"}


class MailSender:
    """Sends events as mails. Implements `Sender`.

    Args:
        photos: folder of the register's images; None attaches none.
    """

    def __init__(self, mail: Mail, photos: Path | None = None) -> None:
        self.mail, self.photos = mail, photos
        parts = urlsplit(mail.url)
        self._host, self._port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
        self._is_tls = parts.scheme == "smtps"

    def send(self, key: str, kind: str, body: str) -> None:
        """Deliver an event. Raises RefusedEventError for an address, or a mail, that the server never takes, and
        DeliveryError for what may pass."""
        news = json.loads(body)
        if not (addresses := [news["to"]] if "to" in news else self.mail.to):
            raise DeliveryError(f"{self.mail.name} has no address to try: give `to` in events.toml")
        message = mail_of(key, kind, news, self.mail.sender, self.photos)
        message["To"] = ", ".join(addresses)
        place = f"{self._host}:{self._port}"
        try:
            server = self._connected()
        except smtplib.SMTPNotSupportedError as error:
            raise DeliveryError(
                f"{place} speaks no STARTTLS or takes no user, and nothing is sent in the clear"
            ) from error
        except smtplib.SMTPAuthenticationError as error:
            raise DeliveryError(f"{place} refuses user or password: {error.smtp_code}") from error
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise DeliveryError(f"{place}: {reason(error)}") from error
        try:
            server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:  # the server's words may hold the address
            code = max(code for code, _ in error.recipients.values())
            raise _failed(code, f"{place} answered {code} to the address") from error
        except smtplib.SMTPDataError as error:
            raise _failed(error.smtp_code, f"{place} answered {error.smtp_code} to the mail") from error
        except smtplib.SMTPSenderRefused as error:
            words = f"{place} answered {error.smtp_code} to the sender"
            raise (RefusedEventError if error.smtp_code == _TOO_LARGE else DeliveryError)(words) from error
        except smtplib.SMTPResponseException as error:
            raise DeliveryError(f"{place} answered {error.smtp_code}") from error
        except MessageError as error:
            raise RefusedEventError(f"the mail cannot be written: {error}") from error
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise DeliveryError(f"{place}: {reason(error)}") from error
        finally:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                server.quit()

    def _connected(self) -> smtplib.SMTP:
        mail = self.mail
        about: dict[str, Any] = {"timeout": mail.timeout_seconds, "local_hostname": mail.sender.partition("@")[2]}
        if self._is_tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, context=tls(mail.ca_file), **about)
        else:
            server = smtplib.SMTP(self._host, self._port, **about)
        try:
            if not self._is_tls and mail.starttls:
                server.starttls(context=tls(mail.ca_file))
            if mail.user:
                server.login(mail.user, mail.password)
        except BaseException:
            server.close()
            raise
        return server

    def close(self) -> None:
        """Nothing stays open between events."""


def _failed(code: int, words: str) -> DeliveryError:
    return RefusedEventError(words) if 500 <= code < 600 else LaterError(words)


def mail_of(key: str, kind: str, news: Mapping[str, Any], sender: str, photos: Path | None) -> EmailMessage:
    """The mail of an event, in plain words."""
    message = EmailMessage()
    message["From"] = sender
    message["Subject"] = _subject(kind, news)
    message["Date"] = format_datetime(datetime.fromisoformat(news["time"]))
    message["Message-ID"] = f"<{key}@{sender.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    to_owner = kind == NOTE or news.get("to_owner")
    message.set_content(_to_owner(kind, news) if to_owner else _to_office(kind, news))
    picture = photos / news["picture"] if photos and "picture" in news else None
    if picture is not None and picture.is_file():
        message.add_attachment(picture.read_bytes(), maintype="image", subtype="jpeg", filename="photograph.jpg")
    return message


def _subject(kind: str, news: Mapping[str, Any]) -> str:
    plate = news.get("plate") or news.get("plate_text") or news.get("camera_plate")
    if kind == NOTE or news.get("to_owner"):
        return _header(f"Your vehicle {plate}" if plate else "Your vehicle")
    listed = [_KINDS[each["kind"]] for each in news.get("listed", []) if each["exact"]]
    return _header(": ".join(filter(None, (listed[0] if listed else "", _SUBJECTS.get(kind, kind), plate))))


def _to_owner(kind: str, news: Mapping[str, Any]) -> str:
    plate, when = news.get("plate"), _when(news["time"])
    its = f"your vehicle with the plate {plate}" if plate else "your vehicle"
    if kind != NOTE:
        where = f" at {news['place'] or news['camera']}" if news.get("camera") else ""
        return f"{its[0].upper()}{its[1:]} was seen{where}: {when}.\n"
    text = f"\n{news['text']}\n" if news["text"] else ""
    return f"An incident was reported about {its}: {when}, {news['incident_kind']}.\n{text}"


def _to_office(kind: str, news: Mapping[str, Any]) -> str:
    owner = news.get("owner")
    place = f" ({news['place']})" if news.get("place") else ""
    lines = {
        "Answer": _SUBJECTS.get(kind, kind),
        "Time": _when(news["time"]),
        "Camera": news.get("camera") and f"{news['camera']}{place}",
        "Plate": news.get("plate"),
        "Plate read": news.get("plate_text"),
        "Plate read by the camera": news.get("camera_plate"),
        "Vehicle": news.get("vehicle"),
        "Tags": ", ".join(news.get("tags", [])),
        "Owner": owner and ", ".join(filter(None, (owner["name"], owner["flat"], owner["contact"]))),
        "Sighting": news.get("sighting"),
    }
    listed = [_listed(each) for each in news.get("listed", [])]
    return "\n".join([*listed, *(f"{name}: {value}" for name, value in lines.items() if value), ""])


def _listed(entry: Mapping[str, Any]) -> str:
    flat = f" of flat {entry['flat']}" if entry["flat"] else ""
    until = f" until {_when(entry['ends'])}" if entry["ends"] else ""
    why = f" ({_one_line(entry['reason'])})" if entry["reason"] else ""
    maybe = "" if entry["exact"] else " may be; please compare the plate"
    return f"{_KINDS[entry['kind']]}{flat}{until}{why}{maybe}"


def _when(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M")


def _header(text: str) -> str:
    """One line without encoded words (RFC 2047), which `email` would decode, line ends among them."""
    return _one_line(text).replace("=?", "= ?")


def _one_line(text: str) -> str:
    return " ".join(text.split())
