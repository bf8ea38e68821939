"""Compiles a whole model with records.

It needs the extra [compile] and, to read models, [mxnet], [onnx] or [torch].
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tophub_registry.compiler.choice import Kernel
from tophub_registry.compiler.compiled import CompiledLayer, CompiledModel, check_linker
from tophub_registry.compiler.search import RecordSearch, sources_of
from tophub_registry.devices.device import resolve
from tophub_registry.devices.threads import settle_threads
from tophub_registry.frontends import read_model
from tophub_registry.tasks.rules import FLOAT32, check_precision

__all__ = ["CompiledLayer", "CompiledModel", "check_linker", "compile_model"]


def compile_model(  # noqa: PLR0913  # what there is to choose
    model: Any,
    target: str = "llvm",
    *,
    records: Sequence[str | Path] | None = None,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    params: str | Path | None = None,
    left_out: Collection[Kernel] = (),
    threads: int | None = None,
    precision: str = FLOAT32,
) -> CompiledModel:
    """Compile a model with the records of a target's package or of the user's own logs.

    Parameters
    ----------
    model
        See `frontends.read_model`.
    target
        A target in the notation of logs; `llvm` alone means this machine's processor, `cuda` alone its GPU.
    records
        Logs to take the records from; None: the target's package, fetched if needed.
    batch, shapes, params
        See `frontends.read_model`.
    left_out
        Kernels whose records must not be used.
    threads
        The number of CPU threads that the model runs on in this process; see `settle_threads`.
    precision
        How convolutions are computed: `float32`, or on a GPU's tensor cores `3xtf32` (nearly as exact as float32),
        `tf32` (factors rounded to ten bits) or `float16` (factors in float16; sums are float32 in all of them).

    Raises
    ------
    UsageError
        There is no such model or target, the target has no such precision, the model has an operator that can't be
        translated, or this machine has fewer CPUs than `threads`.
    InputError
        A log or a model file is missing or damaged.
    EnvironmentFailure
        The package can't be fetched, or the target's compiler is missing or fails for a reason other than a record.
    """
    settled = settle_threads(threads)
    resolved = resolve(target)
    check_precision(precision, resolved.kind)
    sources = sources_of(resolved, records)
    read = read_model(model, batch=batch, shapes=shapes, params=params)
    read.check_translated()
    from tophub_registry.compiler.build import build, without_failures

    search = RecordSearch(resolved, sources, left_out)
    (scheduled, executable), unbuilt = without_failures(search, lambda: build(read.module, resolved, search, precision))
    lowered = scheduled.lowered
    return CompiledModel(
        read,
        resolved,
        [CompiledLayer(layer, kernel) for layer, kernel in lowered.layers],
        (*sources.notices, *search.notices),
        (*lowered.left_out, *unbuilt),
        executable,
        scheduled,
        settled if resolved.kind == "llvm" else None,
    )
