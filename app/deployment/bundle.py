"""App bundle as `flwr run` builds it from a checkout: the same bytes, so the same SHA-256.

Flower sorts the files and gives all the same date, so that the bytes depend only on the tree. Two machines build
different bytes from one tree only where their zlib compresses differently. Run by the operator's run.sh, before it
starts anything:

    python -m app.deployment.bundle OPERATOR_FOLDER PROJECT
"""

import hashlib
import io
import os
import sys
import tomllib
import warnings
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path

from app.deployment import approval
from app.deployment import parties as p
from app.deployment.approval import App
from app.deployment.parties import DeploymentError
from strategies.signing import SigningError

_PRUNED = {".venv", ".git"}
"""Top folders that Flower leaves out of every bundle; looking through them takes seconds."""


def build(project: Path) -> bytes:
    """The bundle of a checkout. Raises DeploymentError for a folder from which Flower builds none."""
    import click
    from flwr.cli.build import build_fab_from_files  # Flower's commands take two seconds to import

    if not (project / "pyproject.toml").is_file():
        raise DeploymentError(f"{project} is no checkout of the project: it has no pyproject.toml")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Flower 1.41 with pathspec 1.0
            return build_fab_from_files(_files(project.resolve()))[0]
    except (ValueError, click.ClickException) as error:
        raise DeploymentError(f"{project} cannot be built into an app bundle: {error}") from error


def describe(content: bytes, name: str) -> App:
    """Metadata of a bundle, with its digest; `name` for errors."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            config = tomllib.loads(archive.read("pyproject.toml").decode())
        project, publisher = config["project"], config["tool"]["flwr"]["app"]["publisher"]
        label, version = f"{publisher}/{project['name']}", str(project["version"])
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DeploymentError(f"{name} is no app bundle of Flower") from error
    return App(hashlib.sha256(content).hexdigest(), label, version, datetime.now(UTC).isoformat(timespec="seconds"))


def _files(root: Path) -> dict[str, bytes | Path]:
    """Regular files by path, as Flower collects them."""
    found: dict[str, bytes | Path] = {}
    for folder, folders, names in os.walk(root):
        if Path(folder) == root:
            folders[:] = [name for name in folders if name not in _PRUNED]
        for name in names:
            path = Path(folder) / name
            if path.is_symlink() or not path.resolve().is_relative_to(root):
                continue
            found[path.relative_to(root).as_posix()] = path
    return found


def main(operator: Path, project: Path) -> int:
    """Print the bundle that a run will send; returns 2 unless the operator's list holds it, as no site would run it."""
    try:
        app = describe(build(project), str(project))
        print(f"app bundle of {project}: {app.name} {app.version}, SHA-256 {app.sha256}", flush=True)
        allowed = approval.read_allowed(operator)
    except (SigningError, DeploymentError, OSError) as error:
        print(f"error: {error}. {_REMEDY}", file=sys.stderr)
        return 2
    if allowed.holds(app.sha256):
        print(f"{p.ALLOWED_APPS} of {allowed.date} lists it", flush=True)
        return 0
    listed = "".join(f"\n  {row}" for row in allowed.apps) or " nothing"
    print(
        f"error: {operator / p.ALLOWED_APPS} of {allowed.date} does not list it: no site would run it. {_REMEDY}\n"
        f"It lists:{listed}",
        file=sys.stderr,
    )
    return 2


_REMEDY = (
    f"The authority approves it with {approval.APPROVE} AUTHORITY_FOLDER --project CHECKOUT; the new "
    f"{p.ALLOWED_APPS} goes to every site and to the operator. A file that differs from the approved version by a "
    "letter makes another bundle: git status shows it"
)

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
