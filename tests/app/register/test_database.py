"""URLs of databases: one line names the setting and what is wrong, and never the password."""

import pytest

from app.register.database import Database, checked_url
from app.register.errors import RegisterError
from app.register.identification import Identification
from scripts import register as register_command

PG = "postgresql+psycopg://u:geheim@"
WRONG = {
    f"{PG}h:abc/n": "the port 'abc' is no number from 1 to 65535",
    f"{PG}h:99999/n": "the port '99999' is no",
    f"{PG}h:0/n": "the port '0' is no",
    f"{PG}h:/n": "the port '' is no",
    f"{PG}h:-1/n": "the port '-1' is no",
    f"{PG}::1:5432/n": r"an IPv6 address stands in brackets, as in \[::1\]:5432",
    f"{PG}fe80::1/n": "an IPv6 address stands in brackets",
    f"{PG}[::1/n": r"the IPv6 address '::1' has no closing bracket",
    f"{PG}h/n?connect_timeout=abc": "the option connect_timeout takes a whole number, not 'abc'",
    f"{PG}h/n?keepalives_idle=1.5": "the option keepalives_idle takes a whole number",
    f"{PG}h/n?conect_timeout=3": r"unknown option 'conect_timeout'; did you mean connect_timeout\?",
    f"{PG}/n?host=h&port=x": "the option port takes a whole number",
    f"{PG}h/n?user=a&user=b": "the option user is given twice",
    f"{PG}127.0.0.1:1/n?sslmode=foo": "invalid sslmode value",
    f"{PG}127.0.0.1:1/n": "Connection refused",
    "postgresql+psycopg://u:ge/heim@h/n": "write %2F for /, %3F for [?] and %40 for @",
    "postgresql+psycopg://u:ge?heim@h/n": "write %2F for /",
    "postgresql+psycopg://u:heim@ge@h/n": "write %2F for /",
    "mysql://u:geheim@h/n": "'mysql' names no database of a register: give sqlite:///",
    "postgres://u:geheim@h/n": "'postgres' names no database",
    "postgresql+psycopg2://u:geheim@h/n": "names no database",
    "sqlite+aiosqlite:///geheim": "names no database",
    "geheim": "what is given names no database",
    "sqlite://u:geheim@h/x": "a SQLite file stands behind three slashes",
    "sqlite://geheim": "a SQLite file stands behind three slashes",
    "sqlite:///x?timeout=abc": "the option timeout takes seconds, not 'abc'",
    "sqlite:///x?tiemout=3": r"unknown option 'tiemout'; did you mean timeout\?",
    "sqlite:///x?mode=ro": "unknown option 'mode'",
}


@pytest.mark.parametrize(("url", "reason"), WRONG.items())
def test_a_url_that_is_none_is_one_line_without_a_password(tmp_path, monkeypatch, url, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RegisterError, match=reason) as error:
        Database(url)
    said = str(error.value)
    assert "--url (or REGISTER_URL)" in said
    assert "\n" not in said
    assert not any(part in said for part in ("geheim", "heim", "ge/"))
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_says_so(tmp_path, monkeypatch):
    Identification(tmp_path, device="cpu").close()
    monkeypatch.setenv("REGISTER_URL", f"{PG}h:abc/n")
    with pytest.raises(RegisterError, match=r"^--url \(or REGISTER_URL\): the port 'abc'"):
        register_command.main(["list", "--register", str(tmp_path)])


def test_urls_that_are_right(monkeypatch):
    options = "connect_timeout=3&application_name=gate&sslmode=require&host=a&host=b&port=1,2"
    assert checked_url(f"{PG}[::1]:5432/n?{options}").host == "::1"
    assert checked_url("postgresql://h/n").drivername == "postgresql+psycopg"
    assert checked_url("postgresql+psycopg://u:%40%2F%3Fx@h/n").password == "@/?x"
    assert checked_url("postgresql+psycopg://h/n?options=-c%20search_path%3Da@b").host == "h"
    assert checked_url("sqlite:////a/b?timeout=2.5").database == "/a/b"
    assert checked_url("sqlite://").database is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "psycopg" else object())
    with pytest.raises(RegisterError, match="PostgreSQL needs the package psycopg, which is not installed"):
        checked_url("postgresql://h/n")


def test_a_folder_of_any_name_holds_its_database(tmp_path):
    folder = tmp_path / "a?b=%41 ü#"
    folder.mkdir()
    Identification(folder, device="cpu").close()
    assert (folder / "register.sqlite").is_file()
