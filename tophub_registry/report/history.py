"""How tuning went, read from its logs: for each task every trial, the time spent, and what was tried of each knob.

Pure data, without TVM: a log of any tool will do. Trials stand in the order in which they were measured, and a
row that stands in several of the logs counts once.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tophub_registry.errors import InputError
from tophub_registry.records.flops import flop
from tophub_registry.records.record import EARLIEST, Knob, Record, Value
from tophub_registry.records.summary import readable, tool
from tophub_registry.records.target import Target
from tophub_registry.records.task import describe
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.templates.template import Template

PAUSE = 300.0
"""A gap between two rows of a log that is longer than this, in seconds, was no tuning: it went on another time."""

ERRORS = {
    1: "refused by the template",
    2: "compile error",
    3: "device compile error",
    4: "run-time error",
    5: "wrong answer",
    6: "compile timeout",
    7: "run timeout",
    8: "unknown error",
}
"""What AutoTVM's error numbers (`MeasureErrorNo`) mean."""

# Enumerating the space of an axis that is longer takes too long; no layer has one.
_LONGEST_AXIS = 1 << 16


class Trial(NamedTuple):
    """One measured config.

    Attributes
    ----------
    record
        The row.
    elapsed
        Seconds that tuning had spent on the task when this trial was done; None where the log does not tell.
    """

    record: Record
    elapsed: float | None


@dataclass(frozen=True)
class OptionHistory:
    """What came of one option of a knob.

    Attributes
    ----------
    value
        The option.
    tried, failed
        Trials with it, and how many of those failed.
    best, median
        Costs of those that succeeded, in seconds; None where none did.
    """

    value: Value
    tried: int
    failed: int
    best: float | None
    median: float | None


@dataclass(frozen=True)
class KnobHistory:
    """What was tried of one knob.

    Attributes
    ----------
    options
        Those that were tried, the one with the best cost first.
    total
        How many the space has; None where no template of ours knows the task.
    """

    name: str
    kind: str
    options: tuple[OptionHistory, ...]
    total: int | None


@dataclass(frozen=True)
class TaskHistory:
    """What tuning one workload for one target brought.

    Attributes
    ----------
    target, task, args
        The workload.
    trials
        In the order in which they were measured.
    default_config
        The knobs of AutoTVM's default; None where no template of ours knows the task.
    knobs
        In the space's order.
    configs
        How many configs the space has; None where no template of ours knows the task.
    peak_gflops
        The measured peak of the device on which the best config ran; None where no row says one. Whatever disturbs
        a measurement lowers the peak, so the highest that the logs know of the device counts.
    """

    target: Target
    task: str
    args: list[Value]
    trials: tuple[Trial, ...]
    default_config: tuple[Knob, ...] | None
    knobs: tuple[KnobHistory, ...]
    configs: int | None
    peak_gflops: float | None

    def __str__(self) -> str:
        return describe(self.task, self.args)

    @cached_property
    def flop(self) -> int | None:
        """Floating-point operations; None where the task's arithmetic is not known."""
        return flop(self.task, self.args)

    @cached_property
    def best(self) -> Record | None:
        """The fastest record, by its mean cost; None where every trial failed."""
        return _fastest(trial.record for trial in self.trials)

    @cached_property
    def default(self) -> float | None:
        """The cost of AutoTVM's default config, in seconds; None where it was not measured."""
        if self.default_config is None:
            return None
        wanted = _identity(self.default_config)
        return next(
            (
                trial.record.mean_cost
                for trial in self.trials
                if trial.record.valid and _identity(trial.record.config.entity) == wanted
            ),
            None,
        )

    @property
    def gain(self) -> float | None:
        """How many times as fast as the default config the best one is."""
        return None if self.best is None or self.default is None else self.default / self.best.mean_cost

    @property
    def gflops(self) -> float | None:
        """Billions of floating-point operations a second with the best config."""
        return None if self.best is None else self.rate(self.best.mean_cost)

    def rate(self, cost: float) -> float | None:
        """Return a cost, in seconds, as billions of operations a second; None where these are not known."""
        return None if self.flop is None else self.flop / cost / 1e9

    @property
    def share(self) -> float | None:
        """How much of the device's measured peak the best config reaches: 0.5 is half of it."""
        return None if self.gflops is None or self.peak_gflops is None else self.gflops / self.peak_gflops

    @cached_property
    def failures(self) -> dict[str, int]:
        """How many trials failed, by what happened, the most frequent first."""
        kinds = Counter(error(trial.record) for trial in self.trials if not trial.record.valid)
        return dict(kinds.most_common())

    @property
    def failed(self) -> int:
        """How many trials failed."""
        return sum(self.failures.values())

    @property
    def seconds(self) -> float | None:
        """How long tuning spent on the task; None where the log does not tell, as one that keeps only the best."""
        return self.trials[-1].elapsed if len(self.trials) > 1 else None


