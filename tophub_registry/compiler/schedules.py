"""Schedules the functions of a lowered module: records' kernels by their configs, everything else by general rules.

Elementwise operators after a kernel are computed where the kernel writes its output. On a processor the other loop
nests are parallel outside and vectorized inside; on a GPU TVM's own rules (`dlight`) bind them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir import dlight

from tophub_registry.compiler.blocks import has_loops, iterations, reduces, shape_of
from tophub_registry.compiler.choice import Kernel
from tophub_registry.compiler.elementary import vectorizable
from tophub_registry.compiler.gpu_sums import THREADS, Columns, Nested, Windows
from tophub_registry.compiler.lowering import KERNEL
from tophub_registry.errors import UsageError
from tophub_registry.templates.prefetch import with_prefetches

_LANES = 16
"""Maximum number of elements of a vector loop: one register of AVX-512, two of AVX2."""

_WORTH_THREADS = 4096
"""Number of elements below which starting threads takes longer than the loop."""

_TASKS = 64
"""Iterations of a parallel loop that keep the cores of any processor busy."""

_HALF = _LANES // 2

_SHORTEST_VECTOR = 4

_SHORT_ROW = 64
"""Numbers below which a row that is no multiple of a vector is better computed across rows: one for each class, say."""

_WORTH_A_LOOP = 8
"""Iterations below which a loop of its own costs more than index arithmetic in a fused one."""

_UNROLLED = 16
"""Steps up to which a sum is unrolled, so that it stays in a register: windows of 2x2 and 3x3."""

_DEAR = ("exp", "tanh", "sigmoid", "log", "pow", "erf")
"""Functions too expensive to be computed again for a second reader."""


_SCHEDULED = "tirx.is_scheduled"
"""The attribute of functions that a rule has scheduled."""


class SchedulingFailures(Exception):  # noqa: N818  # it says what happened
    """Kernels that can't be scheduled even unfused: TVM's exceptions by their numbers."""

    def __init__(self, causes: Mapping[int, Exception]) -> None:
        self.causes = causes
        super().__init__(f"{len(causes)} kernels can't be scheduled")


def schedule_all(module: tvm.IRModule, target: tvm.target.Target, kernels: Sequence[Kernel]) -> tvm.IRModule:
    """Schedule every function of a lowered and fused module.

    Parameters
    ----------
    kernels
        The kernels, by the numbers of the annotations `KERNEL`. The functions that contain them get the number as an
        attribute.

    Raises
    ------
    SchedulingFailures
        Templates can't apply some of the configs.
    """
    module = tvm.IRModule({name: _in_32_bits(function) for name, function in module.functions_items()}, module.attrs)
    with target:
        layers = _Kernels(kernels, target.kind.name)
        rules: list[Any] = [layers]
        if target.kind.name == "cuda":
            gpu = dlight.gpu
            rules += [
                Windows(),
                Columns(),
                Nested(),
                gpu.Matmul(),
                gpu.GEMV(),
                gpu.Reduction(),
                gpu.GeneralReduction(),
                gpu.Fallback(),
            ]
        else:
            rules += [_Processor()]
        scheduled = dlight.ApplyDefaultSchedule(*rules)(module)
    if layers.failures:
        raise SchedulingFailures(layers.failures)
    if target.kind.name == "cuda":
        _check_scheduled(scheduled)
    return scheduled if target.kind.name == "cuda" else _finished(scheduled)


def _check_scheduled(module: tvm.IRModule) -> None:
    """Check that no loops would run on the processor, which can't read the GPU's memory.

    Raises
    ------
    UsageError
        There are some for which no rule has a schedule.
    """
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc) and has_loops(function) and not _is_scheduled(function):
            raise UsageError(
                f"{name.name_hint} has no schedule for a GPU", remedy="compile for a processor, and report the model"
            )


def _is_scheduled(function: tirx.PrimFunc) -> bool:
    """Return whether a rule has scheduled a function, or somebody bound its loops to threads by hand."""
    if function.attrs.get(_SCHEDULED):
        return True
    sch = s_tir.Schedule(function, debug_mask="none")
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    return all(any(sch.get(loop).thread_binding is not None for loop in sch.get_loops(block)) for block in blocks)


def _finished(module: tvm.IRModule) -> tvm.IRModule:
    """Return a scheduled module for a processor with what schedules can't express."""
    functions = {
        name: with_prefetches(vectorizable(function)) if isinstance(function, tirx.PrimFunc) else function
        for name, function in module.functions_items()
    }
    return tvm.IRModule(functions, module.attrs)


