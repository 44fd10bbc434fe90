"""Accounts of a register: roles, passwords, sessions of browsers, tokens of programs."""

import contextlib
import hashlib
import hmac
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select

from app.register.database import Database
from app.register.errors import NotEnrolledError, RegisterError
from app.register.records import MOST_NUMBER, get, trail
from app.register.schema import Account, Ticket, TicketUse, now
from app.register.texts import checked_name, line
from app.register.tries import Tries

SHORTEST_PASSWORD = 10
_SESSION = timedelta(hours=12)
_LONGEST_PASSWORD = 1024
_TOKEN = "token"
USE_SECONDS = 600.0  # a write a request would delay every request


class Role(IntEnum):
    """Rights of an account; each role has those of the ones before it."""

    guard = 1
    """Identify, see plate and flat, report incidents."""
    manager = 2
    """Owners, enrolment, deletion."""
    admin = 3
    """Accounts, the trail, the model and its thresholds."""


class LogInError(RegisterError):
    """Wrong name or password, or a log-in that has ended."""


@dataclass(frozen=True)
class User:
    """A user who is logged in.

    Args:
        csrf: token that a form of this session must bring; "" for a program's token, which no browser sends by itself.
    """

    name: str
    role: Role
    csrf: str = ""


class Accounts:
    """The table of accounts.

    Args:
        hasher: of passwords; Argon2id with the library's defaults (RFC 9106, low memory).
    """

    def __init__(self, database: Database, hasher: PasswordHasher | None = None) -> None:
        self.database = database
        self.hasher = hasher or PasswordHasher()
        self._nobody = self.hasher.hash(secrets.token_hex())
        self._tries = Tries()
        self._uses = Uses(database)

    def add(self, name: str, role: Role, password: str, by: str) -> Account:
        """Make an account. Raises RegisterError for a name that is taken or looks like one that is, or a short
        password."""
        checked_name(name, ())  # a password takes a while to hash
        hashed = self._hash(password)
        with self.database.writing() as session:
            name = checked_name(name, session.scalars(select(Account.name)))
            account = Account(name=name, role=role.name, password=hashed)
            session.add(account)
            session.flush()
            trail(session, by, "add account", f"account {account.id}", {"role": role.name})
            return account

    def change(
        self, account_id: int, by: str, *, role: Role | None = None, password: str = "", disabled: bool | None = None
    ) -> Account:
        """Change an account; its sessions and tokens end. Raises RegisterError if no admin would be left."""
        hashed = self._hash(password) if password else ""
        with self.database.writing() as session:
            account = get(session, Account, account_id)
            account.role = role.name if role else account.role
            account.password = hashed or account.password
            account.disabled = account.disabled if disabled is None else disabled
            session.flush()
            admins = select(func.count(Account.id)).where(Account.role == Role.admin.name, Account.disabled.is_(False))
            if not session.scalar(admins):
                raise RegisterError("the last admin cannot be taken away")
            session.execute(delete(Ticket).where(Ticket.account_id == account_id))
            details = {"role": role and role.name, "password": bool(password), "disabled": disabled}
            trail(session, by, "change account", f"account {account_id}", details)
            return account

    def all(self) -> list[Account]:
        """By number."""
        with self.database.reading() as session:
            return list(session.scalars(select(Account).order_by(Account.id)))

    def log_in(self, name: str, password: str, address: str) -> str:
        """The secret of a new session. Raises LogInError, or TooManyTriesError when within five minutes five log-ins
        of a name from one address failed, or fifty of a name, or thirty from an address.

        It takes 64 MiB and a processor: callers keep the number at once small."""
        self._tries.count(name, address)
        account = None
        if name.isprintable():  # no account has another name, and PostgreSQL takes no NUL
            try:
                with self.database.reading() as session:
                    account = session.scalar(select(Account).where(Account.name == name))
            except RegisterError:  # a database that is away must not lock people out
                self._tries.uncount(name, address)
                raise
        # An unknown name takes as long as a wrong password.
        right = self._verify(account.password if account else self._nobody, password)
        if account is None or account.disabled or not right:
            with self.database.writing() as session:
                trail(session, "", "refuse log-in", f"account {account.id}" if account else "", {})
            raise LogInError("name and password do not belong together")
        self._tries.uncount(name, address)
        return self._ticket(account.id, account.name, "session", "", _SESSION)

    def log_out(self, secret: str) -> None:
        """End a session."""
        with self.database.writing() as session:
            session.execute(delete(Ticket).where(Ticket.digest == _digest(secret)))

    def new_token(self, name: str, label: str, days: int, by: str) -> str:
        """The secret of a token for a program, with the rights of the account; it is shown once. Raises
        NotEnrolledError, and RegisterError for an impossible term."""
        if not 1 <= days <= 3650:
            raise RegisterError("a token lasts 1 to 3650 days")
        label = line("label", label)
        with self.database.reading() as session:
            account = session.scalar(select(Account).where(Account.name == name))
        if account is None:
            raise NotEnrolledError(f"there is no account {name!r}")
        return self._ticket(account.id, by, "token", label, timedelta(days=days))

    def who(self, secret: str, kind: str) -> User:
        """The user of a session or a token. Raises LogInError for an unknown or expired secret."""
        with self.database.reading() as session:
            ticket = session.scalar(select(Ticket).where(Ticket.digest == _digest(secret), Ticket.kind == kind))
            if ticket is None or ticket.expires < now() or ticket.account.disabled:
                raise LogInError("log in first")
            csrf = csrf_of(secret) if kind == "session" else ""
            user = User(ticket.account.name, Role[ticket.account.role], csrf)
        if kind == "token":
            self._uses.note(ticket.id)
        return user

    def _ticket(self, account_id: int, by: str, kind: str, label: str, term: timedelta) -> str:
        secret = secrets.token_urlsafe(32)
        with self.database.writing() as session:
            session.execute(delete(Ticket).where(Ticket.expires < now()))
            ticket = Ticket(account_id=account_id, digest=_digest(secret), kind=kind, label=label, expires=now() + term)
            session.add(ticket)
            trail(session, by, "log in" if kind == "session" else "make token", f"account {account_id}", {})
        return secret

    def _hash(self, password: str) -> str:
        if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            raise RegisterError(f"a password has {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} letters")
        return self.hasher.hash(password)

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self.hasher.verify(hashed, password[:_LONGEST_PASSWORD])
        except (VerificationError, InvalidHashError):
            return False


def csrf_of(secret: str) -> str:
    """Token that forms of a session must bring: derived from the session's secret, which scripts cannot read."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def masked(token: str) -> str:
    """The token of forms, or "" for none, as a page holds it, under a mask that is new in each page: the size of a
    compressed page discloses nothing of it."""
    plain = bytes.fromhex(token)
    mask = secrets.token_bytes(len(plain))
    return (mask + _changed(plain, mask)).hex()


def unmasked(given: str) -> str:
    """The token that a page held; "" for anything else."""
    try:
        both = bytes.fromhex(given)
    except ValueError:
        return ""
    half = len(both) // 2
    return _changed(both[:half], both[half:]).hex() if len(both) == 2 * half else ""


def _changed(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


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
