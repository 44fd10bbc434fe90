"""Versions of what ran: this project and its commit, the libraries that decide on figures, and the machine."""

import json
import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from app.core.files import replacing
from app.core.limits import usable_cpus

PROJECT = "fed-vehicle-reid"
LIBRARIES = ("torch", "torchvision", "timm", "flwr", "tenseal", "hydra-core", "numpy", "opencv-python-headless")
FILE = "versions.json"
_SECONDS = 10.0


def record_versions(folder: Path) -> None:
    """Add the versions of this process to `versions.json`, a list, unless they are those of its last entry: a resumed
    run may go on with other ones."""
    path = folder / FILE
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # none yet, or damaged: it is a note, and stops no run
        kept = []
    rows = kept if isinstance(kept, list) else []
    now = versions()
    if not rows or rows[-1] != now:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps([*rows, now], indent=2) + "\n", encoding="utf-8")


def versions() -> dict[str, Any]:
    """Of this process. Nothing is loaded for it: the GPUs are those that PyTorch, if it is loaded, can use."""
    torch = sys.modules.get("torch")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if torch else []
    return {
        PROJECT: _version(PROJECT),
        **_commit(Path(__file__).resolve().parents[2]),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "usable_cpus": usable_cpus(),
        "gpus": gpus,
        "threads": torch.get_num_threads() if torch else None,
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


@cache
def installed() -> dict[str, str]:
    """Versions of this project as installed, of Python and of the libraries, by name; without those not installed."""
    found = {name: _version(name) for name in (PROJECT, *LIBRARIES)}
    return {"python": platform.python_version(), **{name: text for name, text in found.items() if text is not None}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit(project: Path) -> dict[str, Any]:
    """The commit of a checkout, and whether files differ from it; neither is known of an installed package."""
    if not (project / ".git").exists():
        return {"commit": None, "modified": None}
    commit, changes = (_git(project, *words) for words in (("rev-parse", "HEAD"), ("status", "--porcelain")))
    return {"commit": commit, "modified": None if changes is None else bool(changes)}


def _git(project: Path, *words: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(project), *words]  # a commit that is made now goes on
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