def _in_32_bits(function: Any) -> Any:
    """Return a function with 32-bit indices, unless it works on 64-bit integers, which TVM's pass rejects."""
    if not isinstance(function, tirx.PrimFunc):
        return function
    try:
        return tirx.transform.ForceNarrowIndexToInt32()(tvm.IRModule({"main": function}))["main"]
    except Exception:  # noqa: BLE001  # TVM has no type for it
        return function


class _Kernels(dlight.ScheduleRule):  # type: ignore[misc]  # TVM has no types
    """Schedules a function that contains a record's kernel.

    Attributes
    ----------
    failures
        TVM's exceptions by the kernels' numbers, for those that can't be scheduled even unfused.
    """

    def __init__(self, kernels: Sequence[Kernel], kind: str) -> None:
        self._kernels = kernels
        self._kind = kind
        self.failures: dict[int, Exception] = {}

    def apply(self, func: Any, target: Any, tunable: bool) -> Any:  # noqa: ARG002  # dlight's signature
        if not has_loops(func):
            return None
        number = _kernel_in(s_tir.Schedule(func, debug_mask="none"))
        if number is None:
            return None
        numbered = func.with_attr(KERNEL, number)
        try:
            return self._scheduled(numbered, self._kernels[number], fused=True)
        except s_tir.ScheduleError:  # the operators around the kernel can't be fused into it
            try:
                return self._scheduled(numbered, self._kernels[number], fused=False)
            except Exception as error:  # noqa: BLE001  # TVM can raise anything
                self.failures[number] = error
        except Exception as error:  # noqa: BLE001
            self.failures[number] = error
        return None

    def _scheduled(self, func: Any, kernel: Kernel, *, fused: bool) -> Any:
        """Return the schedule of a function, with the operators around its kernel fused into it or apart."""
        sch = s_tir.Schedule(func, debug_mask="none")
        blocks = sch.get_child_blocks(sch.get_sblock("root"))
        output = next(block for block in blocks if KERNEL in sch.get(block).annotations)
        sch.unannotate(output, KERNEL)
        before = _reached(sch, output, sch.get_producers)
        after = _reached(sch, output, sch.get_consumers)
        own = {*before, _name(sch, output)}
        # For example a residual, which the kernel neither reads nor writes.
        beside = [block for block in blocks if _name(sch, block) not in own | after]
        following = [block for block in blocks if _name(sch, block) in after]
        apart = [block for block in beside if not _inline(sch, block)]
        last = None
        if fused:
            alike = [block for block in following if shape_of(sch, block) == shape_of(sch, output)]
            *between, last = alike or [None]
            for block in between:
                sch.compute_inline(block)
            following = [block for block in following if block not in alike]
        early = last is not None and not reduces(sch, output)
        if early:
            sch.reverse_compute_inline(last)
        kernel.template.apply(sch, kernel.config)
        if last is not None and not early and not _inlined(sch, last):
            apart.append(last)
        apart += [block for block in following if block is following[-1] or not _inline(sch, block)]
        for block in apart:
            self._schedule_apart(sch, block)
        return sch

    def _schedule_apart(self, sch: Any, block: Any) -> None:
        """Schedule a block that can't be computed where the kernel writes its output."""
        if self._kind != "cuda":
            _tile(sch, block)
            return
        blocks, threads = sch.split(sch.fuse(*sch.get_loops(block)), [None, THREADS])
        sch.bind(blocks, "blockIdx.x")
        sch.bind(threads, "threadIdx.x")


def _kernel_in(sch: Any) -> int | None:
    """Return the number of the kernel in a function; None if there is none."""
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        annotations = sch.get(block).annotations
        if KERNEL in annotations:
            return int(annotations[KERNEL])
    return None


def _name(sch: Any, block: Any) -> str:
    return str(sch.get(block).name_hint)


