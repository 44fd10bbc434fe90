"""Flower's client process, restricted to approved app bundles.

Flower's own `flwr-clientapp` asks the SuperNode for a message and a bundle, unpacks the bundle into a shared folder
unless a folder of that name is there already, and imports it by the name and digest that the server claims. Here the
hashed bytes are unpacked into a fresh folder of this process, and only that folder is imported.

Run by the commands from `site_files`: python -P -m app.deployment.client_process SITE_FOLDER COMMAND ARGUMENTS
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from app.core.site_runs import NODE
from app.deployment.approval import App, NotAllowedError, check_bundle
from app.deployment.parties import STATE, read_party
from app.deployment.site_files import COMMAND
from app.federation import restored

UNPACKED = "apps"
"""In a site's state folder: one folder for each client process, named after its process id."""
OWN_PACKAGES = ("app", "strategies", "models", "conf", "scripts")
_KNOWS_RESTORATION = Path(*restored.__name__.split(".")).with_suffix(".py")
"""Module of a bundle that refuses attempts from before a site's restoration; versions before it have none."""
_RUNTIME = "flwr.supernode.runtime.run_clientapp"


class _Door:
    """Replacements of the functions of Flower's client process that touch a bundle, with the check in front."""

    def __init__(self, site: Path, command: str) -> None:
        self.site, self.command = site, command
        self.unpacked: Path | None = None
        self._folder: Path | None = None
        self._install: Callable[..., Path] | None = None
        self._loader: Callable[..., Callable[..., Any]] | None = None

    def stand_in(self) -> None:
        """Replace Flower's functions. Raises RuntimeError for a version of Flower with other functions."""
        runtime = import_module(_RUNTIME)
        own = {
            "install_from_fab": self.install,
            "get_project_dir": self.project_folder,
            "get_load_client_app_fn": self.loader,
            "install_app_dependencies": self.no_dependencies,
        }
        if missing := [name for name in own if not callable(getattr(runtime, name, None))]:
            raise RuntimeError(f"this version of Flower is unknown: {_RUNTIME} has no {', '.join(missing)}")
        self._install, self._loader = runtime.install_from_fab, runtime.get_load_client_app_fn
        for name, function in own.items():
            setattr(runtime, name, function)

    def install(self, content: object, *_: object, **__: object) -> Path:
        """Unpack a bundle whose bytes are approved. Raises NotAllowedError for any other, before a byte is unpacked,
        and for one that a restored site does not run."""
        if self.command != COMMAND:
            raise NotAllowedError(f"this site runs client apps alone, and no {self.command}")
        if not isinstance(content, bytes):  # the hashed bytes must be the unpacked ones
            raise NotAllowedError("the app bundle was handed over in another form than bytes")
        approved = check_bundle(content, self.site)
        assert self._install is not None
        try:
            self._folder = _own_folder(self.site)
            unpacked = self._install(content, install_dir=self._folder, skip_prompt=True)
        except OSError as error:  # for example a full disk; the server must not learn the site's folders
            print(f"the app bundle cannot be unpacked: {error}", file=sys.stderr, flush=True)
            raise NotAllowedError("the app bundle cannot be unpacked at this site; its own log says why") from None
        check_restoration(approved, unpacked, self.site)
        self.unpacked = unpacked
        return unpacked

    def project_folder(self, *_: object) -> Path:
        """Folder of the unpacked approved bundle, whatever name the server claims."""
        if self.unpacked is None:
            raise NotAllowedError("no app bundle was approved")
        return self.unpacked

    def loader(self, *_: object, **__: object) -> Callable[..., Any]:
        """Flower's loader for the unpacked folder."""
        assert self._loader is not None
        folder = self.project_folder()
        sys.dont_write_bytecode = True  # the folder goes with this process
        return self._loader(default_app_ref="", app_path=str(folder), multi_app=True)

    def no_dependencies(self, *_: object, **__: object) -> NoReturn:
        """Refuse to install packages of a run."""
        raise NotAllowedError("this site installs no packages for a run")

    def close(self) -> None:
        """Delete the unpacked files."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def run_client(site: Path, command: str) -> None:
    """Do the work of Flower's command with the arguments in `sys.argv`; it ends this process."""
    flower = import_module("flwr.supernode.cli")
    door = _Door(site, Path(command).name)
    door.stand_in()
    forget_own_modules()
    try:
        sys.exit(flower.flwr_clientapp())
    finally:
        door.close()


def forget_own_modules() -> None:
    """Remove the project's packages from the imported modules: a bundle has its own version of them."""
    for name in [name for name in sys.modules if name.split(".")[0] in OWN_PACKAGES]:
        del sys.modules[name]


def check_restoration(approved: App, unpacked: Path, site: Path) -> None:
    """Raise NotAllowedError at a site that was restored from a backup for a bundle of a version that does not know it:
    such a bundle would deal shares twice for one attempt. File and remedy are printed for the site."""
    record = site / STATE / NODE / restored.FILE
    if not os.path.lexists(record) or not (party := read_party(site)).deals_shares:
        return
    if (unpacked / _KNOWS_RESTORATION).is_file():
        return
    print(
        f"refused the app bundle {approved}: this site was restored from a backup ({record}), and the bundle, without "
        f"{_KNOWS_RESTORATION}, would deal shares for attempts from before. Nothing of it was run. Let the authority "
        f"`revoke` it and approve a newer one; or `rotate`, then apply its archive here and delete {record}",
        file=sys.stderr,
        flush=True,
    )
    raise NotAllowedError(
        f"{party.name}: the app bundle {approved.sha256[:16]} was not run: this site was restored from a backup, and "
        "the bundle is of a version that does not know it: `revoke` it, or `rotate`, by the authority"
    )


def _own_folder(site: Path) -> Path:
    """A fresh folder for this process; those of processes that were killed are deleted."""
    base = site / STATE / UNPACKED
    base.mkdir(parents=True, mode=0o700, exist_ok=True)
    for left in base.iterdir():
        pid = left.name.split("-")[0]
        if pid.isdigit() and not _is_running(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=base))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def main(site: str, command: str, *arguments: str) -> None:
    """Run Flower's client process for one message."""
    sys.argv = [command, *arguments]
    run_client(Path(site), command)


if __name__ == "__main__":
    main(*sys.argv[1:])
