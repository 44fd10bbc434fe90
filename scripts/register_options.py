"""Shared parts of the commands of `scripts.register`: options, the open register, and printing."""

import getpass
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.register.folder import RegisterFolder
from models.errors import MissingFileError

if TYPE_CHECKING:
    from app.register.identification import Identification

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Folder = Annotated[Path, typer.Option("--register", envvar="REGISTER", help="Folder of the register.")]
Url = Annotated[str, typer.Option(envvar="REGISTER_URL", help="Database, if not a file in the folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
HERE = Path("register")


@app.callback()
def _several_commands() -> None:
    """A site's register."""


@contextmanager
def open_register(folder: Path, url: str) -> Iterator[RegisterFolder]:
    """The register in a folder, without its networks: a list needs no torch."""
    _require(folder)
    with closing(RegisterFolder(folder, url)) as register:
        yield register


@contextmanager
def open_identification(
    folder: Path, url: str, device: str = "cpu", onnx: Path | None = None, *, new: bool = False
) -> Iterator["Identification"]:
    """The register in a folder with its networks; a folder that is not there is made if it may be `new`."""
    from app.register.identification import Identification  # imports torch

    if not new:
        _require(folder)
    with closing(Identification(folder, url, device, onnx)) as identification:
        yield identification


def _require(folder: Path) -> None:
    """Raise FileNotFoundError for a folder without a register: a mistyped folder must not look like lost data."""
    if not (folder / "register.id").is_file():
        raise MissingFileError(f"no register in {folder}; `reembed --run RUN_FOLDER --register {folder}` makes one")


def operator() -> str:
    """Who uses the command line, as the trail has it; no account of the service has such a name."""
    return f"{getpass.getuser()} (command line)"


def say(answer: dict[str, Any]) -> None:
    """Print what a command ends with."""
    print(json.dumps(answer))
