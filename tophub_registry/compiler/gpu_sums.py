"""Sums on a GPU, of small windows and of long columns, for which TVM's own rules (`dlight`) waste threads."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from tvm import s_tir, tirx
from tvm.s_tir import dlight

from tophub_registry.compiler.blocks import has_loops, iterations, reduces, shape_of

THREADS = 128
"""Threads of a block that are independent of each other."""

_WARP = 32
"""Threads of a GPU that run together. Sums of fewer terms are faster in a single thread."""

_COLUMNS = 8
"""Neighbouring columns that a block of threads sums up: 32 bytes, which a GPU reads at once."""

_ROWS = 128
"""The most rows of threads of such a block."""

_EACH = 4
"""Numbers that each of its threads adds up, or more."""


class Windows(dlight.ScheduleRule):  # type: ignore[misc]  # TVM has no types
    """Schedules small windows for a GPU: one thread for each output, unlike `dlight`'s block of threads."""

    def apply(self, func: Any, target: Any, tunable: bool) -> Any:  # noqa: ARG002  # dlight's signature
        """Return the schedule of a function that is such a sum; None for others."""
        if (found := _sum_in(func)) is None:
            return None
        sch, window, output = found
        if not 1 < _extent_of_sum(sch, window) <= _WARP:
            return None
        if output is None:
            output = sch.cache_write(window, 0, "local")
        else:
            sch.set_scope(window, 0, "local")
        blocks, threads = sch.split(sch.fuse(*sch.get_loops(output)), [None, THREADS])
        sch.bind(blocks, "blockIdx.x")
        sch.bind(threads, "threadIdx.x")
        sch.compute_at(window, threads)
        for loop in sch.get_loops(window)[2:]:
            sch.unroll(loop)  # which removes the test for the first step
        return sch


class Nested(dlight.ScheduleRule):  # type: ignore[misc]  # TVM has no types
    """Schedules sums over windows of different sizes for a GPU, which are blocks in blocks: one thread for each.

    `dlight` has no rule for them, and they would run on the processor, in the GPU's memory.
    """

    def apply(self, func: Any, target: Any, tunable: bool) -> Any:  # noqa: ARG002  # dlight's signature
        """Return the schedule of a function with such a block; None for others."""
        if not has_loops(func):
            return None
        sch = s_tir.Schedule(func, debug_mask="none")
        blocks = sch.get_child_blocks(sch.get_sblock("root"))
        if not any(sch.get_child_blocks(block) for block in blocks) or any(reduces(sch, block) for block in blocks):
            return None
        for block in blocks:
            outer, threads = sch.split(sch.fuse(*sch.get_loops(block)), [None, THREADS])
            sch.bind(outer, "blockIdx.x")
            sch.bind(threads, "threadIdx.x")
        return sch


class Columns(dlight.ScheduleRule):  # type: ignore[misc]  # TVM has no types
    """Schedules long sums of columns for a GPU, such as means of images with channels last.

    Unlike `dlight`'s, blocks are narrow and high, so that many multiprocessors and threads share few columns.
    """

    def apply(self, func: Any, target: Any, tunable: bool) -> Any:  # noqa: ARG002  # dlight's signature
        """Return the schedule of a function that is such a sum; None for others."""
        if (found := _sum_in(func)) is None:
            return None
        sch, column, output = found
        if _extent_of_sum(sch, column) <= _WARP or not _sums_columns(sch, column):
            return None
        rows = min(_ROWS, 1 << (_extent_of_sum(sch, column) // _EACH).bit_length())
        _, row = sch.split(sch.fuse(*sch.get_loops(column)[len(shape_of(sch, column)) :]), [None, rows])
        parts = sch.rfactor(row, 0)
        sch.set_scope(parts, 0, "local")
        *outer, columns, summed, row = sch.get_loops(parts)
        block, x = sch.split(columns, [None, math.gcd(iterations(sch, columns), _COLUMNS)])
        block = sch.fuse(*outer, block)
        sch.reorder(block, x, row, summed)
        for loop, thread in ((block, "blockIdx.x"), (x, "threadIdx.x"), (row, "threadIdx.y")):
            sch.bind(loop, thread)
        sch.decompose_reduction(parts, summed)
        sch.reverse_compute_at(column, block, preserve_unit_loops=True)
        _, row, *rest = sch.get_loops(column)
        x = sch.fuse(*rest)
        sch.reorder(x, row)
        sch.bind(x, "threadIdx.x")
        sch.bind(row, "threadIdx.y")
        if output is not None:
            sch.set_scope(column, 0, "local")
            sch.reverse_compute_at(output, block, preserve_unit_loops=True)
            sch.bind(sch.fuse(*sch.get_loops(output)[1:]), "threadIdx.x")
        return sch


def _sum_in(func: Any) -> tuple[Any, Any, Any] | None:
    """Return a function's schedule, its first block, and the elementwise one behind it, if any.

    What comes before these is computed where it is read. None for functions of another form.
    """
    if not has_loops(func):
        return None
    sch = s_tir.Schedule(func, debug_mask="none")
    root = sch.get_sblock("root")
    for block in sch.get_child_blocks(root)[:-1]:
        _inlined_forward(sch, block)
    first, *following = sch.get_child_blocks(root)
    if len(following) > 1 or any(
        reduces(sch, each) or shape_of(sch, each) != shape_of(sch, first) for each in following
    ):
        return None
    return sch, first, following[0] if following else None


def _sums_columns(sch: Any, block: Any) -> bool:
    """Return whether a block sums up one buffer over axes before its last, along which its own last axis goes."""
    found = sch.get(block)
    kinds = [variable.iter_type for variable in found.iter_vars]
    spatial = kinds.count(tirx.IterVar.DataPar)
    in_order = kinds == [tirx.IterVar.DataPar] * spatial + [tirx.IterVar.CommReduce] * (len(kinds) - spatial)
    last = found.reads[0].region[-1].min if len(found.reads) == 1 else None
    return in_order and bool(spatial) and last is not None and bool(last.same_as(found.iter_vars[spatial - 1].var))


def _inlined_forward(sch: Any, block: Any) -> None:
    """Compute a block where it is read, if possible."""
    with contextlib.suppress(s_tir.ScheduleError):
        sch.compute_inline(block)


def _extent_of_sum(sch: Any, block: Any) -> int:
    """Return how many terms each output of a block sums up; 1 if it is not a sum."""
    variables = sch.get(block).iter_vars
    return math.prod(int(each.dom.extent) for each in variables if each.iter_type == tirx.IterVar.CommReduce)
