"""Accounts of a register: roles, passwords, sessions of browsers, tokens of programs."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select

from app.register.database import Database
from app.register.errors import NotEnrolledError, RegisterError
from app.register.records import get, trail
from app.register.schema import Account, Ticket, now
from app.register.texts import checked_name, line
from app.register.tokens import Uses
from app.register.tries import Tries

SHORTEST_PASSWORD = 10
_SESSION = timedelta(hours=12)
_LONGEST_PASSWORD = 1024


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
        self,
        account_id: int,
        by: str,
        *,
        role: Role | None = None,
        password: str = "",
        disabled: bool | None = None,
        keep: str = "",
    ) -> Account:
        """Change an account; its sessions and tokens end. Raises RegisterError if no admin would be left.

        Args:
            keep: secret of a session that does not end.
        """
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
            ended = (Ticket.account_id == account_id) & (Ticket.digest != _digest(keep))
            session.execute(delete(Ticket).where(ended))
            details = {"role": role and role.name, "password": bool(password), "disabled": disabled}
            trail(session, by, "change account", f"account {account_id}", details)
            return account

    def change_password(self, account_id: int, by: str, password: str) -> Account:
        """Set a password; "" is one that is too short. Raises and ends as `change` does."""
        self._require_length(password)
        return self.change(account_id, by, password=password)

    def change_own_password(self, name: str, old: str, new: str, address: str, keep: str) -> None:
        """Change the password of somebody who knows the old one; sessions but `keep`, and tokens, end. Raises as
        `log_in` does, and RegisterError for a new password that is too short or the old one."""
        self._require_length(new)
        account = self._checked(name, old, address, "refuse password", "the old password is not right")
        if new == old:
            raise RegisterError("the new password is the old one")
        self.change(account.id, name, password=new, keep=keep)

    def all(self) -> list[Account]:
        """By number."""
        with self.database.reading() as session:
            return list(session.scalars(select(Account).order_by(Account.id)))

    def log_in(self, name: str, password: str, address: str) -> str:
        """The secret of a new session. Raises LogInError, or TooManyTriesError when within five minutes five log-ins
        of a name from one address failed, or fifty of a name, or thirty from an address.

        It takes 64 MiB and a processor: callers keep the number at once small."""
        account = self._checked(name, password, address, "refuse log-in", "name and password do not belong together")
        return self._ticket(account.id, account.name, "session", "", _SESSION, checked=account.password)

    def _checked(self, name: str, password: str, address: str, action: str, refusal: str) -> Account:
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
                trail(session, "", action, f"account {account.id}" if account else "", {})
            raise LogInError(refusal)
        self._tries.uncount(name, address)
        return account

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

    def _ticket(self, account_id: int, by: str, kind: str, label: str, term: timedelta, checked: str = "") -> str:
        secret = secrets.token_urlsafe(32)
        with self.database.writing() as session:
            if checked and get(session, Account, account_id).password != checked:  # it was changed meanwhile
                raise LogInError("name and password do not belong together")
            session.execute(delete(Ticket).where(Ticket.expires < now()))
            ticket = Ticket(account_id=account_id, digest=_digest(secret), kind=kind, label=label, expires=now() + term)
            session.add(ticket)
            trail(session, by, "log in" if kind == "session" else "make token", f"account {account_id}", {})
        return secret

    def _require_length(self, password: str) -> None:
        if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            raise RegisterError(f"a password has {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} letters")

    def _hash(self, password: str) -> str:
        self._require_length(password)
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
