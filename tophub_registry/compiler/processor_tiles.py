"""Schedules loop nests for a processor: parallel outside, vectorized inside."""

from __future__ import annotations

import math
from typing import Any

import tvm_ffi
from tvm import tirx

from tophub_registry.compiler.blocks import iterations

LANES = 16
"""Maximum number of elements of a vector loop: one register of AVX-512, two of AVX2."""

SHORTEST_VECTOR = 4

_HALF = LANES // 2

WORTH_THREADS = 4096
"""Number of elements below which starting threads takes longer than the loop."""

_TASKS = 64
"""Iterations of a parallel loop that keep the cores of any processor busy."""

_WORTH_A_LOOP = 8
"""Iterations below which a loop of its own costs more than index arithmetic in a fused one."""

_UNROLLED = 16
"""Steps up to which a sum is unrolled, so that it stays in a register: windows of 2x2 and 3x3."""


def tile(sch: Any, block: Any) -> Any:
    """Parallelize the outer loops and vectorize the innermost one; return the loop over tasks, if there is one."""
    loops = sch.get_loops(block)
    variables = sch.get(block).iter_vars
    if not loops or len(loops) != len(variables):
        return None  # not a plain loop nest, for example a sort
    kinds = [variable.iter_type for variable in variables]
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == tirx.IterVar.DataPar]
    reduced = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == tirx.IterVar.CommReduce]
    if len(spatial) + len(reduced) != len(loops) or not spatial:
        return None
    size = iterations(sch, *loops)
    last = max((place for place, loop in enumerate(spatial) if iterations(sch, loop) > 1), default=0)
    outer, vector = _split(sch, block, spatial[: last + 1])
    outer = spatial[last + 1 :] + outer
    sch.reorder(*outer, *reduced, *vector)
    tasks = None
    if outer:
        # The last of several loops stays apart: fusing it would cost divisions for the index.
        alone = int(iterations(sch, *outer[:-1]) >= _TASKS and iterations(sch, outer[-1]) >= _WORTH_A_LOOP)
        tasks = sch.fuse(*outer[: len(outer) - alone])
        if size >= WORTH_THREADS:
            sch.parallel(tasks)
    for loop in vector:
        sch.vectorize(loop)
    if reduced:
        _sum_in_registers(sch, block, reduced, vector)
    return tasks


def _split(sch: Any, block: Any, spatial: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return the outer loops, and the loop over a vector's elements if there is one.

    The loop over a block of channels is the last of the outer ones, so that a cache line is used up before it is
    evicted.
    """
    *outer, inner = spatial
    blocks = _blocks_read(sch, block)
    inside = []
    for place, loop in enumerate(spatial[:-1]):
        widths = blocks.get(place, set())
        width = next(iter(widths)) if len(widths) == 1 else 1
        if 1 < width <= LANES and iterations(sch, loop) % width == 0:
            outer[place], channel = sch.split(loop, [None, width])
            inside.append(channel)
    extent = iterations(sch, inner)
    widths = blocks.get(len(outer), set())
    contiguous = math.gcd(extent, *widths)
    run = contiguous if len(widths) == 1 and contiguous >= SHORTEST_VECTOR else extent
    whole = math.gcd(run, LANES)  # registers, or half of one
    lanes = whole if whole >= _HALF else next(n for n in range(min(LANES, run), 0, -1) if run % n == 0)
    if lanes == 1:
        return [*outer, inner, *inside], []
    if lanes < extent:
        rest, inner = sch.split(inner, [None, lanes])
        # Between two block sizes, the offset within a block is computed once for each row.
        outer.insert(len(outer) - 1 if outer and run < extent else len(outer), rest)
    return [*outer, *inside], [inner]


def _sum_in_registers(sch: Any, block: Any, reduced: list[Any], vector: list[Any]) -> None:
    if iterations(sch, *reduced) <= _UNROLLED:
        for loop in reduced:
            sch.unroll(loop)
    init = sch.decompose_reduction(block, reduced[0])
    if vector:
        sch.vectorize(sch.get_loops(init)[-1])


def _blocks_read(sch: Any, block: Any) -> dict[int, set[int]]:
    """Return the divisors in the indices that a block reads, by the last spatial axis that they depend on."""
    described = sch.get(block)
    variables = [each.var for each in described.iter_vars if each.iter_type == tirx.IterVar.DataPar]
    found: dict[int, set[int]] = {}

    def note(remainder: Any) -> None:
        if isinstance(remainder.b, tirx.IntImm):
            used = tirx.analysis.undefined_vars(remainder.a)
            places = [i for i, variable in enumerate(variables) if any(variable.same_as(each) for each in used)]
            if places:
                found.setdefault(places[-1], set()).add(int(remainder.b))

    for region in described.reads:
        for axis in region.region:
            tvm_ffi.structural_walk(axis.min, [(tirx.FloorMod, note)], order="post")
    return found
