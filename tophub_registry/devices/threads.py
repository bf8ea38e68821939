"""The number of threads of TVM's kernels: one for each CPU that this process may use, unless the user says otherwise.

By default TVM uses half of the CPUs on x86, since every second one may be the second thread of a core. It reads its
variables when its thread pool starts, so they must be set before; child processes inherit them.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

VARIABLES = ("TVM_NUM_THREADS", "OMP_NUM_THREADS")
"""TVM's environment variables for the number of threads; the first that is set counts."""

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def thread_count() -> int:
    """Return the number of threads of a kernel: from the variables, else one for each CPU that this process may use."""
    said = (os.environ.get(name, "") for name in VARIABLES)
    return next((int(text) for text in said if text.isdecimal() and int(text) > 0), _processors())


def settle_threads() -> int:
    """Make TVM use that many threads, here if its thread pool has not started yet, and in child processes."""
    count = thread_count()
    os.environ[VARIABLES[0]] = str(count)
    return count


def _processors() -> int:
    """Return the number of CPUs that this process may use: by its affinity, and its container's quota (cgroup v2)."""
    count = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):  # no such file, or no quota: `max 100000`
        quota, period = map(int, _QUOTA.read_text(encoding="ascii").split())
        count = max(1, min(count, math.ceil(quota / period)))
    return count
