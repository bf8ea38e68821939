"""Prefetches: while a kernel computes, it asks for the weights and the data that come next.

In a model the weights come from memory, or from a cache that is far away, data that another core wrote from that core's
cache, and the hardware fetches only a little ahead. A kernel that works through one panel of weights for many tiles of
the image asks, during each tile, for a part of the next panel, so that memory and arithmetic work at the same time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

PREFETCH = "tophub.prefetch"
"""The annotation of marked loops."""

_LINE = 64
"""Bytes of a cache line."""

MOST_SUMS = 2048
"""The bytes of the most registers there are, AVX-512's: more sums than that are in memory anyway."""

WEIGHTS, DATA = -1, -2
"""A sum's factors, counted from the end of what its block reads."""

_FIRST_LEVEL, _SECOND_LEVEL = 3, 2
"""The caches to fetch into, as LLVM numbers them: `prefetcht0` and `prefetcht1`."""


class Prefetch(NamedTuple):
    """What to ask for in each iteration of a loop over the terms of a sum.

    Attributes
    ----------
    factor
        `WEIGHTS` or `DATA`.
    ahead
        How many numbers further the needed ones are, counted from those that the iteration itself reads.
    numbers
        How many numbers an iteration needs; they are adjacent.
    part, parts
        An axis of the sum's block, and its length, if its values share them: the tiles of an image that are computed
        with one panel of weights, and ask for the next.
    """

    factor: int
    ahead: int
    numbers: int
    part: int = 0
    parts: int = 1


def can_prefetch(sums: int, itemsize: int = 4) -> bool:
    """Return whether a tile with this many sums stays in registers if its kernel prefetches."""
    return sums * itemsize <= MOST_SUMS


def prefetch(sch: Any, loop: Any, *needed: Prefetch) -> None:
    """Mark a loop over the terms of a sum for `prefetches`; only other loops of the sum may be inside it."""
    sch.annotate(loop, PREFETCH, [number for each in needed for number in each])


def prefetches(loop: Any, marked: Any) -> list[Any]:
    """Return the statements that ask for what a `tirx.For` is marked for with the value `marked`."""
    values = [int(number) for number in marked]
    length = len(Prefetch._fields)
    needed = [Prefetch(*values[start : start + length]) for start in range(0, len(values), length)]
    return [statement for each in needed for statement in _statements(loop, each)]


def _statements(loop: Any, needed: Prefetch) -> list[Any]:
    import numpy as np
    from tvm import tirx

    realize, inner = sum_in(loop.body)
    block = realize.block
    first = [(variable, tirx.const(0, str(variable.ty))) for variable in inner]
    values = [(axis.var, _with(value, first)) for axis, value in zip(block.iter_vars, realize.iter_values, strict=True)]
    factor = block.reads[needed.factor]
    *outer, last = [_with(axis.min, values) for axis in factor.region]
    in_line = _LINE // np.dtype(str(factor.source.ty.dtype)).itemsize
    lines = -(-needed.numbers // in_line)
    share = -(-lines // needed.parts)
    level = _SECOND_LEVEL if needed.factor == WEIGHTS else _FIRST_LEVEL
    statements = []
    for number in range(share):
        line = values[needed.part][1] * share + number if needed.parts > 1 else number
        tiles = int(block.iter_vars[needed.part].dom.extent) if needed.parts > 1 else 1
        line = line % lines if tiles * share > lines else line
        place = last + needed.ahead + line * in_line  # beyond the end of the axis, but memory is linear
        address = tirx.address_of(tirx.BufferLoad(factor.source, [*outer, place]))
        statements.append(tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, 0, level, 1)))
    return statements


def sum_in(body: Any) -> tuple[Any, list[Any]]:
    """Return the block in nested loops, and the loops' variables; prefetches may be before it."""
    from tvm import tirx

    variables = []
    while isinstance(body, (tirx.For, tirx.SeqStmt)):
        if isinstance(body, tirx.For):
            variables.append(body.loop_var)
        body = body.body if isinstance(body, tirx.For) else body.seq[-1]
    return body, variables


def _with(expression: Any, values: list[tuple[Any, Any]]) -> Any:
    """Return an expression with values for some of its variables."""
    import tvm
    import tvm_ffi

    def valued(variable: Any) -> Any:
        return next((value for its, value in values if variable.same_as(its)), variable)

    return tvm_ffi.structural_map(expression, [(tvm.ir.Var, valued)])
