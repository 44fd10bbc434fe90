"""Tokens of programs: listed, revoked one by one, and when each was last used."""

import contextlib
import threading
import time
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from app.register.database import Database
from app.register.errors import NotEnrolledError, RegisterError
from app.register.records import MOST_NUMBER, trail
from app.register.schema import Account, Ticket, TicketUse, now

_TOKEN = "token"
USE_SECONDS = 600.0  # a write a request would delay every request


@dataclass(frozen=True)
class Token:
    """A token without its secret, which nobody keeps.

    Args:
        id: by which it is revoked.
        used: when it was last used, to ten minutes; None if never.
    """

    id: int
    account: str
    label: str
    created: datetime
    expires: datetime
    used: datetime | None


class Tokens:
    """The tokens of a register's accounts."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def all(self, account: str | None = None) -> list[Token]:
        """Valid tokens by number: of one account, or of all."""
        query = (
            select(Ticket, Account.name, TicketUse.used)
            .join(Account, Ticket.account_id == Account.id)
            .outerjoin(TicketUse, TicketUse.ticket_id == Ticket.id)
            .where(Ticket.kind == _TOKEN, Ticket.expires >= now())
            .order_by(Ticket.id)
        )
        with self.database.reading() as session:
            rows = session.execute(query if account is None else query.where(Account.name == account))
            return [Token(row.id, name, row.label, row.created, row.expires, used) for row, name, used in rows]

    def revoke(self, number: int, by: str, account: str | None = None) -> None:
        """End one token at once; others stay. Raises NotEnrolledError if there is none of this number.

        Args:
            account: whose it must be; None for anybody's.
        """
        with self.database.writing() as session:
            ticket = session.get(Ticket, number) if 0 < number <= MOST_NUMBER else None
            if ticket is None or ticket.kind != _TOKEN or account not in (None, ticket.account.name):
                raise NotEnrolledError(f"there is no token {number}")
            session.delete(ticket)
            trail(session, by, "revoke token", f"account {ticket.account_id}", {"token": number})


class Uses:
    """Last uses of tokens. A use that cannot be written is lost, and no request fails for it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._lock = threading.Lock()
        self._noted: dict[int, float] = {}

    def note(self, ticket_id: int) -> None:
        """Record a use of a token now."""
        moment = time.monotonic()
        with self._lock:
            if moment - self._noted.get(ticket_id, -USE_SECONDS) < USE_SECONDS:
                return
            self._noted[ticket_id] = moment
        with contextlib.suppress(RegisterError), self.database.writing() as session:
            if session.get(Ticket, ticket_id) is not None:  # revoked meanwhile
                session.merge(TicketUse(ticket_id=ticket_id, used=now()))
