"""The processor of this machine: LLVM's name for it, its features, its own name, and its cores.

`$TOPHUB_PROCESSOR` makes it behave like a lesser one, such as `x86-64-v3`: code is then compiled, measured and run for
that. This is for building for other machines, and for tests.
"""

from __future__ import annotations

import functools
import os
import platform
from contextlib import suppress
from pathlib import Path

from tophub_registry.errors import UsageError
from tophub_registry.records.target import Target

VARIABLE = "TOPHUB_PROCESSOR"
"""The environment variable that names a lesser processor; child processes inherit it."""

_CPUS = Path("/sys/devices/system/cpu")


def processor() -> str:
    """Return LLVM's name of this machine's processor, or the one in `$TOPHUB_PROCESSOR`.

    Raises
    ------
    UsageError
        LLVM does not know the processor in the variable, or this machine lacks some of its features.
    """
    here = own_processor()
    named = os.environ.get(VARIABLE)
    if not named:
        return here
    remedy = f"set --processor or ${VARIABLE} to a lesser processor, such as x86-64-v3"
    if not known(named):
        raise UsageError(f"LLVM knows no processor {named!r}", remedy=remedy)
    missing = features(Target.parse(f"llvm -mcpu={named}")) - features(Target.parse(f"llvm -mcpu={here}"))
    if missing:
        lacking = ", ".join(sorted(missing))
        raise UsageError(f"this machine ({here}) can't run code for {named}: it lacks {lacking}", remedy=remedy)
    return named


def own_processor() -> str:
    """Return LLVM's name of this machine's processor, whatever `$TOPHUB_PROCESSOR` says."""
    import tvm

    return str(tvm.target.codegen.llvm_get_system_cpu())


def known(name: str) -> bool:
    """Return whether LLVM knows a processor of this name."""
    return name in _names()


@functools.cache
def _names() -> frozenset[str]:
    import tvm

    return frozenset(map(str, tvm.target.codegen.llvm_get_cpu_archlist(tvm.target.Target({"kind": "llvm"}))))


@functools.cache
def features(target: Target) -> frozenset[str]:
    """Return the vector instruction sets of a CPU target, by LLVM's names.

    Features that only tune the code generator are excluded; they differ between any two processors.
    """
    import tvm

    said = map(str, tvm.target.codegen.llvm_get_cpu_features(tvm.target.Target(target.as_dict())))
    return frozenset(feature for feature in said if feature.startswith(("avx", "sse", "fma", "amx")))


def described() -> str:
    """Return the processor's own name and the number of cores available to us: 'AMD EPYC 9254, 2 cores'.

    The processor in `$TOPHUB_PROCESSOR` is added: 'AMD EPYC 9254 as x86-64-v3, 2 cores'.
    """
    lesser = f" as {named}" if (named := os.environ.get(VARIABLE)) else ""
    count = physical_cores()
    return f"{_own_name()}{lesser}, {count} core{'s' if count > 1 else ''}"


def physical_cores() -> int:
    """Return the number of cores that this process may use, counting hyperthreads of a core once."""
    return len({core_of(cpu) for cpu in os.sched_getaffinity(0)})


def core_of(cpu: int) -> str:
    """Return a name for the core of a CPU: the list of its CPUs ('0,4'), or the CPU itself if Linux lists none."""
    for name in ("core_cpus_list", "thread_siblings_list"):  # before Linux 5.3 there is only the second
        with suppress(OSError):
            return (_CPUS / f"cpu{cpu}" / "topology" / name).read_text(encoding="ascii").strip()
    return str(cpu)


def _own_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
