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
from tophub_registry.packages.root import Root
from tophub_registry.packages.told import not_yet_told

_log = logging.getLogger("tophub_registry")

_OPAQUE = 8
"""TVM's pattern kind for a function that is not fused with others."""

_SCHEDULED = "tirx.is_scheduled"


def apply_records(module: Any, target: Any, *, records: Sequence[str | Path] | None = None) -> Any:
    """Return a Relax module whose layers run the kernels of their records; see `tophub_registry.apply_records`."""
    resolved = resolve(target if isinstance(target, str) else spelled(target))
    sources = sources_of(resolved, records)
    for notice in not_yet_told(sources.notices, Root.at()):
        _log.warning("%s", notice)
    search = RecordSearch(resolved, sources)
    normal = in_normal_form(module)
    scheduled, unbuilt = without_failures(search, lambda: schedule(normal, resolved, search))
    for notice in search.notices:
        _log.warning("%s", notice)
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
    """Return a Relax pipeline that applies records first; see `tophub_registry.pipeline`."""
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
