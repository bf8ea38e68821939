"""The device of this machine: its full target, whether it can run code for a target, and its description in records."""

from __future__ import annotations

from typing import Any

from tophub_registry.devices import gpu
from tophub_registry.devices.peak import measure_peak
from tophub_registry.devices.processor import described, features, known, processor
from tophub_registry.devices.threads import bound, thread_count
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.records.record import Provenance
from tophub_registry.records.target import Target

KINDS = ("llvm", "cuda")
"""The kinds of target that are supported."""


def resolve(text: str) -> Target:
    """Parse a target given by the user, and complete it with this machine's device.

    `llvm` alone means this machine's processor (`llvm -mcpu=znver4`; see `processor`), `cuda` alone its GPU (`cuda
    -model=h100`).

    Raises
    ------
    UsageError
        The target is not supported.
    EnvironmentFailure
        The target names no GPU, and this machine has none.
    """
    target = Target.parse(text)
    if target.kind not in KINDS:
        raise UsageError(f"unsupported target: {text!r}", remedy=f"supported kinds: {', '.join(KINDS)}")
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
        raise UsageError(f"LLVM knows no processor {target.attributes['mcpu']!r}", remedy="`llc -mcpu=help` lists them")
    return target


def _resolve_cuda(target: Target) -> Target:
    if "model" in target.attributes:
        return target
    return target.with_option("model", gpu.model_of(str(gpu.this_gpu().device_name)))


def compiled_for(target: Target) -> dict[str, object]:
    """Return the dict for `tvm.target.Target` with which kernels for a target are compiled.

    For CUDA it has the architecture: the target's own, or else that of this machine's GPU.
    """
    description = target.as_dict()
    if target.kind == "llvm":
        description.pop("keys", None)  # keys affect look-up, not code generation
    if target.kind == "cuda":
        description["arch"] = gpu.in_full(str(description.get("arch") or gpu.architecture_of(gpu.this_gpu())))
    _check_known(description)
    return description


def _check_known(description: dict[str, object]) -> None:
    """Raise UsageError if TVM does not know one of a target's options."""
    import tvm

    try:
        tvm.target.Target(description)
    except ValueError as error:
        first = str(error).strip().splitlines()[0].partition(" Known options:")[0]
        raise UsageError(f"not a target of TVM's: {first}", remedy="check the spelling of --target") from error


def check_runs_here(target: Target) -> None:
    """Raise EnvironmentFailure if this machine can't run code for the target."""
    if target.kind == "cuda":
        gpu.this_gpu()
        return
    check_instructions(target, processor(), f"this machine ({processor()})")


def check_instructions(target: Target, name: str, machine: str) -> None:
    """Raise EnvironmentFailure if a machine with this processor (LLVM's name) can't run code for a CPU target."""
    if missing := sorted(features(target) - features(Target.parse(f"llvm -mcpu={name}"))):
        raise EnvironmentFailure(
            f"{machine} can't run code for {str(target)!r}: it lacks {', '.join(missing)}",
            remedy="omit -mcpu to use that machine's processor",
        )


def at_hand(kind: str) -> Provenance:
    """Return this machine's device as records name it; for a processor, also the number of threads of kernels."""
    if kind == "cuda":
        import tvm

        return Provenance(device=str(tvm.cuda(0).device_name) if tvm.cuda(0).exist else None)
    return Provenance(device=described(), threads=thread_count())


def describe(kind: str) -> Provenance:
    """Return the description of the device in records: a GPU's name, or the processor and TVM's threads; and the peak.

    Asking TVM for its number of threads (`TVM_NUM_THREADS`, or its own default) starts its thread pool and binds
    the calling thread to a core, which child processes inherit: never call this in a process that starts others.
    """
    said = at_hand(kind)
    if kind != "cuda":
        import tvm

        said = said.model_copy(update={"threads": int(tvm.runtime.num_threads()), "bind_threads": bound()})
    peak = measure_peak(kind)
    return said if peak is None else said.model_copy(update={"peak_gflops": round(peak, 1)})
