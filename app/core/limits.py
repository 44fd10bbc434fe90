"""CPUs and memory that this process may use: of the machine, by affinity, and by its control groups.

A container, a systemd unit or a job of a cluster is a control group, of version 1 or 2
(https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html). Outside
Linux there are none, and outside Linux, Windows and FreeBSD no affinity.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import psutil

_OWN = Path("/proc/self/cgroup")
_MOUNTS = Path("/proc/self/mountinfo")
_MEMORY = (
    ("memory.current", ("memory.max", "memory.high")),  # beyond "high" the kernel slows a process down
    ("memory.usage_in_bytes", ("memory.limit_in_bytes",)),
)
_CACHED = ("active_file", "inactive_file")


def usable_cpus() -> int:
    """Number of CPUs that this process may use, at least 1; a quota is rounded down."""
    found = [os.cpu_count() or 1]
    with contextlib.suppress(AttributeError, OSError, psutil.Error):  # macOS
        found.append(len(psutil.Process().cpu_affinity() or ()) or found[0])
    found += [quota // period for group in _groups("cpu") for quota, period in _quotas(group)]
    return max(1, min(found))


def free_memory() -> int:
    """Bytes that this process can still take: those free in the machine, or those up to the nearest limit."""
    free = int(psutil.virtual_memory().available)
    for group in _groups("memory"):
        for used, limits in _MEMORY:
            for limit in map(_number, (group / name for name in limits)):
                if limit is not None:  # without one, version 1 has about 2**63
                    free = min(free, limit - (_number(group / used) or 0) + _cached_bytes(group))
    return max(0, free)


class _Mount(NamedTuple):
    """A mounted hierarchy of control groups, of which `root` is seen at `folder`."""

    folder: Path
    root: PurePosixPath
    controllers: tuple[str, ...]  # none: version 2


def _groups(controller: str) -> Iterator[Path]:
    """Folders of this process's group and of all groups above it, as far as they are mounted here."""
    own = _own_groups()
    for mount in _mounts():
        names = next((names for names in own if controller in names), ()) if mount.controllers else ("",)
        if names not in own or (mount.controllers and controller not in mount.controllers):
            continue
        path = own[names]
        # A container without a cgroup namespace gets its path in the host, of which it has a part mounted.
        seen = path.relative_to(mount.root) if path.is_relative_to(mount.root) else PurePosixPath()
        yield from (mount.folder / part for part in (seen, *seen.parents) if ".." not in part.parts)


def _own_groups() -> dict[tuple[str, ...], PurePosixPath]:
    """This process's group by the controllers of its hierarchy; ("",) is version 2."""
    rows = (line.split(":", 2) for line in _text(_OWN).splitlines())
    return {tuple(row[1].split(",")): PurePosixPath(row[2]) for row in rows if len(row) == 3}


def _mounts() -> Iterator[_Mount]:
    for line in _text(_MOUNTS).splitlines():
        place, _, kind = line.partition(" - ")
        fields, (name, *more) = place.split(), kind.split() or [""]
        if len(fields) < 5 or name not in ("cgroup", "cgroup2") or (name == "cgroup" and len(more) < 2):
            continue
        root, folder = (re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text) for text in fields[3:5])
        yield _Mount(Path(folder), PurePosixPath(root), tuple(more[1].split(",")) if name == "cgroup" else ())


def _quotas(group: Path) -> Iterator[tuple[int, int]]:
    """CPU time that the group may take, and in how much time; both in microseconds. None without a limit."""
    quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    with contextlib.suppress(ValueError):  # "max", or no such file
        quota, period = map(int, _text(group / "cpu.max").split())
    if quota and period and quota > 0 and period > 0:  # -1: no limit
        yield quota, period


def _cached_bytes(group: Path) -> int:
    """Copies of files in memory, which the kernel drops when memory is needed; those of the groups below count."""
    rows = dict(row for line in _text(group / "memory.stat").splitlines() if len(row := line.split()) == 2)
    sizes = (rows.get(f"total_{name}", rows.get(name, "")) for name in _CACHED)  # "total_": version 1
    return sum(int(size) for size in sizes if size.isdecimal())


def _number(path: Path) -> int | None:
    with contextlib.suppress(ValueError):
        return int(_text(path))
    return None


def _text(path: Path) -> str:
    """What a file of the kernel says; "" if there is none. Names of groups need not be UTF-8."""
    with contextlib.suppress(OSError):
        return os.fsdecode(path.read_bytes())
    return ""
