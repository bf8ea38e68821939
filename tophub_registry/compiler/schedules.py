"""Schedules the functions of a lowered module: records' kernels by their configs, everything else by general rules.

Elementwise operators after a kernel are computed where the kernel writes its output. For functions without a kernel
`processor.py` has the rule on a processor; on a GPU it is `gpu_sums.py`'s and TVM's own (`dlight`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import dlight

from tophub_registry.compiler.blocks import has_loops, reduces, shape_of
from tophub_registry.compiler.choice import Kernel
from tophub_registry.compiler.elementary import vectorizable
from tophub_registry.compiler.gpu_sums import THREADS, Columns, Nested, Windows
from tophub_registry.compiler.inlining import follow_threads, inline, inline_backward
from tophub_registry.compiler.lowering import KERNEL
from tophub_registry.compiler.processor import Processor
from tophub_registry.compiler.processor_tiles import tile
from tophub_registry.errors import UsageError
from tophub_registry.templates.finished import finished

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
            rules += [Processor()]
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
        name: finished(vectorizable(function)) if isinstance(function, tirx.PrimFunc) else function
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
        apart = [block for block in beside if not inline(sch, block)]
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
        written = last is None or early or inline_backward(sch, last) or follow_threads(sch, output, last)
        if not written:
            apart.append(last)
        apart += [block for block in following if block is following[-1] or not inline(sch, block)]
        for block in apart:
            self._schedule_apart(sch, block)
        return sch

    def _schedule_apart(self, sch: Any, block: Any) -> None:
        """Schedule a block that can't be computed where the kernel writes its output."""
        if self._kind != "cuda":
            tile(sch, block)
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
