"""What rules for schedules ask of a function's blocks and loops."""

from __future__ import annotations

import math
from typing import Any

from tvm import s_tir, tirx


def has_loops(func: Any) -> bool:
    """Return whether a function consists of blocks in loops; a sort, for example, does not."""
    return isinstance(func.body, s_tir.SBlockRealize) and func.body.block.name_hint == "root"


def shape_of(sch: Any, block: Any) -> list[int]:
    """Return the extents of a block's spatial axes."""
    variables = sch.get(block).iter_vars
    return [int(variable.dom.extent) for variable in variables if variable.iter_type == tirx.IterVar.DataPar]


def reduces(sch: Any, block: Any) -> bool:
    """Return whether a block adds up, or chooses among, several numbers for each output."""
    return any(variable.iter_type == tirx.IterVar.CommReduce for variable in sch.get(block).iter_vars)


def iterations(sch: Any, *loops: Any) -> int:
    """Return how many iterations nested loops have together."""
    return math.prod(int(sch.get(loop).extent) for loop in loops)


def is_padding(sch: Any, block: Any) -> bool:
    """Return whether a block pads data, by its name in TVM."""
    return "pad" in sch.get(block).name_hint
