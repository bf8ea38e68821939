"""Applies records in a user's own Relax pipeline, as AutoTVM's context did for Relay."""

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
"""TVM's pattern kind for a function that is not fused with others."""

_SCHEDULED = "tirx.is_scheduled"


def apply_records(module: Any, target: Any, *, records: Sequence[str | Path] | None = None) -> Any:
    """Replace the layers of a Relax module by their records' kernels.

    Call it before `LegalizeOps`, on the output of a front end. Functions that are a sequence of operators on known
    shapes are brought into normal form, lowered, fused and scheduled, and later passes don't change their kernels.
    Other functions are left unchanged for the rest of the pipeline. The logger `tophub_registry` reports each layer's
    record at level INFO.

    Parameters
    ----------
    module
        A `tvm.IRModule`. Weights can be constants or parameters. Parameters keep their layout, and are converted to the
        kernels' layouts on every run, unless `relax.transform.LiftTransformParams` follows.
    target
        A `tvm.target.Target`, or a target in the notation of logs.
    records
        Logs to take the records from; None: the target's package, fetched if needed.

    Returns
    -------
    tvm.IRModule
        A module with the same functions and signatures.

    Raises
    ------
    UsageError
        There are no templates for this kind of target.
    InputError
        A log is missing or damaged.
    EnvironmentFailure
        The package can't be fetched.
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
        See `apply_records`.

    Returns
    -------
    tvm.transform.Pass
        For `tvm.compile(module, target, relax_pipeline=…)`.
    """
    made_for = tvm.target.Target(target) if isinstance(target, str) else target

    @tvm.transform.module_pass(opt_level=0, name="tophub.pipeline")  # type: ignore[untyped-decorator]
    def transform(module: Any, _: Any) -> Any:
        with made_for:
            return relax.get_default_pipeline(made_for)(apply_records(module, target, records=records))

    return transform


def _closed(module: Any) -> Any:
    """Return a module whose scheduled functions are not fused by later passes."""
    closed = {
        name: function.with_attr("op_pattern", _OPAQUE) if function.attrs and _SCHEDULED in function.attrs else function
        for name, function in module.functions_items()
    }
    return tvm.IRModule(closed, module.attrs)
