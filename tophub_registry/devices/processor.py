"""The processor of this machine: what LLVM calls it, what it can run, what it calls itself, and its cores.

`$TOPHUB_PROCESSOR` lets it be a lesser one, such as `x86-64-v3`: code is then made, measured and run for that, as on
a machine that has no more. That serves whoever builds for other machines, and tests.
"""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

from tophub_registry.errors import UsageError
from tophub_registry.records.target import Target

VARIABLE = "TOPHUB_PROCESSOR"
"""The environment variable that names a lesser processor; what is started from here inherits it."""


def processor() -> str:
    """Return this machine's processor as LLVM calls it, or the one that `$TOPHUB_PROCESSOR` names in its place.

    Raises
    ------
    UsageError
        The variable names a processor that LLVM does not know, or one that can do more than this machine's.
    """
    import tvm

    here = str(tvm.target.codegen.llvm_get_system_cpu())
    named = os.environ.get(VARIABLE)
    if not named:
        return here
    remedy = f"--processor or ${VARIABLE} names a lesser one, as x86-64-v3"
    if not known(named):
        raise UsageError(f"LLVM knows no processor {named!r}", remedy=remedy)
    missing = features(Target.parse(f"llvm -mcpu={named}")) - features(Target.parse(f"llvm -mcpu={here}"))
    if missing:
        lacking = ", ".join(sorted(missing))
        raise UsageError(f"this machine ({here}) can't stand in for {named}: it lacks {lacking}", remedy=remedy)
    return named


def known(name: str) -> bool:
    """Return whether LLVM knows a processor by this name."""
    return name in _names()


@functools.cache
def _names() -> frozenset[str]:
    import tvm

    return frozenset(map(str, tvm.target.codegen.llvm_get_cpu_archlist(tvm.target.Target({"kind": "llvm"}))))


@functools.cache
def features(target: Target) -> frozenset[str]:
    """Return the instruction sets for vectors that code for a processor uses, as LLVM calls them.

    Features that only tune the code generator differ between any two processors, and are left out.
    """
    import tvm

    said = map(str, tvm.target.codegen.llvm_get_cpu_features(tvm.target.Target(target.as_dict())))
    return frozenset(feature for feature in said if feature.startswith(("avx", "sse", "fma", "amx")))


def described() -> str:
    """Return what the processor calls itself and how many cores we may use: 'AMD EPYC 9254, 2 cores'.

    A lesser one that stands in its place is named as well: 'AMD EPYC 9254 as x86-64-v3, 2 cores'.
    """
    lesser = f" as {named}" if (named := os.environ.get(VARIABLE)) else ""
    count = physical_cores()
    return f"{_own_name()}{lesser}, {count} core{'s' if count > 1 else ''}"


def physical_cores() -> int:
    """Return how many cores this process may use, hyperthreads of one core being one."""
    cores = set()
    for number in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text(encoding="ascii").strip())
        except OSError:
            cores.add(str(number))
    return len(cores)


def _own_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