def _reached(sch: Any, block: Any, step: Callable[[Any], Sequence[Any]]) -> set[str]:
    """Return the names of the blocks that repeated steps reach."""
    found: set[str] = set()
    waiting = [block]
    while waiting:
        for each in step(waiting.pop()):
            if _name(sch, each) not in found:
                found.add(_name(sch, each))
                waiting.append(each)
    return found


def _inlined(sch: Any, block: Any) -> bool:
    """Compute a block where its producer writes its output; return whether that is possible."""
    try:
        sch.reverse_compute_inline(block)
    except s_tir.ScheduleError:  # the producer accumulates in its output
        return False
    return True


class _Processor(dlight.ScheduleRule):  # type: ignore[misc]  # TVM has no types
    """Schedules a function for a processor: inlines what it can, and tiles the other loop nests.

    Padding is written row by row where a window reads it, so that it stays in the cache.
    """

    def apply(self, func: Any, target: Any, tunable: bool) -> Any:  # noqa: ARG002  # dlight's signature
        if not _is_static(func):
            return None
        sch = s_tir.Schedule(func, debug_mask="none")
        if not has_loops(func):
            return sch
        root = sch.get_sblock("root")
        padding = [block for block in sch.get_child_blocks(root)[:-1] if not _inline(sch, block)]
        if _schedule_rows(sch):
            return sch
        padding = [block for block in padding if _is_padding(sch, block) and _windows(sch, block)]
        apart = [sch.get(block).name_hint for block in padding]
        rows = {
            sch.get(block).name_hint: _tile(sch, block)
            for block in sch.get_child_blocks(root)
            if sch.get(block).name_hint not in apart
        }
        for block in padding:
            (window,) = sch.get_consumers(block)
            row = rows.get(sch.get(window).name_hint.removesuffix("_update"))
            _pad(sch, block, row)
        return sch


def _schedule_rows(sch: Any) -> bool:
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
    if iterations(sch, *sch.get_loops(output)) >= _WORTH_THREADS:
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
    lanes = math.gcd(extent, _LANES)
    return lanes if lanes >= _SHORTEST_VECTOR else 1


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


def _is_static(func: Any) -> bool:
    """Return whether the extents of all loops are constant."""
    sizes: list[Any] = []
    tvm_ffi.structural_walk(func.body, [(tirx.For, lambda loop: sizes.append(loop.extent))], order="post")
    return all(isinstance(size, tirx.IntImm) for size in sizes)


def _is_padding(sch: Any, block: Any) -> bool:
    return "pad" in sch.get(block).name_hint


def _windows(sch: Any, block: Any) -> bool:
    """Return whether a single block reads this one, and reduces over a window."""
    consumers = sch.get_consumers(block)
    return len(consumers) == 1 and reduces(sch, consumers[0])


def _inline(sch: Any, block: Any) -> bool:
    """Inline an elementwise block; return whether that was done.

    Padding is not inlined, as its conditions would end up in a window's loop, nor are expensive blocks that are read
    twice.
    """
    if _is_padding(sch, block) or (len(sch.get_consumers(block)) > 1 and _is_dear(sch, block)):
        return False
    try:
        sch.compute_inline(block)
    except s_tir.ScheduleError:
        return False
    return True


def _is_dear(sch: Any, block: Any) -> bool:
    return any(f"T.{name}(" in sch.get(block).script() for name in _DEAR)


def _tile(sch: Any, block: Any) -> Any:
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
        if size >= _WORTH_THREADS:
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
        if 1 < width <= _LANES and iterations(sch, loop) % width == 0:
            outer[place], channel = sch.split(loop, [None, width])
            inside.append(channel)
    extent = iterations(sch, inner)
    widths = blocks.get(len(outer), set())
    contiguous = math.gcd(extent, *widths)
    run = contiguous if len(widths) == 1 and contiguous >= _SHORTEST_VECTOR else extent
    whole = math.gcd(run, _LANES)  # registers, or half of one
    lanes = whole if whole >= _HALF else next(n for n in range(min(_LANES, run), 0, -1) if run % n == 0)
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


def _pad(sch: Any, block: Any, tasks: Any) -> None:
    """Compute padding in the task that reads it."""
    if tasks is None:
        _tile(sch, block)
        return
    sch.compute_at(block, tasks)
    extent = iterations(sch, sch.get_loops(block)[-1])
    if extent <= _LANES:
        sch.vectorize(sch.get_loops(block)[-1])
