"""The device at hand: its target spelled out, whether it can run what is asked, and what records say of it."""

from __future__ import annotations

import os
import re

from tophub_registry.devices.peak import measure_peak
from tophub_registry.devices.processor import described, features, known, processor
from tophub_registry.devices.threads import thread_count
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.records.record import Provenance
from tophub_registry.records.target import Target

KINDS = ("llvm", "cuda")
"""The kinds of target that can be tuned for."""

# What vendors put around a GPU's model in its name, as in 'NVIDIA H100 80GB HBM3' or 'NVIDIA GeForce RTX 3090'.
_AROUND_MODEL = re.compile(r"NVIDIA|GeForce|Tesla|\d+GB|HBM\w*|PCIe|SXM\w*|[^A-Za-z0-9]")


def resolve(text: str) -> Target:
    """Parse a target given by the user and spell out what it leaves to this machine.

    `llvm` alone means this machine's processor (`llvm -mcpu=znver4`; see `processor`), `cuda` alone its GPU (`cuda
    -model=h100`).

    Raises
    ------
    UsageError
        It is no target that can be tuned for.
    EnvironmentFailure
        The GPU is left to this machine, which has none.
    """
    target = Target.parse(text)
    if target.kind not in KINDS:
        raise UsageError(f"can't tune for the target {text!r}", remedy=f"known kinds: {', '.join(KINDS)}")
    return _resolve_cuda(target) if target.kind == "cuda" else _resolve_llvm(target)


def _resolve_llvm(target: Target) -> Target:
    if "mcpu" not in target.attributes:
        return target.with_option("mcpu", processor())
    if not known(target.attributes["mcpu"]):
        raise UsageError(f"LLVM knows no processor {target.attributes['mcpu']!r}", remedy="see `llc -mcpu=help`")
    return target


def _resolve_cuda(target: Target) -> Target:
    if "model" in target.attributes:
        return target
    import tvm

    _check_gpu()
    return target.with_option("model", gpu_model(str(tvm.cuda(0).device_name)))


def gpu_model(name: str) -> str:
    """Return a GPU's model, as targets call it, from its name: 'h100' from 'NVIDIA H100 80GB HBM3'."""
    return _AROUND_MODEL.sub("", name).lower()


def compiled_for(target: Target) -> dict[str, object]:
    """Return the dict from which `tvm.target.Target` is made when a kernel is compiled for a target.

    For CUDA it names the architecture: the target's own, else that of this machine's GPU.
    """
    description = target.as_dict()
    if target.kind == "llvm":
        description.pop("keys", None)  # which say who looks for a record, not what to compile for
    if target.kind == "cuda" and "arch" not in description:
        import tvm

        _check_gpu()
        description["arch"] = "sm_" + str(tvm.cuda(0).compute_version).replace(".", "")
    return description


def check_runs_here(target: Target) -> None:
    """Raise EnvironmentFailure where this machine can't run code for the target."""
    if target.kind == "cuda":
        _check_gpu()
        return
    check_instructions(target, processor(), f"this machine ({processor()})")


def check_instructions(target: Target, name: str, machine: str) -> None:
    """Raise EnvironmentFailure where a machine with a processor, as LLVM calls it, can't run code for a CPU target."""
    if missing := sorted(features(target) - features(Target.parse(f"llvm -mcpu={name}"))):
        raise EnvironmentFailure(
            f"{machine} can't run code for {str(target)!r}: it lacks {', '.join(missing)}",
            remedy="leave -mcpu out to tune for the processor that is there",
        )


def _check_gpu() -> None:
    import tvm

    if not tvm.cuda(0).exist:
        raise EnvironmentFailure("there is no CUDA device here", remedy="name another --target")


def at_hand(kind: str) -> Provenance:
    """Return this machine's device as records name it; of a processor also the threads that kernels get."""
    if kind == "cuda":
        import tvm

        return Provenance(device=str(tvm.cuda(0).device_name) if tvm.cuda(0).exist else None)
    return Provenance(device=described(), threads=thread_count())


def describe(kind: str) -> Provenance:
    """Return what a record says of the device: a GPU's name, or the processor and TVM's threads; and its peak.

    Asking for the threads, which follow `TVM_NUM_THREADS` or TVM's own rule, starts them and binds the asking
    one to a core: never ask in a process that goes on to start others, which inherit that.
    """
    said = at_hand(kind)
    if kind != "cuda":
        import tvm

        bound = os.environ.get("TVM_BIND_THREADS", "1") != "0"
        said = said.model_copy(update={"threads": int(tvm.runtime.num_threads()), "bind_threads": bound})
    peak = measure_peak(kind)
    return said if peak is None else said.model_copy(update={"peak_gflops": round(peak, 1)})
