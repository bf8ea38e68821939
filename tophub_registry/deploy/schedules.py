"""Schedules for the functions of a lowered module: records' kernels as their configs say, all else by general rules.

What follows a kernel element by element is computed where the kernel writes its output. On a processor all other
loops run in parallel outside and in vectors inside; on a GPU TVM's own rules (`dlight`) bind them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import dlight

from tophub_registry.deploy.choice import Kernel
from tophub_registry.deploy.lowering import KERNEL

_LANES = 16
"""Elements that a vector loop has at most: a register of AVX-512, two of AVX2."""

_WORTH_THREADS = 4096
"""Elements below which starting threads takes longer than the loop."""

_THREADS = 128


def schedule_all(module: tvm.IRModule, target: tvm.target.Target, kernels: Sequence[Kernel]) -> tvm.IRModule:
    """Schedule every function of a lowered and fused module.

    Parameters
    ----------
    kernels
        Those that the annotations `KERNEL` number.
    """
    module = tirx.transform.ForceNarrowIndexToInt32()(module)
    with target:
        rules: list[Any] = [_Kernels(kernels, target.kind.name)]
        if target.kind.name == "cuda":
            gpu = dlight.gpu
            rules += [gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback()]
        else:
            rules += [_Processor()]
        return dlight.ApplyDefaultSchedule(*rules)(module)


class _Kernels(dlight.ScheduleRule):  # type: ignore[misc]  # TVM has no types
    """Schedules a function that holds a record's kernel."""

    def __init__(self, kernels: Sequence[Kernel], kind: str) -> None:
        self._kernels = kernels
        self._kind = kind

    def apply(self, func: Any, target: Any, tunable: bool) -> Any:  # noqa: ARG002  # what dlight calls it with
        if not _has_loops(func):
            return None
        sch = s_tir.Schedule(func, debug_mask="none")
        blocks = sch.get_child_blocks(sch.get_sblock("root"))
        place = next((i for i, block in enumerate(blocks) if KERNEL in sch.get(block).annotations), None)
        if place is None:
            return None
        kernel = self._kernels[int(sch.get(blocks[place]).annotations[KERNEL])]
        output, following = blocks[place], blocks[place + 1 :]
        sch.unannotate(output, KERNEL)
        alike = [block for block in following if _shape(sch, block) == _shape(sch, output)]
        *between, last = alike or [None]
        for block in between:
            sch.compute_inline(block)
        fused = last is not None and not _reduces(sch, output)
        if fused:
            sch.reverse_compute_inline(last)
        kernel.template.apply(sch, kernel.config)
        apart = [block for block in following if block not in alike]
        if last is not None and not fused and not _inlined(sch, last):
            apart.insert(0, last)
        for block in apart:
            self._schedule(sch, block)
        return sch

    def _schedule(self, sch: Any, block: Any) -> None:
        """Schedule what follows a kernel and can't be computed where it writes its output."""
        if self._kind != "cuda":
            _tile(sch, block)
            return
        blocks, threads = sch.split(sch.fuse(*sch.get_loops(block)), [None, _THREADS])
        sch.bind(blocks, "blockIdx.x")
        sch.bind(threads, "threadIdx.x")


def _inlined(sch: Any, block: Any) -> bool:
    """Compute a block where its producer writes its output; return whether that could be done."""
    try:
        sch.reverse_compute_inline(block)
    except s_tir.ScheduleError:  # the producer sums up in its output itself
        return False
    return True


def _shape(sch: Any, block: Any) -> list[int]:
    """Return the extents of a block's spatial axes."""
    variables = sch.get(block).iter_vars
    return [int(variable.dom.extent) for variable in variables if variable.iter_type == tirx.IterVar.DataPar]


def _has_loops(func: Any) -> bool:
    """Return whether a function is made of blocks in loops; some are written as a whole, a sort for example."""
    return isinstance(func.body, s_tir.SBlockRealize) and func.body.block.name_hint == "root"


def _reduces(sch: Any, block: Any) -> bool:
    return any(variable.iter_type == tirx.IterVar.CommReduce for variable in sch.get(block).iter_vars)


class _Processor(dlight.ScheduleRule):  # type: ignore[misc]  # TVM has no types
    """Schedules a function for a processor: what can be inlined is, and every other loop nest is tiled alike."""

    def apply(self, func: Any, target: Any, tunable: bool) -> Any:  # noqa: ARG002  # what dlight calls it with
        sch = s_tir.Schedule(func, debug_mask="none")
        if not _has_loops(func):
            return sch
        root = sch.get_sblock("root")
        for block in sch.get_child_blocks(root)[:-1]:
            _inline(sch, block)
        for block in sch.get_child_blocks(root):
            _tile(sch, block)
        return sch


def _inline(sch: Any, block: Any) -> None:
    """Inline what is computed element by element, but no padding: its conditions would be in a window's loop."""
    if "pad" in sch.get(block).name_hint:
        return
    try:
        sch.compute_inline(block)
    except s_tir.ScheduleError:
        return


def _tile(sch: Any, block: Any) -> None:
    loops = sch.get_loops(block)
    variables = sch.get(block).iter_vars
    if not loops or len(loops) != len(variables):
        return  # what an operator wrote as a whole, a sort for example, stays as it is
    kinds = [variable.iter_type for variable in variables]
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == tirx.IterVar.DataPar]
    reduced = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == tirx.IterVar.CommReduce]
    if len(spatial) + len(reduced) != len(loops) or not spatial:
        return
    size = math.prod(int(sch.get(loop).extent) for loop in spatial)
    *outer, inner = spatial
    extent = int(sch.get(inner).extent)
    lanes = next(n for n in range(min(_LANES, extent), 0, -1) if extent % n == 0)
    if lanes < extent and lanes > 1:
        rest, inner = sch.split(inner, [None, lanes])
        outer.append(rest)
    elif lanes == 1:
        outer.append(inner)
    vector = [inner] if lanes > 1 else []
    sch.reorder(*outer, *reduced, *vector)
    if outer:
        fused = sch.fuse(*outer)
        if size * math.prod(int(sch.get(loop).extent) for loop in reduced) >= _WORTH_THREADS:
            sch.parallel(fused)
    if vector:
        sch.vectorize(vector[0])
    if reduced:
        init = sch.decompose_reduction(block, reduced[0])
        if vector:
            sch.vectorize(sch.get_loops(init)[-1])
