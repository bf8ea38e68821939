"""A whole model compiled with records: read, its layers' kernels chosen, fused, scheduled, built.

Needs the extra [compile] and, to read models, [mxnet], [onnx] or [torch].
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

__all__ = ["CompiledLayer", "CompiledModel", "check_linker", "compile_model"]


def compile_model(
    model: Any,
    target: str = "llvm",
    *,
    records: Sequence[str | Path] | None = None,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    params: str | Path | None = None,
    left_out: Collection[Kernel] = (),
) -> CompiledModel:
    """Compile a model with the records of a target's package, or with one's own.

    On a processor it runs on all those that this process may use, unless `TVM_NUM_THREADS` says otherwise, and where
    TVM has not started its threads before.

    Parameters
    ----------
    model
        What `frontends.read_model` takes.
    target
        A target as logs spell it; `llvm` alone is this machine's processor, `cuda` alone its GPU.
    records
        Logs to take the records from; None: the target's package, fetched if need be.
    batch, shapes, params
        As `frontends.read_model` takes them.
    left_out
        Kernels whose records are not to be used.

    Raises
    ------
    UsageError
        There is no such model or target, or the model has an operator that can't be translated.
    InputError
        A log or a model's file is missing or damaged.
    EnvironmentFailure
        The package can't be had, the target's compiler is missing, or it fails where no record is to blame.
    """
    settle_threads()
    resolved = resolve(target)
    sources = sources_of(resolved, records)
    read = read_model(model, batch=batch, shapes=shapes, params=params)
    read.check_translated()
    from tophub_registry.compiler.build import build, without_failures

    search = RecordSearch(resolved, sources, left_out)
    (scheduled, executable), unbuilt = without_failures(search, lambda: build(read.module, resolved, search))
    lowered = scheduled.lowered
    return CompiledModel(
        read,
        resolved,
        [CompiledLayer(layer, kernel) for layer, kernel in lowered.layers],
        sources.notices,
        (*lowered.left_out, *unbuilt),
        executable,
        (scheduled.module, scheduled.target),
    )
