"""Service of a register: web pages for guards and managers, and a REST API.

Run: python -m scripts.serve account admin --role admin            asks for the password; the first step
     python -m scripts.serve run --register register --run outputs/two_cam/<time>
     python -m scripts.serve token NAME | tokens | revoke NUMBER           of programs
     python -m scripts.serve run --host 0.0.0.0 --certificate server.crt --key server.key

It listens on loopback by default; on other addresses only with a certificate, or with --behind-proxy ADDRESS behind a
TLS proxy of yours.
"""

import getpass
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import datetime, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.core.listening import is_loopback, listen, require_pair
from app.core.printing import shown
from app.register.accounts import Accounts, Role
from app.register.folder import RegisterFolder
from app.register.tokens import Token, Tokens
from app.settings.checks import SettingsError
from models.errors import MissingFileError
from scripts.command import command, run_app
from scripts.register_options import operator, say

if TYPE_CHECKING:
    from app.register.identification import Identification
    from app.web.state import State

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Folder = Annotated[Path, typer.Option("--register", envvar="REGISTER", help="Folder of the register.")]
Url = Annotated[str, typer.Option(envvar="REGISTER_URL", help="Database, if not a file in the folder.")]
Onnx = Annotated[Path | None, typer.Option(envvar="REGISTER_ONNX", help="ONNX file of the active model.")]
_HERE = Path("register")


class RoleName(StrEnum):
    """Roles by name."""

    guard = "guard"
    manager = "manager"
    admin = "admin"


@app.callback()
def _several_commands() -> None:
    """Service of a register."""


@app.command()
def run(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: int = 8000,
    certificate: Annotated[Path | None, typer.Option(help="PEM file, for TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    behind_proxy: Annotated[str, typer.Option(help="Address of a TLS proxy in front of the service.")] = "",
    run: Annotated[Path | None, typer.Option(help="Run folder whose curves are shown.")] = None,
    onnx: Onnx = None,
    register: Folder = _HERE,
    url: Url = "",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    zone: Annotated[
        str,
        typer.Option(
            "--time-zone",
            envvar="TIME_ZONE",
            help="Of the site, such as Europe/Berlin; else that of events.toml, or the machine's.",
        ),
    ] = "",
    metrics_port: Annotated[int | None, typer.Option(help="Loopback port for Prometheus; none unless given.")] = None,
) -> None:
    """Run the service until it is stopped."""
    import uvicorn  # torch and the service, which the commands of accounts do not need

    from app.register.identification import Identification
    from app.web.logs import log_config
    from app.web.service import create_app
    from app.web.times import time_zone

    if (certificate is None) != (key is None):
        raise SettingsError("--certificate and --key belong together")
    if not certificate and not behind_proxy and not is_loopback(host):
        raise SettingsError(
            f"--host {host} needs --certificate and --key, or --behind-proxy: passwords would be readable"
        )
    times = time_zone(zone) if zone else None
    for path in (certificate, key, run, onnx):
        if path is not None and not path.exists():
            raise MissingFileError(f"no such file: {path}")

    if certificate and key:
        require_pair(certificate, key, f"--certificate {certificate} and --key {key}", SettingsError)
    secure = bool(certificate or behind_proxy)
    with listen(host, port, SettingsError) as listening:
        # Errors are reported in one line, before the server starts.
        if not url:
            _require_register(register)
        state = _open(Identification(register, url, device, onnx), run, secure=secure, zone=times)
        if metrics_port is not None:
            _observe(state, metrics_port)
        print(f"http{'s' if certificate else ''}://{host}:{port}", flush=True)
        config = uvicorn.Config(
            create_app(lambda: state),
            ssl_certfile=str(certificate) if certificate else None,
            ssl_keyfile=str(key) if key else None,
            proxy_headers=bool(behind_proxy),
            forwarded_allow_ips=behind_proxy or None,
            ws="none",
            log_config=log_config(),
            log_level="warning",
        )
        logging.captureWarnings(True)
        server = uvicorn.Server(config)
        with suppress(KeyboardInterrupt):  # Ctrl-C is the normal way to stop it
            server.run(sockets=[listening])
    print(json.dumps({"register": str(register), "served": f"{host}:{port}"}))


@app.command()
def account(
    name: str,
    role: Annotated[RoleName, typer.Option(help="Its role.")] = RoleName.guard,
    register: Folder = _HERE,
    url: Url = "",
) -> None:
    """Create an account; the password comes from the variable PASSWORD, or from a prompt."""
    with closing(RegisterFolder(register, url)) as held:
        made = Accounts(held.database).add(name, Role[role.value], _password(), operator())
    print(json.dumps({"account": made.id, "name": made.name, "role": made.role}))


@app.command()
def password(name: str, register: Folder = _HERE, url: Url = "") -> None:
    """Change the password of an account; its sessions and tokens end."""
    with closing(_there(register, url)) as held:
        accounts = Accounts(held.database)
        found = [row.id for row in accounts.all() if row.name == name]
        if not found:
            raise SettingsError(f"there is no account {name!r}")
        accounts.change(found[0], operator(), password=_password())
    print(json.dumps({"account": found[0], "name": name}))


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="The account whose rights it has.")],
    label: Annotated[str, typer.Option(help="Its purpose.")] = "",
    days: Annotated[int, typer.Option(help="Its lifetime.")] = 365,
    register: Folder = _HERE,
    url: Url = "",
) -> None:
    """Create a token for a program; it is shown only once."""
    with closing(_there(register, url)) as held:
        secret = Accounts(held.database).new_token(name, label, days, operator())
    print(json.dumps({"token": secret, "account": name, "days": days}))


