"""What a scheduled kernel for a processor gets that schedules can't express."""

from __future__ import annotations

import math
from typing import Any

from tophub_registry.templates.prefetch import MOST_SUMS, PREFETCH, prefetches, sum_in

_SHORTEN = "tophub.shorten"


def shorten(sch: Any, loop: Any, axis: int, total: int) -> None:
    """Mark a loop over a part of a sum's terms: the last part has fewer, so that all parts have `total`.

    Parameters
    ----------
    loop
        A loop of a sum, inside of which there are only other loops of it.
    axis
        The place of the parts among the axes of the sum's block.
    """
    sch.annotate(loop, _SHORTEN, [axis, total])


def finished(function: Any) -> Any:
    """Return a scheduled `tirx.PrimFunc` with what its loops are marked for; another function as it is.

    A function that had marked loops is lowered to loops without blocks.
    """
    import tvm_ffi
    from tvm import tirx

    marked = []

    def without_marks(loop: Any) -> Any:
        annotations = dict(loop.annotations)
        marks = {name: annotations.pop(name) for name in (_SHORTEN, PREFETCH) if name in annotations}
        if not marks:
            return loop
        marked.append(loop)
        extent, body = loop.extent, loop.body
        if _SHORTEN in marks:
            axis, total = (int(number) for number in marks[_SHORTEN])
            realize, _ = sum_in(body)
            extent = tirx.min(extent, total - realize.iter_values[axis] * extent)
        if PREFETCH in marks:
            body = tirx.SeqStmt([*prefetches(loop, marks[PREFETCH]), body])
        return tirx.For(loop.loop_var, loop.min, extent, loop.kind, body, annotations=annotations)

    body = tvm_ffi.structural_map(function.body, [(tirx.For, without_marks)])
    return _with_sums_on_stack(function.with_body(body)) if marked else function


def _with_sums_on_stack(function: Any) -> Any:
    """Return a function without blocks whose small arrays are on the stack, where LLVM makes registers of them.

    TVM allocates arrays of 1024 bytes and more, 16 sums of AVX-512, by a function of its runtime. For all that LLVM
    knows, a prefetch may read those, so that it would write sums to memory before each one.
    """
    import numpy as np
    import tvm
    import tvm_ffi
    from tvm import s_tir, tirx

    passes = [
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.CompactBufferAllocation(),
        s_tir.transform.LowerMatchBuffer(),
        s_tir.transform.LowerOpaqueBlock(),
    ]
    lowered = tvm.ir.transform.Sequential(passes)(tvm.IRModule({"main": function}))["main"]

    def on_stack(allocation: Any) -> Any:
        buffer = allocation.buffer
        size = math.prod(int(extent) for extent in buffer.shape) * np.dtype(str(buffer.dtype)).itemsize
        if size > MOST_SUMS:
            return allocation
        numbers = -(-size // np.dtype("int64").itemsize)  # TVM has stack arrays of such integers only
        pointer = tirx.call_intrin(buffer.data.ty, "tirx.tvm_stack_alloca", "shape", numbers)
        return tirx.DeclBuffer(buffer, data=pointer)

    return lowered.with_body(tvm_ffi.structural_map(lowered.body, [(tirx.AllocBuffer, on_stack)]))
