"""Reading the history of a tuning run from its logs. Needs no TVM, and takes logs of any tool.

Trials are sorted by the time of measurement; duplicate rows are dropped.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from tophub_registry.errors import InputError
from tophub_registry.records.record import EARLIEST, Record, Value
from tophub_registry.records.speed_limit import on_matrix_units
from tophub_registry.records.summary import readable
from tophub_registry.records.target import Target
from tophub_registry.report.history import (
    History,
    KnobHistory,
    OptionHistory,
    TaskHistory,
    Trial,
    device,
    fastest,
    identity,
    option_key,
)
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.templates.template import Template

PAUSE = 300.0
"""A longer gap between two rows of a run, in seconds, counts as a pause."""

# Enumerating the space takes too long for a longer axis; no layer has one.
_LONGEST_AXIS = 1 << 16


def read_history(logs: Iterable[Path]) -> History:
    """Read the history of the tuning runs that wrote some logs.

    Raises
    ------
    InputError
        A log can't be read or has an invalid line, or the logs hold no record at all.
    """
    rows: dict[tuple[Target, str], list[tuple[Record, float | None]]] = defaultdict(list)
    seen: set[Hashable] = set()
    repeated = unconvertible = 0
    paths = list(logs)
    for path in paths:
        records: list[Record] = []
        for record in readable([path]):
            if record is None:
                unconvertible += 1
            else:
                records.append(record)
        records.sort(key=lambda record: record.result.timestamp)
        for record, spent in zip(records, _spent(records), strict=True):
            row = (record.input.target, record.workload, identity(record.config.entity), repr(record.result))
            if row in seen:
                repeated += 1
                continue
            seen.add(row)
            rows[record.target, record.workload].append((record, spent))
    if not rows:
        raise InputError("the log has no records", file=paths[0] if paths else None)
    peaks: dict[str, float] = {}
    for group in rows.values():
        for record, _ in group:
            if record.tophub is not None and record.tophub.peak_gflops is not None:
                peaks[device(record)] = max(record.tophub.peak_gflops, peaks.get(device(record), 0.0))
    tasks = tuple(_task(target, group, peaks) for (target, _), group in rows.items())
    return History(tasks, repeated, unconvertible)


def _spent(records: Sequence[Record]) -> list[float | None]:
    """Return the seconds of tuning spent on each row of a log.

    This is the time since the previous row of the same run, whatever its task: a tuner may change tasks after each
    batch, and also spends time on building and on its cost model. For the first row of a run it is the time since
    the run started. After a pause, and if the log does not say when the run started, it is the row's own `all_cost`.
    """
    spent: list[float | None] = []
    latest: dict[float | None, float] = {}
    for record in records:
        now = record.result.timestamp
        if now < EARLIEST:
            spent.append(None)
            continue
        started = None if record.tophub is None else record.tophub.started
        before = latest.get(started, started)
        tuning = before is not None and 0 <= now - before <= PAUSE
        spent.append(now - before if before is not None and tuning else max(0.0, record.result.all_cost))
        latest[started] = now
    return spent


def _task(target: Target, rows: list[tuple[Record, float | None]], peaks: Mapping[str, float]) -> TaskHistory:
    rows.sort(key=lambda row: row[0].result.timestamp)
    trials: list[Trial] = []
    elapsed: float | None = 0.0
    for record, spent in rows:
        elapsed = None if elapsed is None or spent is None else elapsed + spent
        trials.append(Trial(record, elapsed))
    first = trials[0].record
    template = _template(first)
    best = fastest(record for record, _ in rows)
    return TaskHistory(
        target=target,
        task=first.input.task,
        args=first.input.args,
        trials=tuple(trials),
        default_config=None if template is None else tuple(template.default(target).entity),
        knobs=_knobs([trial.record for trial in trials], template),
        configs=None if template is None else len(template.space),
        peak_gflops=None if best is None else peaks.get(device(best)),
        saving=_saving(first.input.task, template, best),
    )


def _saving(task: str, template: Template | None, best: Record | None) -> float | None:
    """Return `TaskHistory.saving`."""
    if on_matrix_units(task):
        return None  # the peak is that of the other units
    if "winograd" not in task:
        return 1.0
    if template is None or best is None:
        return None
    try:
        template.space.find(best.config.entity)
    except InputError:
        return None
    return template.saving(best.config)


def _template(record: Record) -> Template | None:
    """Return the template of a record's workload; None if there is none or it does not support the workload."""
    sizes = [size for argument in record.input.args if isinstance(argument, list) for size in _sizes(argument)]
    if record.input.task not in TEMPLATES or max(sizes, default=0) > _LONGEST_AXIS:
        return None
    try:
        template = instantiate(record.input.task, record.input.args)
        len(template.space)
    except (InputError, TypeError, ValueError, ArithmeticError):
        return None
    return template


def _sizes(argument: list[Value]) -> list[int]:
    """Return the numbers in a tensor's shape, in strides or in a padding."""
    numbers = argument[1] if argument[:1] == ["TENSOR"] and len(argument) > 1 else argument
    return [number for number in numbers if isinstance(number, int)] if isinstance(numbers, list) else []


def _knobs(records: Sequence[Record], template: Template | None) -> tuple[KnobHistory, ...]:
    tried: dict[tuple[str, str], dict[str, list[Record]]] = {}
    if template is not None:
        tried = {(knob.name, knob.kind): {} for knob in template.space.knobs}
    for record in records:
        for knob in record.config.entity:
            options = tried.setdefault((knob.name, knob.kind), {})
            options.setdefault(option_key(knob), []).append(record)
    totals = {} if template is None else {knob.name: len(knob.options) for knob in template.space.knobs}
    return tuple(
        KnobHistory(
            name,
            kind,
            tuple(sorted((_option(name, with_it) for with_it in options.values()), key=_by_cost)),
            totals.get(name),
        )
        for (name, kind), options in tried.items()
    )


def _option(name: str, records: Sequence[Record]) -> OptionHistory:
    costs = [record.mean_cost for record in records if record.valid]
    return OptionHistory(
        value=records[0].config.value(name),
        tried=len(records),
        failed=len(records) - len(costs),
        best=min(costs, default=None),
        median=statistics.median(costs) if costs else None,
    )


def _by_cost(option: OptionHistory) -> tuple[float, str]:
    return (float("inf") if option.best is None else option.best, json.dumps(option.value))
