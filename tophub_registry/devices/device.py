"""The device at hand: its target spelled out, whether it can run what is asked, and what records say of it."""

from __future__ import annotations

import os
from typing import Any

from tophub_registry.devices import gpu
from tophub_registry.devices.peak import measure_peak
from tophub_registry.devices.processor import described, features, known, processor
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.records.record import Provenance
from tophub_registry.records.target import Target

KINDS = ("llvm", "cuda")
"""The kinds of target that can be tuned for."""


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


def spelled(target: Any) -> str:
    """Return a `tvm.target.Target` as logs spell it: `llvm -mcpu=znver4`; of a GPU its architecture says enough."""
    options = "".join(
        f" -{name}={target.attrs[name]}" for name in ("mcpu", "arch", "model") if target.attrs.get(name) is not None
    )
    return f"{target.kind.name}{options}"


def _resolve_llvm(target: Target) -> Target:
    if "mcpu" not in target.attributes:
        return target.with_option("mcpu", processor())
    if not known(target.attributes["mcpu"]):
        raise UsageError(f"LLVM knows no processor {target.attributes['mcpu']!r}", remedy="see `llc -mcpu=help`")
    return target


def _resolve_cuda(target: Target) -> Target:
    if "model" in target.attributes:
        return target
    return target.with_option("model", gpu.model_of(str(gpu.this_gpu().device_name)))


def compiled_for(target: Target) -> dict[str, object]:
    """Return the dict from which `tvm.target.Target` is made when a kernel is compiled for a target.

    For CUDA it names the architecture: the target's own, else that of this machine's GPU.
    """
    description = target.as_dict()
    if target.kind == "llvm":
        description.pop("keys", None)  # which say who looks for a record, not what to compile for
    if target.kind == "cuda" and "arch" not in description:
        description["arch"] = gpu.architecture_of(gpu.this_gpu())
    return description


def check_runs_here(target: Target) -> None:
    """Raise EnvironmentFailure where this machine can't run code for the target."""
    if target.kind == "cuda":
        gpu.this_gpu()
        return
    check_instructions(target, processor(), f"this machine ({processor()})")


def check_instructions(target: Target, name: str, machine: str) -> None:
    """Raise EnvironmentFailure where a machine with a processor, as LLVM calls it, can't run code for a CPU target."""
    if missing := sorted(features(target) - features(Target.parse(f"llvm -mcpu={name}"))):
        raise EnvironmentFailure(
            f"{machine} can't run code for {str(target)!r}: it lacks {', '.join(missing)}",
            remedy="leave -mcpu out to tune for the processor that is there",
        )


def describe(kind: str) -> Provenance:
    """Return what a record says of the device: a GPU's name, or the processor and TVM's threads; and its peak.

    Asking for the threads, which follow `TVM_NUM_THREADS` or TVM's own rule, starts them and binds the asking
    one to a core: never ask in a process that goes on to start others, which inherit that.
    """
    import tvm

    if kind == "cuda":
        said = Provenance(device=str(tvm.cuda(0).device_name))
    else:
        said = Provenance(
            device=described(),
            threads=int(tvm.runtime.num_threads()),
            bind_threads=os.environ.get("TVM_BIND_THREADS", "1") != "0",
        )
    peak = measure_peak(kind)
    return said if peak is None else said.model_copy(update={"peak_gflops": round(peak, 1)})
