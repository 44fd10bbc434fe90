"""Limits as the kernel's files give them, of both versions, by hand; and one that is real."""

import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from app.core import limits

GIB = 2**30
PLENTY = 64 * GIB
V2 = "30 24 0:26 / {root}/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"


@pytest.fixture
def group(monkeypatch, tmp_path):
    """The kernel's files as given, on a machine with 64 CPUs and 64 GiB: mounts, the process's groups, and files of
    groups by their path below the folder of all mounts."""
    monkeypatch.setattr(limits, "_OWN", tmp_path / "own")
    monkeypatch.setattr(limits, "_MOUNTS", tmp_path / "mountinfo")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(cpu_affinity=lambda: list(range(64))))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=PLENTY))

    def made(mounts, own, files):
        lines = [mount.format(root=tmp_path / "sys") for mount in mounts]
        (tmp_path / "mountinfo").write_text("\n".join(lines))
        (tmp_path / "own").write_bytes(own)
        for name, text in files.items():
            path = tmp_path / "sys" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return limits.usable_cpus(), limits.free_memory() / GIB

    return made


def v1(controllers, root="/"):
    return f"33 24 0:28 {root} {{root}}/{controllers} rw shared:15 - cgroup cgroup rw,{controllers}"


def memory(folder, limit, used, cached=0):
    """Of version 2; half of the cached files were used lately."""
    return {
        f"{folder}/memory.max": limit,
        f"{folder}/memory.current": used,
        f"{folder}/memory.stat": f"anon 1\ninactive_file {cached // 2}\nactive_file {cached // 2}",
    }


def memory_v1(folder, limit, used, stat=""):
    return {
        f"{folder}/memory.limit_in_bytes": limit,
        f"{folder}/memory.usage_in_bytes": used,
        f"{folder}/memory.stat": stat,
    }


def cpu_v1(folder, quota):
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": 100_000}


def test_without_groups_the_machine_is_the_limit(group):
    assert limits.usable_cpus() == 64  # neither file is there
    assert limits.free_memory() == PLENTY
    files = {"unified/cpu.max": "max 100000"} | memory("unified", "max", GIB)
    assert group([V2], b"0::/\n", files) == (64, 64)


def test_a_container_whose_group_is_the_root(group):
    files = {"unified/cpu.max": "250000 100000"} | memory("unified", 12 * GIB, 5 * GIB, 3 * GIB)
    assert group([V2], b"0::/\n", files) == (2, 10)


def test_the_nearest_limit_of_all_groups_above_counts(group):
    files = memory("unified/a", 4 * GIB, 2 * GIB, GIB) | memory("unified/a/job", 9 * GIB, GIB)
    files |= {"unified/a/cpu.max": "400000 100000", "unified/a/job/cpu.max": "max 100000"}
    assert group([V2], b"0::/a/job\n", files) == (4, 3)


def test_the_limit_at_which_a_process_is_slowed_down_counts(group):
    files = memory("unified/unit", "max", GIB) | {"unified/unit/memory.high": 4 * GIB}
    assert group([V2], b"0::/unit\n", files) == (64, 3)


def test_version_1_with_groups_below_and_version_2_beside_it(group):
    files = cpu_v1("cpu,cpuacct/batch", 350_000) | cpu_v1("cpuset/batch", 100_000) | cpu_v1("cpu,cpuacct", -1)
    files |= memory_v1("memory", 2**63 - 4096, GIB)  # what no limit looks like
    stat = f"inactive_file 0\nactive_file 0\ntotal_inactive_file {GIB}\ntotal_active_file {GIB}"
    files |= memory_v1("memory/batch", 8 * GIB, 7 * GIB, stat) | memory_v1("cpuset/batch", GIB, 0)
    own = b"12:cpuset:/none\n11:cpuacct,cpu:/batch\n9:memory:/batch\n1:name=systemd:/x\n0::/other\n"
    mounts = [v1("cpuset"), v1("cpu,cpuacct"), v1("memory"), V2]
    files |= {"unified/batch/cpu.max": "100000 100000", "unified/other/cpu.max": "max 100000"}
    assert group(mounts, own, files) == (3, 3)


def test_a_container_with_a_path_of_the_host(group):
    """Without a namespace of groups; the unit in it has the nearer limit."""
    files = memory_v1("memory", 16 * GIB, GIB) | memory_v1("memory/unit", 3 * GIB, GIB) | cpu_v1("cpu/unit", 200_000)
    mounts = [v1("memory", "/docker/0f3a"), v1("cpu", "/docker/0f3a")]
    assert group(mounts, b"4:memory:/docker/0f3a/unit\n3:cpu:/docker/0f3a/unit\n", files) == (2, 2)


def test_a_limit_counts_without_its_statistics_and_is_never_below_nothing(group):
    files = {
        "unified/memory.max": 4 * GIB,
        "unified/memory.current": GIB,
        "unified/memory.stat": "a b c\nactive_file x",
    }
    assert group([V2], b"0::/\n", files) == (64, 3)
    assert group([V2], b"0::/\n", memory("unified", GIB, 3 * GIB)) == (64, 0)


def test_half_a_cpu_is_one(group):
    assert group([V2], b"0::/\n", {"unified/cpu.max": "50000 100000"}) == (1, 64)


@pytest.mark.parametrize("text", ["", "max", "nonsense 0", "100000 0", "-1 100000"])
def test_what_no_kernel_writes_is_no_limit(group, text):
    files = {"unified/cpu.max": text, "cpu.max": "100000 100000"} | memory("unified", text, GIB)
    own = b"\nno colons\n7:cpu\n0::/../x\n"
    assert group(["", "a - b", " - cgroup2", "1 2 3 / - cgroup", V2], own, files) == (64, 64)


def test_a_name_of_a_group_in_another_encoding(group):
    assert group([V2], b"0::/m\xfcller\n", {"unified/cpu.max": "300000 100000"}) == (3, 64)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone binds a process to CPUs in this way")
def test_a_process_that_is_bound_to_one_cpu_uses_one():
    bound = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    code = "from app.core.limits import usable_cpus; print(usable_cpus())"
    found = subprocess.run([sys.executable, "-c", f"{bound}; {code}"], check=True, capture_output=True, text=True)
    assert found.stdout == "1\n"
