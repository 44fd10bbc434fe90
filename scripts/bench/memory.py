"""Memory of this process, for the benchmarks."""

import re
from pathlib import Path


def peak_bytes() -> int:
    """Peak resident memory of this process. Linux's getrusage would count the parent's from before exec."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024
