"""Compiles a Relax module in normal form: chooses records, lowers layers, fuses, schedules, builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import tvm
from tvm import relax

from tophub_registry.compiler.detection import detection_on_gpu
from tophub_registry.compiler.failures import Failure, KernelFailures, LeftOut, compiler_failure, unbuildable
from tophub_registry.compiler.intermediates import as_outputs
from tophub_registry.compiler.lowering import KERNEL, Lowered, lower
from tophub_registry.compiler.regions import pooled_regions
from tophub_registry.compiler.schedules import SchedulingFailures, schedule_all
from tophub_registry.compiler.search import RecordSearch
from tophub_registry.devices.device import compiled_for
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.records.target import Target
from tophub_registry.tasks.rules import FLOAT32

T = TypeVar("T")


class Scheduled(NamedTuple):
    """A module with all its functions scheduled, its kernels, and the target.

    Attributes
    ----------
    module
        A `tvm.IRModule`.
    target
        The `tvm.target.Target`.
    """

    lowered: Lowered
    module: Any
    target: Any


def without_failures(search: RecordSearch, attempt: Callable[[], T]) -> tuple[T, list[LeftOut]]:
    """Build without the records that make it fail; return the result and those records.

    Raises
    ------
    EnvironmentFailure
        A kernel that is not from a record can't be built.
    """
    unbuilt: list[LeftOut] = []
    while True:
        try:
            return attempt(), unbuilt
        except KernelFailures as found:  # noqa: PERF203  # compiling takes seconds
            blamed = [failure for failure in found.failures if failure.has_record]
            if not blamed:
                failure = found.failures[0]
                raise compiler_failure(failure.cause, f"the layer {failure.layers[0]}") from failure.cause
            for failure in blamed:
                search.avoid(failure.kernel)
            unbuilt += map(unbuildable, blamed)


def schedule(module: Any, target: Target, search: RecordSearch, precision: str = FLOAT32) -> Scheduled:
    """Lower, fuse and schedule a module; see `lower` for the precision.

    Raises
    ------
    KernelFailures
        Kernels can't be computed or scheduled.
    EnvironmentFailure
        Something else fails.
    """
    description = compiled_for(target)
    made_for = tvm.target.Target(description, host="llvm") if target.kind == "cuda" else tvm.target.Target(description)
    lowered = lower(module, target, search.find, precision)
    try:
        ready = pooled_regions(lowered.module, made_for)
        if target.kind == "cuda":
            ready = detection_on_gpu(ready, made_for)
        scheduled = schedule_all(_fused(ready, made_for), made_for, lowered.kernels)
        return Scheduled(lowered, as_outputs(scheduled) if target.kind == "cuda" else scheduled, made_for)
    except SchedulingFailures as found:
        raise _of_layers(found.causes, lowered) from found
    except Exception as error:
        raise compiler_failure(error, "the model") from error


def build(module: Any, target: Target, search: RecordSearch, precision: str = FLOAT32) -> tuple[Scheduled, Any]:
    """Return a scheduled module, and its compiled `relax.VMExecutable`; see `lower` for the precision.

    Raises
    ------
    KernelFailures
        Kernels can't be computed, scheduled or compiled.
    EnvironmentFailure
        Something else fails, or a compiler is missing.
    """
    scheduled = schedule(module, target, search, precision)
    try:
        return scheduled, executable(scheduled, graph=target.kind == "cuda")
    except FileNotFoundError as error:
        raise EnvironmentFailure(
            f"a compiler is missing: {error}", remedy="CUDA code needs nvcc on the PATH"
        ) from error
    except Exception as error:
        if causes := _uncompiled(scheduled):
            raise _of_layers(causes, scheduled.lowered) from error
        raise compiler_failure(error, "the model") from error


def executable(scheduled: Scheduled, *, graph: bool) -> Any:
    """Compile a scheduled module; with `graph`, launch its kernels as one CUDA graph."""
    options = {"relax.backend.use_cuda_graph": graph}
    for kernel in scheduled.lowered.kernels:
        options |= kernel.template.pass_config
    with tvm.transform.PassContext(opt_level=3, config=options):
        return tvm.compile(scheduled.module, target=scheduled.target)


def _fused(module: Any, target: Any) -> Any:
    with target:
        return tvm.transform.Sequential(
            [
                relax.transform.LegalizeOps(),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FoldConstant(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
                relax.transform.DeadCodeElimination(),
            ]
        )(module)


def _uncompiled(scheduled: Scheduled) -> dict[int, Exception]:
    """Compile each kernel of a scheduled module separately, and return TVM's exceptions by kernel number."""
    causes: dict[int, Exception] = {}
    for name, function in scheduled.module.functions_items():
        number = function.attrs and function.attrs.get(KERNEL)
        if number is None:
            continue
        module = tvm.IRModule({name: function.with_attr("global_symbol", name.name_hint)})
        options = dict(scheduled.lowered.kernels[int(number)].template.pass_config)
        try:
            with tvm.transform.PassContext(opt_level=3, config=options):
                tvm.compile(module, target=scheduled.target)
        except Exception as error:  # noqa: BLE001  # TVM and its compilers can raise anything
            causes[int(number)] = error
    return causes


def _of_layers(causes: Mapping[int, Exception], lowered: Lowered) -> KernelFailures:
    kernels = ((lowered.kernels[number], cause) for number, cause in sorted(causes.items()))
    return KernelFailures([Failure(kernel, lowered.layers_of(kernel), cause) for kernel, cause in kernels])
