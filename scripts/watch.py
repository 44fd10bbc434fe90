"""Watch over cameras: vehicles that they see are identified by themselves, and receivers of events get the answers.

Run: python -m scripts.watch                           cameras of register/cameras.toml, until it is stopped
     python -m scripts.watch --check                   read cameras.toml and events.toml, and watch nothing

docs/cameras.md describes both files. It prints one JSON object last: counts of each camera."""

import logging.config
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.core.printing import shown
from app.register.delivery import Delivery, deliver_now
from app.register.errors import RegisterError
from app.register.receivers import CAMERAS_FILE, read_receivers
from models.errors import MissingFileError
from scripts.command import command, run_app
from scripts.register_options import HERE, Device, Folder, Url, open_identification, say

if TYPE_CHECKING:
    from app.cameras.settings import Cameras
    from app.register.identification import Identification

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def watch(
    cameras: Annotated[
        Path | None, typer.Option(help="File of cameras; by default cameras.toml of the register.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(envvar="REGISTER_ONNX", help="ONNX file of the active model.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Read the files, and watch nothing.")] = False,
    register: Folder = HERE,
    url: Url = "",
    device: Device = "auto",
) -> None:
    """Watch over the cameras of a site."""
    from app.cameras.settings import read_cameras  # OpenCV and torch, which --help does not need
    from app.web.logs import log_config

    path = cameras or register / CAMERAS_FILE
    if not path.is_file():
        raise MissingFileError(f"no such file: {path}; docs/cameras.md describes it")
    named = read_cameras(path)
    receivers = [each.name for each in read_receivers(register).every()]
    if check:
        say({"cameras": named.names, "receivers": receivers})
        return
    logging.config.dictConfig(log_config())
    with open_identification(register, url, device, onnx) as identification:
        delivery = Delivery(identification.outbox, register)
        try:
            with suppress(KeyboardInterrupt):  # Ctrl-C is the normal way to stop it
                _watch(identification, named)
                _deliver_rest(identification, delivery)
        finally:
            delivery.stop()


def _watch(identification: "Identification", cameras: "Cameras") -> None:
    """Watch until it is stopped, or video files, if there is nothing else, have ended."""
    from app.cameras.watch import Watch

    watch = Watch(identification, cameras)
    try:
        print(f"watching {', '.join(cameras.names)}", flush=True)
        if watch.server:
            print(f"http{'s' * bool(cameras.server.certificate)}://{watch.server.host}:{watch.server.port}", flush=True)
        while not watch.is_over():
            watch.join(0.5)
    finally:
        watch.stop()
        say({"cameras": watch.counts()})


def _deliver_rest(identification: "Identification", delivery: Delivery) -> None:
    """Deliver the last events of video files that have ended."""
    delivery.stop()
    with suppress(RegisterError):  # another process delivers, and goes on with it
        for name, error in deliver_now(identification.outbox, identification.folder)[1].items():
            print(f"events for {name} are kept: {shown(error)}", file=sys.stderr)


def main(argv: Sequence[str]) -> None:
    """Run the command. Raises SettingsError for a wrong word, and errors of the register."""
    run_app(app, argv, "python -m scripts.watch")


if __name__ == "__main__":
    os.umask(0o077)
    command(main, sys.argv[1:])
