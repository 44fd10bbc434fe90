"""Limits of this process: by affinity, and by its control groups, as of a container, a unit, or a cluster's job.

Groups of version 1 and 2 (https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/memory.html). A limit of a
group holds for all groups below it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_CACHED = {"active_file", "inactive_file"}  # copies of files, which go when memory is needed


def usable_cpus() -> int:
    """Processors that this process may use, at least 1; of a share of one, whole ones."""
    found = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for group in _groups("cpu"):
        for quota, period in _quotas(group):
            if quota > 0 and period > 0:  # -1: no limit
                found.append(quota // period)
    return max(1, min(found))


def memory_left() -> int | None:
    """Bytes up to the nearest limit; None without any."""
    found = []
    for group in _groups("memory"):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with contextlib.suppress(OSError, ValueError):
                found.append(_number(group / limit) - _number(group / used) + _cached(group))
    return min(found, default=None)


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the groups that this process is in, and of those above them. In a container they may be mounted as the
    root itself."""
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        own = PurePosixPath(path.lstrip("/"))
        for root in (_ROOT / names, _ROOT / controller) if names else (_ROOT, _ROOT / "unified"):
            yield from (root / part for part in (own, *own.parents) if ".." not in part.parts)


def _quotas(group: Path) -> Iterator[tuple[int, int]]:
    """Microseconds of all processors in so many, by either version; none where no limit is set."""
    with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
        quota, period = (group / "cpu.max").read_text().split()
        yield int(quota), int(period)
    with contextlib.suppress(OSError, ValueError):
        yield _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")


def _cached(group: Path) -> int:
    rows = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    # "total_": version 1 with the groups below; version 2 counts them in the plain row
    whole = {name: rows.get(f"total_{name}", rows.get(name, "0")) for name in _CACHED}
    return sum(int(size) for size in whole.values())


def _number(path: Path) -> int:
    return int(path.read_text())
