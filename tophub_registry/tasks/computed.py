"""A function as our compiler computes it: with other layers than the model has, where some target gains by them."""

from __future__ import annotations

from tvm import relax

from tophub_registry.tasks.frames import framed
from tophub_registry.tasks.interleaved import interleaved, interleaved_in_groups
from tophub_registry.tasks.phases import undilated
from tophub_registry.tasks.pixels import flattened
from tophub_registry.tasks.rows import heightened
from tophub_registry.tasks.rules import FLOAT32
from tophub_registry.tasks.widened import widened


def as_computed(function: relax.Function, kind: str, precision: str = FLOAT32) -> relax.Function:
    """Return a function in normal form with the layers that a kind of target computes instead; the same if none are."""
    function = framed(heightened(function), by_tap=kind == "llvm")
    if kind == "llvm":
        return widened(interleaved_in_groups(function))
    if kind != "cuda":
        return function
    function = flattened(function)
    # Winograd's algorithm is computed in float32 only, and tensor cores read pixels wherever they lie.
    return undilated(interleaved(function)) if precision == FLOAT32 else function