@app.command()
def tokens(
    name: Annotated[str, typer.Argument(help="The account whose tokens are listed; all without it.")] = "",
    register: Folder = _HERE,
    url: Url = "",
) -> None:
    """List the tokens of programs with their last use."""
    with closing(_there(register, url)) as held:
        rows = Tokens(held.database).all(name or None)
    for row in rows:
        used = f"used {row.used:%Y-%m-%d %H:%M}" if row.used else "never used"
        print(f"{row.id:>6}  {shown(row.account):<16}  {used:<21}  {shown(row.label)}".rstrip())
    times = [{name: at and at.isoformat(timespec="seconds") for name, at in _times(row).items()} for row in rows]
    say({"tokens": [asdict(row) | held for row, held in zip(rows, times, strict=True)]})


@app.command()
def revoke(
    number: Annotated[int, typer.Argument(help="Number of the token, as `tokens` lists it.")],
    register: Folder = _HERE,
    url: Url = "",
) -> None:
    """Revoke one token; the account's other tokens and its sessions stay."""
    with closing(_there(register, url)) as held:
        Tokens(held.database).revoke(number, operator())
    say({"revoked": number})


def _times(row: Token) -> dict[str, datetime | None]:
    return {"created": row.created, "expires": row.expires, "used": row.used}


def _open(identification: "Identification", run: Path | None, *, secure: bool, zone: tzinfo | None) -> "State":
    from app.web.state import State
    from app.web.times import time_zone

    try:
        its = zone or time_zone(identification.outbox.zone())  # else that of events
        state = State(identification, run, secure=secure, zone=its)
    except BaseException:
        identification.close()
        raise
    try:
        state.deliver()
    except BaseException:
        state.close()
        raise
    identification.register.tidy()
    if identification.models.active() is not None:
        # The first identification need not wait for the network and the embeddings.
        model, _ = identification.active_model.current()
        identification.index(model).prepare()
    identification.search.prepare()
    state.warm()
    return state


def _observe(state: "State", port: int) -> None:
    from app.web.metrics import Metrics

    try:
        metrics = Metrics(state, port)
    except BaseException:
        state.close()
        raise
    print(f"http://127.0.0.1:{metrics.port}/metrics", flush=True)


def _there(register: Path, url: str) -> RegisterFolder:
    """An existing register. Raises FileNotFoundError as `_require_register`."""
    _require_register(register)
    return RegisterFolder(register, url)


def _require_register(folder: Path) -> None:
    """Raise FileNotFoundError for a folder without a register: a mistyped folder must not look like lost data."""
    if not (folder / "register.id").is_file():
        raise MissingFileError(
            f"no register in {folder}: name its folder by --register or the variable REGISTER; `account`, or "
            "`register reembed`, makes a new one"
        )


def _password() -> str:
    given = os.environ.get("PASSWORD")
    if given is None:
        try:
            given, again = getpass.getpass("Password: "), getpass.getpass("The same again: ")
        except EOFError:
            raise SettingsError("no password was given; type it, or set the variable PASSWORD") from None
        if again != given:
            raise SettingsError("the two passwords differ")
    return given


def main(argv: Sequence[str]) -> None:
    """Run one command. Raises SettingsError for a wrong word, and errors of the register."""
    run_app(app, argv, "python -m scripts.serve")


if __name__ == "__main__":
    os.umask(0o077)
    command(main, sys.argv[1:])
