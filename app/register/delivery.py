"""Delivery of a register's events to their receivers, in order for each, in threads beside other work.

An event is taken out of the outbox after its receiver acknowledged it: a process that is killed in between delivers it
once more, with the same id. One process at a time delivers the events of a register.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from app.core.outage import Outage
from app.register.errors import RegisterError
from app.register.mail import MailSender
from app.register.mqtt import BrokerSender, require_mqtt
from app.register.outbox import Outbox, is_expired
from app.register.receivers import AnyReceiver, Broker, Mail, Receivers
from app.register.webhook import DeliveryError, LaterError, RefusedEventError, WebhookSender
from models.errors import FedVehicleReidError

_log = logging.getLogger(__name__)
_POLL = 0.25  # seconds between two looks at the outbox
_LOCKED = 2.0  # seconds between two tries to become the process that delivers
_LOOK = 1.0  # seconds between two looks at the file of receivers
_AT_ONCE = 50  # events read at once
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


class Sender(Protocol):
    """A way to a receiver."""

    def send(self, key: str, kind: str, body: str) -> None:
        """Deliver an event. Raises DeliveryError."""

    def close(self) -> None:
        """Let connections go."""


def make_sender(receiver: AnyReceiver, folder: Path | None = None) -> Sender:
    """The way to a receiver. The folder is that of the register, for photographs that are attached."""
    if isinstance(receiver, Mail):
        return MailSender(receiver, folder and folder / "pictures")
    return BrokerSender(receiver) if isinstance(receiver, Broker) else WebhookSender(receiver)


def require_deliverable(receivers: Receivers) -> None:
    """Raise MissingPackageError where a package is missing that a receiver needs."""
    if receivers.mqtt:
        require_mqtt()


class Line:
    """Events of one receiver, one after the other.

    Args:
        first_pause: seconds after a failure; each further one doubles them, up to `LONGEST_PAUSE`.
    """

    def __init__(self, outbox: Outbox, receiver: AnyReceiver, sender: Sender, first_pause: float = FIRST_PAUSE) -> None:
        self.outbox, self.receiver, self.sender = outbox, receiver, sender
        self.done = 0
        self._outage = Outage(
            f"events: {receiver.name}", _log, "they are kept and sent later", first_pause, LONGEST_PAUSE
        )
        self._seen: dict[int, float] = {}  # when an event was first seen, by time.monotonic()

    def deliver(self, stopped: threading.Event) -> None:
        """Deliver what waits, until the queue is empty. Raises DeliveryError for the first event that failed, which
        stays; after a LaterError those behind it are delivered first."""
        while not stopped.is_set() and (events := self.outbox.waiting(self.receiver.name, _AT_ONCE)):
            for event in events:
                self._seen.setdefault(event.id, time.monotonic())
            later: LaterError | None = None
            for event in events:
                if stopped.is_set():
                    break
                if is_expired(event, time.monotonic() - self._seen[event.id]):
                    _log.warning("events: %s: expired: sighting %d", self.receiver.name, event.sighting_id)
                    self.outbox.give_up(event, "event expired")
                    continue
                try:
                    self.sender.send(event.key, event.kind, event.body)
                except RefusedEventError as error:
                    _log.warning("events: %s: sighting %d: %s", self.receiver.name, event.sighting_id, error)
                    self.outbox.give_up(event, "event refused")
                    continue
                except LaterError as error:
                    self.outbox.failed(event.id, str(error))
                    later = error
                    continue
                except DeliveryError as error:
                    self.outbox.failed(event.id, str(error))
                    raise
                self.outbox.delivered(event.id)
                self._seen.pop(event.id, None)
                self.done += 1
                self._outage.over()
            if later is not None:  # those behind it went; it is tried again after the pause
                raise later
        self._seen.clear()

    def run(self, stopped: threading.Event) -> None:
        """Deliver what comes until it is stopped."""
        while not stopped.wait(self._outage.pause or _POLL):
            try:
                self.deliver(stopped)
                self._outage.over()
            except (FedVehicleReidError, OSError) as error:  # the receiver, or the database, is away
                self._outage.failed(error)
        self.sender.close()


class Delivery:
    """The threads that deliver, from now until `stop`. They follow changes of the file of receivers.

    Args:
        folder: of the register.
        sender, first_pause: see `Line`.

    Raises EventsFileError for a file of receivers that cannot be used, MissingPackageError."""

    def __init__(
        self,
        outbox: Outbox,
        folder: Path,
        sender: Callable[[AnyReceiver, Path], Sender] = make_sender,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        require_deliverable(outbox.receivers())
        self.outbox, self._sender, self._first_pause = outbox, sender, first_pause
        self._lock = lock_of(folder)
        self._outage = Outage("events", _log, "they are kept and sent later", _LOCKED)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it; a delivery that is under way is waited for."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            try:
                with self._lock.acquire(timeout=0):
                    while not self._stopped.is_set():
                        self._follow(self.outbox.receivers())
            except Timeout:  # another process of this register delivers
                pause = _LOCKED
            except (FedVehicleReidError, OSError) as error:  # the folder is away
                pause = self._outage.failed(error)

    def _follow(self, receivers: Receivers) -> None:
        """Deliver to these receivers until they change."""
        ended = threading.Event()
        lines = [
            Line(self.outbox, each, self._sender(each, self.outbox.folder), self._first_pause)
            for each in receivers.every()
        ]
        threads = [threading.Thread(target=line.run, args=(ended,), name="events", daemon=True) for line in lines]
        for thread in threads:
            thread.start()
        try:
            while not self._stopped.wait(_LOOK) and self.outbox.receivers() is receivers:
                self._outage.over()
        finally:  # without the lock, nothing is delivered
            ended.set()
            for thread in threads:
                thread.join()


def lock_of(folder: Path) -> FileLock:
    """Held by the process that delivers the events of a register."""
    return FileLock(folder / ".events.lock", thread_local=False, fallback_to_soft=False)


def deliver_now(outbox: Outbox, folder: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Deliver all that waits, once: events delivered, and errors, by receiver. Raises RegisterError if another process
    delivers."""
    require_deliverable(outbox.receivers())
    try:
        with lock_of(folder).acquire(timeout=0):
            return _once(outbox)
    except Timeout as error:
        raise RegisterError(f"another process delivers the events of {folder}") from error


def _once(outbox: Outbox) -> tuple[dict[str, int], dict[str, str]]:
    done, failed = dict[str, int](), dict[str, str]()
    for receiver in outbox.receivers().every():
        sender = make_sender(receiver, outbox.folder)
        line = Line(outbox, receiver, sender)
        try:
            line.deliver(threading.Event())
        except DeliveryError as error:
            failed[receiver.name] = str(error)
        finally:
            sender.close()
        done[receiver.name] = line.done
    return done, failed
