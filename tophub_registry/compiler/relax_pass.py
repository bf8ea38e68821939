"""Records for those who keep their own Relax pipeline, as AutoTVM's context was for Relay."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from tophub_registry.compiler.build import schedule, without_failures
from tophub_registry.compiler.search import RecordSearch, sources_of
from tophub_registry.devices.device import resolve, spelled
from tophub_registry.frontends.normal_form import in_normal_form

_log = logging.getLogger("tophub_registry")

_OPAQUE = 8
"""TVM's pattern of a function that is fused with no other."""

_SCHEDULED = "tirx.is_scheduled"


def apply_records(module: Any, target: Any, *, records: Sequence[str | Path] | None = None) -> Any:
    """Compute the layers of a Relax module by the kernels of their records.

    Use it before `LegalizeOps`, on what a front end gives. Functions that are a sequence of operators on known shapes
    are brought into normal form, lowered, fused and scheduled; later passes leave their kernels as they are. Others
    stay as they are, for the rest of the pipeline. Which layer got which record is logged, at the level INFO, by the
    logger `tophub_registry`.

    Parameters
    ----------
    module
        A `tvm.IRModule`. Weights may be constants or parameters; parameters stay as they are, and the module brings
        them into its kernels' layouts whenever it runs, unless `relax.transform.LiftTransformParams` follows.
    target
        A `tvm.target.Target`, or a target as logs spell it.
    records
        Logs to take the records from; None: the target's package, fetched if need be.

    Returns
    -------
    tvm.IRModule
        With the same functions and the same signatures.

    Raises
    ------
    UsageError
        There are no templates for this kind of target.
    InputError
        A log is missing or damaged.
    EnvironmentFailure
        The package can't be had.
    """
    resolved = resolve(target if isinstance(target, str) else spelled(target))
    sources = sources_of(resolved, records)
    for notice in sources.notices:
        _log.warning("%s", notice)
    search = RecordSearch(resolved, sources)
    normal = in_normal_form(module)
    scheduled, unbuilt = without_failures(search, lambda: schedule(normal, resolved, search))
    for layer, kernel in scheduled.lowered.layers:
        if kernel is None:
            _log.info("%s: no template", layer.name)
        else:
            _log.info(
                "%s: %s, match %s, from %s", layer.name, kernel.template.task, kernel.answer.match, kernel.answer.source
            )
    for left_out in (*scheduled.lowered.left_out, *unbuilt):
        _log.warning("left out: %s", left_out)
    if not scheduled.lowered.layers:
        _log.warning("no layers found: apply_records must come before LegalizeOps")
    return _closed(scheduled.module)


def pipeline(target: Any, *, records: Sequence[str | Path] | None = None) -> Any:
    """Return a Relax pipeline for `tvm.compile`: records, then TVM's default pipeline for the target.

    Parameters
    ----------
    target, records
        As `apply_records` takes them.

    Returns
    -------
    tvm.transform.Pass
        `tvm.compile(module, target, relax_pipeline=pipeline(target))`.
    """
    made_for = tvm.target.Target(target) if isinstance(target, str) else target

    @tvm.transform.module_pass(opt_level=0, name="tophub.pipeline")  # type: ignore[untyped-decorator]
    def transform(module: Any, _: Any) -> Any:
        with made_for:
            return relax.get_default_pipeline(made_for)(apply_records(module, target, records=records))

    return transform


def _closed(module: Any) -> Any:
    """Return a module whose scheduled functions no later pass fuses with others."""
    closed = {
        name: function.with_attr("op_pattern", _OPAQUE) if function.attrs and _SCHEDULED in function.attrs else function
        for name, function in module.functions_items()
    }
    return tvm.IRModule(closed, module.attrs)
