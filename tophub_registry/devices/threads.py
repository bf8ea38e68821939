"""The number of threads of TVM's kernels: one for each physical core, unless the user says otherwise.

By default TVM uses half of the CPUs on x86, since every second one may be the second thread of a core. It reads its
variables when its thread pool starts, at the first parallel loop of a process, so they must be set before; child
processes inherit them.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from contextlib import suppress
from pathlib import Path

from tophub_registry.devices.processor import core_of, physical_cores
from tophub_registry.errors import UsageError

VARIABLES = ("TVM_NUM_THREADS", "OMP_NUM_THREADS")
"""TVM's environment variables for the number of threads; the first that is set counts.

OpenMP's may have several numbers, `4,2`, of which the first counts, as for TVM.
"""

_SHOWN = 40
"""How many characters of a wrong value are shown."""

_NUMBER = re.compile(r"0*[1-9][0-9]{0,8}")

BINDING = "TVM_BIND_THREADS"
"""TVM's environment variable that binds each thread to a CPU of its own, unless it is 0."""

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def thread_count() -> int:
    """Return the number of threads of a kernel: from the variables, else one for each core that this process may use.

    These are the physical cores of its affinity, as far as the quota of its container (cgroup v2) allows. A variable
    counts up to the number of CPUs, as TVM uses no more threads.

    Raises
    ------
    UsageError
        The variable is not a number of threads.
    """
    name = next((name for name in VARIABLES if os.environ.get(name, "").strip()), None)
    return usable_cores() if name is None else min(_number_in(name), _cpus())


def _number_in(name: str) -> int:
    """Return the number of threads that a variable has."""
    text = os.environ[name]
    first = text.partition(",")[0].strip() if name == VARIABLES[1] else text.strip()
    if _NUMBER.fullmatch(first) is None:
        remedy = f"`unset {name}`, or set it to 1 or more"
        said = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        raise UsageError(f"{name}={said} in the environment is not a number of threads", remedy=remedy)
    return int(first)


def settle_threads(threads: int | None = None) -> int:
    """Make TVM use this many threads, by default `thread_count()`, in this process and its child processes.

    A thread pool that has already started keeps its number; `run_with` warns of that.

    Raises
    ------
    UsageError
        The number is not positive, or above the number of CPUs; or see `thread_count`.
    """
    if threads is not None and not 1 <= threads <= _cpus():
        raise UsageError(f"can't use {threads} threads", remedy=f"choose 1 to {_cpus()}: this machine's CPUs")
    count = threads or thread_count()
    _set(count)
    return count


def run_with(threads: int | None) -> None:
    """Prepare the calling thread to run kernels with this many threads, and warn if it can't; None: on a GPU.

    This starts TVM's thread pool, unless one thread is enough: never call it in a process that starts others.
    """
    if threads is None:
        return
    _set(threads)
    if threads == 1:  # TVM then calls loops directly, whatever its pool has
        return
    import tvm

    started = int(tvm.runtime.num_threads())
    if started != threads:
        warnings.warn(
            f"TVM runs this model on {started} thread{'s' if started > 1 else ''}, not {threads}: its thread pool has "
            f"already started in this process, and keeps its size. Set {VARIABLES[0]}={threads} before Python starts.",
            RuntimeWarning,
            stacklevel=3,
        )


def bound() -> bool:
    """Return whether TVM binds its threads to CPUs."""
    return os.environ.get(BINDING) != "0"


def _set(count: int) -> None:
    """Set TVM's variables.

    Threads are not bound to CPUs if TVM would bind two of them to one core, or one to a CPU that this process may not
    use: it binds them to the machine's first CPUs.
    """
    os.environ[VARIABLES[0]] = str(count)
    first = range(count)
    if not os.sched_getaffinity(0).issuperset(first) or len(set(map(core_of, first))) < count:
        os.environ.setdefault(BINDING, "0")


def _cpus() -> int:
    return os.cpu_count() or 1


def usable_cores() -> int:
    """Return the number of physical cores of this process's affinity, as far as its container's quota allows."""
    count = physical_cores()
    with suppress(OSError, ValueError):  # no such file, or no quota: `max 100000`
        quota, period = map(int, _QUOTA.read_text(encoding="ascii").split())
        count = max(1, min(count, math.ceil(quota / period)))
    return count
