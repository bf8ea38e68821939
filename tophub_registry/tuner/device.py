"""The device at hand: its target spelled out, its name, and the threads that kernels will run on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.records.record import Provenance
from tophub_registry.records.target import Target

KINDS = ("llvm",)
"""The kinds of target that can be tuned for."""


def resolve(text: str) -> Target:
    """Parse a target given by the user and spell out what it leaves to this machine.

    `llvm` alone means this machine's processor, `llvm -mcpu=znver4` for example.

    Raises
    ------
    UsageError
        It is no target that can be tuned for.
    """
    target = Target.parse(text)
    if target.kind not in KINDS:
        raise UsageError(f"can't tune for the target {text!r}", remedy=f"known kinds: {', '.join(KINDS)}")
    import tvm

    if "mcpu" not in target.attributes:
        target = target.with_option("mcpu", str(tvm.target.codegen.llvm_get_system_cpu()))
    elif target.attributes["mcpu"] not in map(
        str, tvm.target.codegen.llvm_get_cpu_archlist(tvm.target.Target({"kind": "llvm"}))
    ):
        raise UsageError(f"LLVM knows no processor {target.attributes['mcpu']!r}", remedy="see `llc -mcpu=help`")
    return target


def describe(threads: int) -> Provenance:
    """Return what a record says of this machine's processor and of TVM's threads.

    Parameters
    ----------
    threads
        Threads of TVM's runtime in the process that runs the kernels.
    """
    cores = len(os.sched_getaffinity(0))
    return Provenance(
        device=f"{_processor()}, {cores} core{'s' if cores > 1 else ''}",
        threads=threads,
        bind_threads=os.environ.get("TVM_BIND_THREADS", "1") != "0",
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def check_runs_here(target: Target) -> None:
    """Raise EnvironmentFailure where this machine can't run code for the target."""
    import tvm

    here = str(tvm.target.codegen.llvm_get_system_cpu())
    wanted = set(map(str, tvm.target.codegen.llvm_get_cpu_features(tvm.target.Target(target.as_dict()))))
    has = set(map(str, tvm.target.codegen.llvm_get_cpu_features(tvm.target.Target({"kind": "llvm", "mcpu": here}))))
    # Features that only tune the code generator differ between any two processors; instruction sets do not.
    vectors = {feature for feature in wanted if feature.startswith(("avx", "sse", "fma", "amx"))}
    if missing := sorted(vectors - has):
        raise EnvironmentFailure(
            f"this machine ({here}) can't run code for {str(target)!r}: it lacks {', '.join(missing)}",
            remedy="leave -mcpu out to tune for this machine",
        )
