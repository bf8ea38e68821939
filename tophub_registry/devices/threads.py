"""The threads of TVM's kernels: all the processors that this process may use, unless the user says otherwise.

Left alone, TVM takes half of them on x86, since every second one may be a core's second thread. It reads its variables
when its pool of threads starts, so they are set before; what is started from here inherits them.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

VARIABLES = ("TVM_NUM_THREADS", "OMP_NUM_THREADS")
"""The environment variables that tell TVM how many threads to use, the first that is set."""

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def thread_count() -> int:
    """Return how many threads a kernel gets: what the user said, else one for each processor at hand."""
    said = (os.environ.get(name, "") for name in VARIABLES)
    return next((int(text) for text in said if text.isdecimal() and int(text) > 0), _processors())


def settle_threads() -> int:
    """Let TVM use so many threads in this process, where its pool has not started yet, and in those started from it."""
    count = thread_count()
    os.environ[VARIABLES[0]] = str(count)
    return count


def _processors() -> int:
    """Return how many processors this process may use at once: its affinity, and a container's quota (cgroup v2)."""
    count = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):  # no such file, or no quota: `max 100000`
        quota, period = map(int, _QUOTA.read_text(encoding="ascii").split())
        count = max(1, min(count, math.ceil(quota / period)))
    return count
