"""Passwords, sessions, tokens, and what too many failures bring."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from app.registry import accounts as module
from app.registry.accounts import Accounts, RefusedError, Role, TooManyTriesError
from app.registry.errors import NotEnrolledError, RegisterError
from app.registry.schema import Account, Base, Ticket, now

WORD = "correct horse battery"


@pytest.fixture
def accounts(register):
    """An admin and a guard; hashing that takes no time."""
    accounts = Accounts(register.database, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    accounts.add("Ada", Role.admin, WORD, "setup")
    accounts.add("Gus", Role.guard, WORD + "!", "Ada")
    return accounts


def test_a_session_says_who_it_is_until_it_ends(accounts):
    secret = accounts.log_in("Gus", WORD + "!", "10.0.0.1")
    user = accounts.who(secret, "session")
    assert (user.name, user.role) == ("Gus", Role.guard)
    assert len(user.csrf) == 64
    assert accounts.log_in("Gus", WORD + "!", "10.0.0.1") != secret
    accounts.log_out(secret)
    with pytest.raises(RefusedError):
        accounts.who(secret, "session")


@pytest.mark.parametrize(("name", "password"), [("Gus", WORD), ("gus", WORD + "!"), ("Nobody", WORD), ("", "")])
def test_name_and_password_belong_together(accounts, name, password):
    with pytest.raises(RefusedError, match="do not belong together"):
        accounts.log_in(name, password, "10.0.0.1")


def test_five_failures_close_a_name_from_an_address_for_a_while(accounts, monkeypatch):
    for _ in range(5):
        with pytest.raises(RefusedError):
            accounts.log_in("Gus", "wrong", "10.0.0.1")
    with pytest.raises(TooManyTriesError):
        accounts.log_in("Gus", WORD + "!", "10.0.0.1")
    accounts.log_in("Gus", WORD + "!", "10.0.0.2")  # somebody else cannot lock him out
    accounts.log_in("Ada", WORD, "10.0.0.1")
    monkeypatch.setattr(module, "_WINDOW_SECONDS", -1.0)
    accounts.log_in("Gus", WORD + "!", "10.0.0.1")


def test_tries_at_the_same_time_count_as_well(accounts):
    def log_in(_):
        try:
            accounts.log_in("Gus", "wrong", "10.0.0.1")
        except (RefusedError, TooManyTriesError) as error:
            return type(error)

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(log_in, range(12)))
    assert (found.count(RefusedError), found.count(TooManyTriesError)) == (5, 7)


def test_log_ins_that_succeed_are_no_tries(accounts):
    for _ in range(60):
        accounts.log_in("Gus", WORD + "!", "10.0.0.1")


def test_thirty_failures_close_an_address(accounts):
    for number in range(30):
        with pytest.raises(RefusedError):
            accounts.log_in(f"name {number}", "wrong", "10.0.0.1")
    with pytest.raises(TooManyTriesError):
        accounts.log_in("Ada", WORD, "10.0.0.1")
    accounts.log_in("Ada", WORD, "10.0.0.2")


def test_a_token_is_no_session_and_ends_with_its_term(accounts, register):
    secret = accounts.new_token("Gus", "gate camera", 1, "root (command line)")
    assert accounts.who(secret, "token").csrf == ""
    with pytest.raises(RefusedError):
        accounts.who(secret, "session")
    with register.database.writing() as session:
        session.scalar(select(Ticket)).expires = now() - timedelta(seconds=1)
    with pytest.raises(RefusedError):
        accounts.who(secret, "token")
    with pytest.raises(NotEnrolledError):
        accounts.new_token("Nobody", "", 1, "Ada")
    with pytest.raises(RegisterError, match="1 to 3650"):
        accounts.new_token("Gus", "", 0, "Ada")


def test_a_change_ends_sessions_and_tokens(accounts):
    number = next(row.id for row in accounts.all() if row.name == "Gus")
    secrets = [accounts.log_in("Gus", WORD + "!", "a"), accounts.new_token("Gus", "", 1, "Gus")]
    accounts.change(number, "Ada", role=Role.manager)
    for secret, kind in zip(secrets, ("session", "token"), strict=True):
        with pytest.raises(RefusedError):
            accounts.who(secret, kind)
    assert accounts.who(accounts.log_in("Gus", WORD + "!", "a"), "session").role is Role.manager
    accounts.change(number, "Ada", disabled=True)
    with pytest.raises(RefusedError):
        accounts.log_in("Gus", WORD + "!", "a")


def test_the_last_admin_stays(accounts):
    ada = next(row.id for row in accounts.all() if row.name == "Ada")
    for change in ({"role": Role.guard}, {"disabled": True}):
        with pytest.raises(RegisterError, match="last admin"):
            accounts.change(ada, "Ada", **change)
    assert accounts.who(accounts.log_in("Ada", WORD, "a"), "session").role is Role.admin


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("Gus", WORD, "already"),
        ("New", "short", "10 to 1024"),
        (" ", WORD, "a name"),
        ("x" * 65, WORD, "a name"),
        ("a (b)", WORD, "a name"),
    ],
)
def test_accounts_that_cannot_be_made(accounts, name, password, reason):
    with pytest.raises(RegisterError, match=reason):
        accounts.add(name, Role.guard, password, "Ada")


def test_no_secret_stands_in_the_tables(accounts, register):
    secrets = [WORD, accounts.log_in("Ada", WORD, "a"), accounts.new_token("Ada", "", 1, "Ada")]
    with register.database.reading() as session:
        text = "\n".join(str(row) for table in Base.metadata.sorted_tables for row in session.execute(select(table)))
        assert session.scalar(select(Account.password)).startswith("$argon2id$")
    assert not any(secret in text for secret in secrets)
