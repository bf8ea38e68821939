"""Restricts frameworks to the instructions of the target's family, if this machine has more.

`--processor x86-64-v3` on a machine with AVX-512 compiles AVX2 code. oneDNN, MKL, OpenBLAS and ATen have environment
variables for that; ONNX Runtime and ncnn always use what the processor has.
"""

from __future__ import annotations

from collections.abc import Mapping

from tophub_registry.records.families import FAMILIES, family_of
from tophub_registry.records.target import Target

UNRESTRICTED = "not restricted to"
"""What the note of a framework that uses more instructions than the target's family has says."""

_COMPILED_FOR_THE_TARGET = frozenset({"tophub", "no-records", "tvm", "metaschedule"})
_OBEDIENT = frozenset({"gluoncv", "openvino", "pytorch"})
"""The frameworks whose kernels are in the libraries that `_SETTINGS` restricts."""

_SETTINGS = {
    "x86-64-v3": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "DNNL_MAX_CPU_ISA": "AVX2",  # oneDNN before 2.4, which MXNet has
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
    }
}


def restriction(target: Target, processor: str) -> str | None:
    """Return the family to which frameworks should be restricted; None if the processor's is no greater, or unknown."""
    family, own = family_of(target), family_of(Target.parse(f"llvm -mcpu={processor}"))
    if family not in FAMILIES or own not in FAMILIES or FAMILIES.index(family) >= FAMILIES.index(own):
        return None
    return family


def settings(family: str | None) -> Mapping[str, str]:
    """Return the environment variables that restrict frameworks to a family."""
    return _SETTINGS.get(family or "", {})


def note(framework: str, family: str | None) -> str:
    """Return what to know about a framework's instructions; empty if there is nothing."""
    if family is None or framework in _COMPILED_FOR_THE_TARGET:
        return ""
    return f"restricted to {family}" if framework in _OBEDIENT and family in _SETTINGS else f"{UNRESTRICTED} {family}"