@dataclass(frozen=True)
class History:
    """What some logs tell of the tuning that wrote them.

    Attributes
    ----------
    tasks
        One for each target and workload, in the order of their first rows.
    repeated
        Rows that stand in the logs more than once, and count once.
    unconvertible
        Rows of log version 0.1 that can't be converted and are in no task.
    """

    tasks: tuple[TaskHistory, ...]
    repeated: int
    unconvertible: int

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """Every row, task by task."""
        return tuple(trial.record for task in self.tasks for trial in task.trials)

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, each once."""
        return _each_once(str(task.target) for task in self.tasks)

    @property
    def devices(self) -> tuple[str, ...]:
        """What the rows say they were measured on, each once."""
        return _each_once(device(record) for record in self.records if device(record))

    @property
    def tools(self) -> tuple[str, ...]:
        """What made the rows, each once."""
        return _each_once(map(tool, self.records))

    @property
    def span(self) -> tuple[float, float] | None:
        """When the first and the last row were measured, in seconds since 1970."""
        times = [record.result.timestamp for record in self.records if record.result.timestamp >= EARLIEST]
        return (min(times), max(times)) if times else None


def error(record: Record) -> str:
    """Say what happened to a config that failed."""
    return ERRORS.get(record.result.error_no, f"error {record.result.error_no}")


def message(record: Record) -> str:
    """Return what the compiler or the system said of a config that failed; empty where the row does not tell."""
    said = None if record.tophub is None else (record.tophub.model_extra or {}).get("error")
    return said if isinstance(said, str) else ""


def device(record: Record) -> str:
    """Name the device of a record: 'AMD EPYC, 2 cores, 1 thread'; empty where it does not say."""
    provenance = record.tophub
    if provenance is None or provenance.device is None:
        return ""
    threads = provenance.threads
    return provenance.device + ("" if threads is None else f", {threads} thread{'' if threads == 1 else 's'}")


def read_history(logs: Iterable[Path]) -> History:
    """Read what logs tell of the tuning that wrote them.

    Raises
    ------
    InputError
        A log can't be read, has a line that is no record, or there is no record at all.
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
            row = (record.input.target, record.workload, _identity(record.config.entity), repr(record.result))
            if row in seen:
                repeated += 1
                continue
            seen.add(row)
            rows[record.target, record.workload].append((record, spent))
    if not rows:
        raise InputError("there is no record in it", file=paths[0] if paths else None)
    peaks: dict[str, float] = {}
    for group in rows.values():
        for record, _ in group:
            if record.tophub is not None and record.tophub.peak_gflops is not None:
                peaks[device(record)] = max(record.tophub.peak_gflops, peaks.get(device(record), 0.0))
    tasks = tuple(_task(target, group, peaks) for (target, _), group in rows.items())
    return History(tasks, repeated, unconvertible)


def _spent(records: Sequence[Record]) -> list[float | None]:
    """Return for each row of a log how many seconds tuning took for it.

    That is the time since the row before, whatever its task: a tuner may change tasks after each batch, and
    spends its time on building and on thinking too. After a pause, and for the first row, it is what the row
    itself says.
    """
    spent: list[float | None] = []
    before: float | None = None
    for record in records:
        now = record.result.timestamp
        if now < EARLIEST:
            spent.append(None)
            continue
        gap = None if before is None else now - before
        spent.append(max(0.0, record.result.all_cost) if gap is None or gap > PAUSE else gap)
        before = now
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
    best = _fastest(record for record, _ in rows)
    return TaskHistory(
        target=target,
        task=first.input.task,
        args=first.input.args,
        trials=tuple(trials),
        default_config=None if template is None else tuple(template.default(target).entity),
        knobs=_knobs([trial.record for trial in trials], template),
        configs=None if template is None else len(template.space),
        peak_gflops=None if best is None else peaks.get(device(best)),
    )


def _template(record: Record) -> Template | None:
    """Return the template of a record's workload; None where there is none, or where it does not take the workload."""
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
    """Return the numbers of a tensor's shape, of strides or a padding."""
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


def option_key(knob: Knob) -> str:
    """Return what makes two values of a knob the same option: of a split, the parts after the outermost."""
    return json.dumps(knob.value[1:] if knob.kind == "sp" else knob.value)


def _identity(entity: Iterable[Knob]) -> frozenset[tuple[str, str]]:
    return frozenset((knob.name, option_key(knob)) for knob in entity)


def _fastest(records: Iterable[Record]) -> Record | None:
    return min((record for record in records if record.valid), key=lambda record: record.mean_cost, default=None)


def _each_once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
