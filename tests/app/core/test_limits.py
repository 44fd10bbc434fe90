"""Limits as the kernel's files give them, of both versions, by hand; and one that is real."""

import os
import subprocess
import sys

import pytest

from app.core import limits

GIB = 2**30


@pytest.fixture
def group(monkeypatch, tmp_path):
    """Files of control groups below a folder, and the groups that this process is in."""
    monkeypatch.setattr(limits, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "_OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)

    def made(own, **files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    return made


def memory(folder, limit, used, cached):
    """Of version 2; half of the cached files were used lately."""
    return {
        f"{folder}memory_DOT_max": limit,
        f"{folder}memory_DOT_current": used,
        f"{folder}memory_DOT_stat": f"anon 1\ninactive_file {cached // 2}\nactive_file {cached // 2}",
    }


def test_without_groups_there_is_no_limit_of_memory_and_affinity_is_that_of_processors(group):
    assert limits.memory_left() is None  # no /proc/self/cgroup
    assert limits.usable_cpus() == 64
    group("0::/\n", cpu_DOT_max="max 100000", **memory("", "max", GIB, 0))
    assert limits.memory_left() is None
    assert limits.usable_cpus() == 64


def test_a_container_whose_group_is_the_root(group):
    group("0::/\n", cpu_DOT_max="250000 100000", **memory("", 12 * GIB, 5 * GIB, 3 * GIB))
    assert limits.memory_left() == 10 * GIB
    assert limits.usable_cpus() == 2


def test_the_nearest_limit_of_all_groups_above_counts(group):
    files = memory("slice__", 4 * GIB, 2 * GIB, GIB) | memory("slice__job__", 9 * GIB, GIB, 0)
    group("0::/slice/job\n", slice__cpu_DOT_max="400000 100000", slice__job__cpu_DOT_max="max 100000", **files)
    assert limits.memory_left() == 3 * GIB
    assert limits.usable_cpus() == 4


def test_version_1_and_groups_below(group):
    group(
        "11:cpu,cpuacct:/batch\n9:memory:/batch\n1:name=systemd:/x\n0::/\n",
        **{
            "cpu,cpuacct__batch__cpu_DOT_cfs_quota_us": 50_000,
            "cpu,cpuacct__batch__cpu_DOT_cfs_period_us": 100_000,
            "memory__memory_DOT_limit_in_bytes": 2**63 - 4096,  # what no limit looks like
            "memory__memory_DOT_usage_in_bytes": GIB,
            "memory__memory_DOT_stat": "inactive_file 0",
            "memory__batch__memory_DOT_limit_in_bytes": 8 * GIB,
            "memory__batch__memory_DOT_usage_in_bytes": 7 * GIB,
            "memory__batch__memory_DOT_stat": f"inactive_file 0\nactive_file 0\ntotal_inactive_file {GIB}\n"
            f"total_active_file {GIB}",
        },
    )
    assert limits.memory_left() == 3 * GIB
    assert limits.usable_cpus() == 1  # half of one


def test_a_group_of_version_1_that_a_container_sees_as_the_root(group):
    files = {"memory__memory_DOT_limit_in_bytes": 3 * GIB, "memory__memory_DOT_usage_in_bytes": GIB}
    group("4:memory:/docker/0f3a\n3:cpu:/docker/0f3a\n", memory__memory_DOT_stat="cache 0", **files)
    assert limits.memory_left() == 2 * GIB
    assert limits.usable_cpus() == 64


@pytest.mark.parametrize("text", ["", "max", "nonsense 0", "100000 0", "-1 100000"])
def test_what_no_kernel_writes_is_no_limit(group, text):
    group("0::/../x\n0::/\n", cpu_DOT_max=text, **memory("", text, GIB, 0))
    assert limits.memory_left() is None
    assert limits.usable_cpus() == 64


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone binds a process to processors")
def test_a_process_that_is_bound_to_one_processor_uses_one():
    bound = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    code = "from app.core.limits import usable_cpus; print(usable_cpus())"
    found = subprocess.run([sys.executable, "-c", f"{bound}; {code}"], check=True, capture_output=True, text=True)
    assert found.stdout == "1\n"
