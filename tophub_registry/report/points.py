"""The data of a task's charts, as `page.js` expects it."""

from __future__ import annotations

from tophub_registry.records.record import Record, Value
from tophub_registry.report.history import TaskHistory, error, message, option_key
from tophub_registry.report.spelling import shortened


def unit(task: TaskHistory) -> str:
    """Return the unit of the charts."""
    return "runs/s" if task.flop is None else "GFLOPS"


def rate_of(task: TaskHistory, cost: float | None) -> float | None:
    """Return a cost as the charts show it: in GFLOPS, or in runs per second if the operations are not known."""
    if cost is None:
        return None
    return 1 / cost if task.flop is None else task.rate(cost)


def points(task: TaskHistory, step: int) -> dict[str, Value]:
    """Return the data of a task's charts.

    Parameters
    ----------
    step
        Every `step`-th trial becomes a point, and each that was the best so far.
    """
    knobs: dict[str, dict[str, tuple[int, str]]] = {}
    errors: dict[str, int] = {}
    rows: list[tuple[list[Value], dict[str, int]]] = []
    best = 0.0
    for number, (record, elapsed) in enumerate(task.trials, 1):
        rate = rate_of(task, record.mean_cost) if record.valid else None
        last = number == len(task.trials)
        if (number - 1) % step and not last and not (rate is not None and rate > best):
            continue
        best = max(best, rate or 0.0)
        chosen = {}
        for knob in record.config.entity:
            options = knobs.setdefault(knob.name, {})
            chosen[knob.name] = options.setdefault(option_key(knob), (len(options), shortened(knob.value)))[0]
        failure = None if record.valid else errors.setdefault(_what_happened(record), len(errors))
        seconds = None if elapsed is None else round(elapsed, 2)
        rows.append(([number, seconds, None if rate is None else _rounded(rate), failure], chosen))
    return {
        "unit": unit(task),
        "default": rate_of(task, task.default),
        "peak": None if task.flop is None else task.bound_gflops,
        "errors": list(errors),
        "knobs": [[name, [text for _, text in options.values()]] for name, options in knobs.items()],
        "points": [[*row, [chosen.get(name) for name in knobs]] for row, chosen in rows],
    }


def _what_happened(record: Record) -> str:
    said = message(record)
    return error(record) + (f": {shortened(said)}" if said else "")


def _rounded(rate: float) -> float:
    return float(f"{rate:.5g}")
