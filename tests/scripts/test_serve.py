"""The commands around the service; the service itself is driven by a browser in tests/app/web."""

import json
import logging

import pytest
import uvicorn
from fastapi.testclient import TestClient

from app.register.accounts import Accounts, LogInError, Role
from app.register.errors import RegisterError
from app.register.identification import Identification
from app.settings.checks import SettingsError
from app.web.state import State
from scripts import serve


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("REGISTER", str(tmp_path / "register"))
    monkeypatch.setenv("PASSWORD", "a long enough password")

    def run(*argv):
        capsys.readouterr()
        serve.main([str(word) for word in argv])
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def test_accounts_passwords_and_tokens(run, tmp_path, monkeypatch):
    assert run("account", "ada", "--role", "admin") == {"account": 1, "name": "ada", "role": "admin"}
    token = run("token", "ada", "--label", "gate", "--days", 30)["token"]
    identification = Identification(tmp_path / "register", device="cpu")
    accounts = Accounts(identification.database)
    assert accounts.who(token, "token").role is Role.admin
    monkeypatch.setenv("PASSWORD", "another long password")
    assert run("password", "ada")["account"] == 1
    with pytest.raises(LogInError):
        accounts.who(token, "token")
    accounts.log_in("ada", "another long password", "here")
    identification.close()
    with pytest.raises(SettingsError, match="no account 'eve'"):
        run("password", "eve")


@pytest.mark.parametrize(
    ("argv", "error", "reason"),
    [
        (["run", "--host", "0.0.0.0"], SettingsError, "passwords would be readable"),
        (["run", "--certificate", "x.crt"], SettingsError, "belong together"),
        (["run", "--run", "nowhere"], FileNotFoundError, "no such file: nowhere"),
        (["run", "--url", "nothing"], RegisterError, "names no database of a register"),
        (["account", "ada", "--role", "king"], SettingsError, "king"),
        (["fly"], SettingsError, "No such command"),
    ],
)
def test_a_mistake_is_one_line(run, argv, error, reason):
    with pytest.raises(error, match=reason):
        run(*argv)


def test_a_folder_without_a_register_is_named_and_gets_none(run, tmp_path):
    """As in a new terminal, where REGISTER is not set: the service of an empty register knows no account."""
    with pytest.raises(FileNotFoundError, match=r"no register in .*register: .*REGISTER"):
        run("run")
    assert not (tmp_path / "register").exists()


@pytest.mark.parametrize(
    ("words", "hsts"),
    [
        ([], None),
        (["--behind-proxy", "10.0.0.1"], "max-age=31536000"),
        (["--certificate", "x.pem", "--key", "x.pem"], "max-age=31536000"),
    ],
)
def test_the_command_demands_tls_where_there_is_tls_and_escapes_its_log(
    run, tmp_path, monkeypatch, capsys, words, hsts
):
    monkeypatch.chdir(tmp_path)
    Identification(tmp_path / "register", device="cpu").close()
    (tmp_path / "x.pem").touch()
    monkeypatch.setattr(serve, "require_pair", lambda *_: None)  # it is no certificate
    said = {}

    def serve_once(server, sockets):
        assert len(sockets) == 1
        capsys.readouterr()
        logging.getLogger("uvicorn.error").error("a guard's name\nERROR: forged \x1b[2J")
        said["log"] = capsys.readouterr().err
        with TestClient(server.config.app) as client:
            said["hsts"] = client.get("/login").headers.get("strict-transport-security")

    monkeypatch.setattr(uvicorn.Server, "run", serve_once)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        run("run", "--port", "0", *words)
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before
        root.setLevel(level)
    assert said == {"hsts": hsts, "log": "ERROR: a guard's name\\nERROR: forged \\x1b[2J\n"}


def test_a_second_service_on_one_register_is_refused(run, tmp_path):
    identification = Identification(tmp_path / "register", device="cpu")
    state = State(identification)
    with pytest.raises(RegisterError, match="another service uses the register"):
        run("run")
    state.close()
