"""Schedules softmax, normalizations and the like for a processor: one row after the other, from the cache."""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx

from tophub_registry.compiler.blocks import iterations, reduces
from tophub_registry.compiler.processor_tiles import LANES, SHORTEST_VECTOR, WORTH_THREADS

_SHORT_ROW = 64
"""Numbers below which a row that is no multiple of a vector is better computed across rows: one for each class, say."""


def schedule_rows(sch: Any) -> bool:
    """Compute softmax, normalization and the like one row after the other, rows in parallel; return whether it is one.

    All sums of such a function go over the last axis, and all of its blocks have the same rows. Then a row is read from
    memory once, and stays in the cache for the rest.
    """
    *inner, output = sch.get_child_blocks(sch.get_sblock("root"))
    summed = [block for block in inner if reduces(sch, block)]
    if not summed or reduces(sch, output) or not all(_is_row_by_row(sch, block) for block in (*inner, output)):
        return False
    *rows, last = sch.get_loops(output)
    count, length = iterations(sch, *rows), iterations(sch, last)
    if not rows or any(_rows_of(sch, block) != count for block in inner):
        return False
    if _lanes_for(length) == 1 and length < _SHORT_ROW:
        return False
    parts = [[*_in_lanes(sch, block), block] if reduces(sch, block) else [block] for block in inner]
    row = sch.fuse(*rows)
    for block in reversed([block for each in parts for block in each]):
        sch.compute_at(block, row, preserve_unit_loops=True)
    if iterations(sch, *sch.get_loops(output)) >= WORTH_THREADS:
        sch.parallel(row)
    for block in (*(block for each in parts for block in each), output):
        _schedule_row(sch, block)
    return True


def _is_row_by_row(sch: Any, block: Any) -> bool:
    """Return whether a block is a plain loop nest, in which at most the last loop is a sum's."""
    kinds = [variable.iter_type for variable in sch.get(block).iter_vars]
    if len(kinds) != len(sch.get_loops(block)) or not kinds:
        return False
    *rows, last = kinds
    return set(rows) <= {tirx.IterVar.DataPar} and last in (tirx.IterVar.DataPar, tirx.IterVar.CommReduce)


def _rows_of(sch: Any, block: Any) -> int:
    return iterations(sch, *sch.get_loops(block)[:-1])


def _in_lanes(sch: Any, block: Any) -> list[Any]:
    """Sum up a row in the lanes of a vector, if they divide it; return the block that does."""
    *rows, k = sch.get_loops(block)
    lanes = _lanes_for(iterations(sch, k))
    if lanes == 1:
        return []
    _, lane = sch.split(k, [None, lanes])
    return [sch.rfactor(lane, len(rows))]


def _lanes_for(extent: int) -> int:
    """Return the lanes of the longest vector that divides a row, 1 if there is none."""
    lanes = math.gcd(extent, LANES)
    return lanes if lanes >= SHORTEST_VECTOR else 1


def _schedule_row(sch: Any, block: Any) -> None:
    """Vectorize the loop over a row, or over the lanes of its sums."""
    kinds = [variable.iter_type for variable in sch.get(block).iter_vars]
    loops = sch.get_loops(block)
    if tirx.IterVar.CommReduce not in kinds:
        lanes = _lanes_for(iterations(sch, loops[-1]))
        if lanes > 1:  # otherwise LLVM vectorizes it, with a remainder
            _, lane = sch.split(loops[-1], [None, lanes])
            sch.vectorize(lane)
        return
    inner = loops[-len(kinds) :]
    summed = inner[kinds.index(tirx.IterVar.CommReduce)]
    lane = inner[0]
    if lane is summed or iterations(sch, lane) == 1:
        sch.decompose_reduction(block, summed)
        return
    sch.reorder(summed, lane)
    sch.vectorize(lane)
    init = sch.decompose_reduction(block, summed)
    sch.vectorize(sch.get_loops(init)[-1])
