"""The speed that a device can't exceed: a record that claims more is wrong.

Peak rates are the vendors' figures for float32 without matrix units. If a target names no device that is listed
here, the limit is one that no device of its kind reaches yet. The limits are generous upper bounds: a false alarm
would do more harm than a missed one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tophub_registry.records.flops import flop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tophub_registry.records.record import Value
    from tophub_registry.records.target import Target

TERA = 1e12

PEAKS = {
    "1080ti": 11.34 * TERA,
    "titanx": 10.97 * TERA,
    "tx2": 0.665 * TERA,
    "jetson-nano": 0.236 * TERA,
    "t4": 8.1 * TERA,
    "v100": 15.7 * TERA,
    "a100": 19.5 * TERA,
    "h100": 66.9 * TERA,
    "h200": 66.9 * TERA,
    "gfx900": 13.1 * TERA,
}
"""Operations a second in float32, by the targets' models."""

ANY_PROCESSOR = 50 * TERA
ANY_ACCELERATOR = 250 * TERA

# A clock above the vendor's figure, and rounding.
_MARGIN = 1.15
# F(6x6, 3x3) needs 5.07 times fewer multiplications, and AutoTVM has no larger Winograd.
_WINOGRAD = 5.07
# Narrower types on vector units, and any type but float64 on matrix units.
_NARROW = 8
_MATRIX_UNIT = 32
_NARROW_TYPES = ("float16", "bfloat16", "int8", "uint8", "int16", "uint16", "int4", "uint4", "int1", "uint1")


def on_matrix_units(task: str) -> bool:
    """Return whether a task is one of tensor cores, by its name: AutoTVM's or ours."""
    return any(part in task for part in ("tensorcore", "_mma_", "_wgmma_"))


def limit(target: Target) -> float:
    """Return the float32 operations a second that the target's device can't exceed without matrix units."""
    if target.model in PEAKS:
        return PEAKS[target.model]
    return ANY_PROCESSOR if target.kind in ("llvm", "c", "hexagon") else ANY_ACCELERATOR


def quickest(target: Target, task: str, args: Sequence[Value], peak: float | None = None) -> float:
    """Return the least time in seconds that a kernel of a workload can take; 0 if its arithmetic is unknown.

    Parameters
    ----------
    peak
        The device's own float32 peak, in operations a second, if it is known.
    """
    operations = flop(task, args)
    if operations is None:
        return 0.0
    bound = (peak or limit(target)) * _MARGIN
    if "winograd" in task:
        bound *= _WINOGRAD
    if on_matrix_units(task) or (target.kind != "llvm" and args[0][2] in _NARROW_TYPES):
        bound *= _MATRIX_UNIT
    elif args[0][2] in _NARROW_TYPES:
        bound *= _NARROW
    return operations / bound
