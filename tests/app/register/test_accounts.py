"""Passwords, sessions, tokens, and what too many failures bring."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from app.register import tries as module
from app.register.accounts import Accounts, LogInError, Role
from app.register.errors import NotEnrolledError, RegisterError
from app.register.schema import Account, Base, Ticket, now
from app.register.tokens import Tokens
from app.register.tries import TooManyTriesError, site_of

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
    with pytest.raises(LogInError):
        accounts.who(secret, "session")


@pytest.mark.parametrize(("name", "password"), [("Gus", WORD), ("gus", WORD + "!"), ("Nobody", WORD), ("", "")])
def test_name_and_password_belong_together(accounts, name, password):
    with pytest.raises(LogInError, match="do not belong together"):
        accounts.log_in(name, password, "10.0.0.1")


def test_five_failures_close_a_name_from_an_address_for_a_while(accounts, monkeypatch):
    for _ in range(5):
        with pytest.raises(LogInError):
            accounts.log_in("Gus", "wrong", "10.0.0.1")
    with pytest.raises(TooManyTriesError):
        accounts.log_in("Gus", WORD + "!", "10.0.0.1")
    accounts.log_in("Gus", WORD + "!", "10.0.0.2")  # somebody else cannot lock him out
    accounts.log_in("Ada", WORD, "10.0.0.1")
    monkeypatch.setattr(module, "WINDOW_SECONDS", -1.0)
    accounts.log_in("Gus", WORD + "!", "10.0.0.1")


def test_tries_at_the_same_time_count_as_well(accounts):
    def log_in(_):
        try:
            accounts.log_in("Gus", "wrong", "10.0.0.1")
        except (LogInError, TooManyTriesError) as error:
            return type(error)

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(log_in, range(12)))
    assert (found.count(LogInError), found.count(TooManyTriesError)) == (5, 7)


def test_log_ins_that_succeed_are_no_tries(accounts):
    for _ in range(60):
        accounts.log_in("Gus", WORD + "!", "10.0.0.1")


def test_thirty_failures_close_an_address(accounts):
    for number in range(30):
        with pytest.raises(LogInError):
            accounts.log_in(f"name {number}", "wrong", "10.0.0.1")
    with pytest.raises(TooManyTriesError):
        accounts.log_in("Ada", WORD, "10.0.0.1")
    accounts.log_in("Ada", WORD, "10.0.0.2")


@pytest.mark.parametrize("key", ["{address}", "{name} from {address}", "('{name}', '{address}')", "{name}"])
def test_a_name_that_looks_like_another_key_locks_nobody_out(accounts, key):
    """Strangers log in from everywhere with a name that looks like an address, or like a guard at an address."""
    name = key.format(name="Gus", address="127.0.50.1")
    for number in range(4 if name == "Gus" else 60):
        with pytest.raises((LogInError, TooManyTriesError)):
            accounts.log_in(name, "wrong", f"10.0.{number}.1")
    assert accounts.who(accounts.log_in("Gus", WORD + "!", "127.0.50.1"), "session").name == "Gus"


def test_an_address_of_a_network_counts_as_the_network(accounts):
    """Whoever has one IPv6 address has 2^64 of them."""
    for number in range(30):
        with pytest.raises(LogInError):
            accounts.log_in(f"name {number}", "wrong", f"2001:db8:1:2::{number:x}")
    with pytest.raises(TooManyTriesError) as refused:
        accounts.log_in("Ada", WORD, "2001:db8:1:2:ffff::1")
    assert 290 <= refused.value.retry_after <= 300
    accounts.log_in("Ada", WORD, "2001:db8:1:3::1")
    assert [site_of(a) for a in ("::ffff:10.0.0.1", "10.0.0.1", "gate")] == ["10.0.0.1", "10.0.0.1", "gate"]


def test_one_token_ends_and_the_others_stay(accounts, register):
    tokens = Tokens(register.database)
    camera, barrier = (accounts.new_token("Gus", label, 30, "Ada") for label in ("camera", "barrier"))
    session = accounts.log_in("Gus", WORD + "!", "10.0.0.1")
    accounts.new_token("Ada", "hers", 30, "Ada")
    accounts.who(camera, "token")
    first, second = tokens.all("Gus")
    assert [(row.label, row.account, row.used is None) for row in (first, second)] == [
        ("camera", "Gus", False),
        ("barrier", "Gus", True),
    ]
    assert abs((now() - first.used).total_seconds()) < 60
    with pytest.raises(NotEnrolledError):
        tokens.revoke(first.id, "Ada", account="Ada")  # not hers
    tokens.revoke(first.id, "Gus", account="Gus")
    with pytest.raises(LogInError):
        accounts.who(camera, "token")
    assert accounts.who(barrier, "token").name == accounts.who(session, "session").name == "Gus"
    assert [row.label for row in tokens.all()] == ["barrier", "hers"]
    for number in (first.id, 0, -1, 2**31, 2**63, 10**30):
        with pytest.raises(NotEnrolledError, match="there is no token"):
            tokens.revoke(number, "Ada")


def test_a_session_is_no_token_to_be_revoked(accounts, register):
    secret = accounts.log_in("Gus", WORD + "!", "10.0.0.1")
    with register.database.reading() as session:
        number = session.scalar(select(Ticket.id))
    with pytest.raises(NotEnrolledError):
        Tokens(register.database).revoke(number, "Ada")
    assert accounts.who(secret, "session").name == "Gus"


def test_a_token_is_no_session_and_ends_with_its_term(accounts, register):
    secret = accounts.new_token("Gus", "gate camera", 1, "root (command line)")
    assert accounts.who(secret, "token").csrf == ""
    with pytest.raises(LogInError):
        accounts.who(secret, "session")
    with register.database.writing() as session:
        session.scalar(select(Ticket)).expires = now() - timedelta(seconds=1)
    with pytest.raises(LogInError):
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
        with pytest.raises(LogInError):
            accounts.who(secret, kind)
    assert accounts.who(accounts.log_in("Gus", WORD + "!", "a"), "session").role is Role.manager
    accounts.change(number, "Ada", disabled=True)
    with pytest.raises(LogInError):
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
        ("a\nb", WORD, "a name"),
        ("a\x1b[2Jb", WORD, "a name"),
        ("a \uff08command line\uff09", WORD, "a name"),  # full-width brackets
        ("G\u3164us", WORD, "a name"),
        ("G\u00adus", WORD, "a name"),
        ("gus", WORD, r"the name 'gus' looks like that of the account 'Gus'; choose another"),
        ("\uff27\uff35\uff33", WORD, "looks like that of the account 'Gus'"),
        ("\u0262us", WORD, "looks like that of the account 'Gus'"),  # a small capital
        ("\u0261us", WORD, "looks like that of the account 'Gus'"),  # a script letter
        ("G\u1d1cs", WORD, "looks like that of the account 'Gus'"),
        ("Gu\u0455", WORD, "mixes letters of Latin and Cyrillic, which look alike"),
        ("G\u03c5s", WORD, "mixes letters of Latin and Greek"),
        ("\u0410d\u03b1", WORD, "mixes letters of Latin and Cyrillic and Greek"),
        ("\u0410\u0501\u0430", WORD, "looks like that of the account 'Ada'"),  # all Cyrillic
        ("Gus\ufe0f", WORD, "looks like that of the account 'Gus'"),
    ],
)
def test_accounts_that_cannot_be_made(accounts, name, password, reason):
    with pytest.raises(RegisterError, match=reason):
        accounts.add(name, Role.guard, password, "Ada")


@pytest.mark.parametrize("other", ["gate1", "gatel", "gate 01", "gate O1", "\u0441\u043e\u0440", "\u0421\u041e\u0420"])
def test_names_that_differ_in_a_look_alike_are_refused(accounts, other):
    for name in ("gateI", "gate  0l", "cop"):
        accounts.add(name, Role.guard, WORD, "Ada")
    with pytest.raises(RegisterError, match="looks like that of the account"):
        accounts.add(other, Role.guard, WORD, "Ada")


def test_names_of_people_are_taken_and_old_ones_that_look_alike_go_on(accounts, register):
    for name in ("José", "Jose", "Иван", "Γιώργος", "李雷", "gate 2", "gate 3", "Ada Gus"):
        accounts.add(name, Role.guard, WORD, "Ada")
        assert accounts.who(accounts.log_in(name, WORD, "a"), "session").name == name
    old = ("gus", "Gu\u0455", "G\u3164us")  # of before such names were refused
    with register.database.writing() as session:
        password = accounts.all()[0].password
        session.add_all(Account(name=name, role="guard", password=password) for name in old)
    for name in old:
        assert accounts.who(accounts.log_in(name, WORD, "a"), "session").name == name
        accounts.change(next(row.id for row in accounts.all() if row.name == name), "Ada", password=WORD + "?")
        assert accounts.who(accounts.log_in(name, WORD + "?", "a"), "session").name == name
    with pytest.raises(LogInError):
        accounts.log_in("Gus\x00", WORD + "!", "a")


def test_no_secret_stands_in_the_tables(accounts, register):
    secrets = [WORD, accounts.log_in("Ada", WORD, "a"), accounts.new_token("Ada", "", 1, "Ada")]
    with register.database.reading() as session:
        text = "\n".join(str(row) for table in Base.metadata.sorted_tables for row in session.execute(select(table)))
        assert session.scalar(select(Account.password)).startswith("$argon2id$")
    assert not any(secret in text for secret in secrets)
