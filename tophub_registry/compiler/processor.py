"""The rule for processors: inlines what it can, and schedules the other loop nests as rows or as tiles."""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir import dlight

from tophub_registry.compiler.blocks import has_loops, is_padding, iterations, reduces
from tophub_registry.compiler.inlining import inline
from tophub_registry.compiler.processor_rows import schedule_rows
from tophub_registry.compiler.processor_tiles import LANES, tile


class Processor(dlight.ScheduleRule):  # type: ignore[misc]  # TVM has no types
    """Schedules a function for a processor.

    Padding is written row by row where a window reads it, so that it stays in the cache.
    """

    def apply(self, func: Any, target: Any, tunable: bool) -> Any:  # noqa: ARG002  # dlight's signature
        """Return the schedule of a function; None if its loops have no constant extents."""
        if not _is_static(func):
            return None
        sch = s_tir.Schedule(func, debug_mask="none")
        if not has_loops(func):
            return sch
        root = sch.get_sblock("root")
        padding = [block for block in sch.get_child_blocks(root)[:-1] if not inline(sch, block)]
        if schedule_rows(sch):
            return sch
        padding = [block for block in padding if is_padding(sch, block) and _windows(sch, block)]
        apart = [sch.get(block).name_hint for block in padding]
        rows = {
            sch.get(block).name_hint: tile(sch, block)
            for block in sch.get_child_blocks(root)
            if sch.get(block).name_hint not in apart
        }
        for block in padding:
            (window,) = sch.get_consumers(block)
            row = rows.get(sch.get(window).name_hint.removesuffix("_update"))
            _pad(sch, block, row)
        return sch


def _is_static(func: Any) -> bool:
    """Return whether the extents of all loops are constant."""
    sizes: list[Any] = []
    tvm_ffi.structural_walk(func.body, [(tirx.For, lambda loop: sizes.append(loop.extent))], order="post")
    return all(isinstance(size, tirx.IntImm) for size in sizes)


def _windows(sch: Any, block: Any) -> bool:
    """Return whether a single block reads this one, and reduces over a window."""
    consumers = sch.get_consumers(block)
    return len(consumers) == 1 and reduces(sch, consumers[0])


def _pad(sch: Any, block: Any, tasks: Any) -> None:
    """Compute padding in the task that reads it."""
    if tasks is None:
        tile(sch, block)
        return
    sch.compute_at(block, tasks)
    extent = iterations(sch, sch.get_loops(block)[-1])
    if extent <= LANES:
        sch.vectorize(sch.get_loops(block)[-1])
