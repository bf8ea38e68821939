"""How tuning went: for each task every trial, the time spent, and what was tried of each knob. Pure data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tophub_registry.records.flops import flop
from tophub_registry.records.record import EARLIEST, Knob, Record, Value
from tophub_registry.records.summary import tool
from tophub_registry.records.target import Target
from tophub_registry.records.task import describe

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
        The knobs of the default config, which is AutoTVM's where AutoTVM has the template; None where no template
        here knows the task.
    knobs
        In the space's order.
    configs
        How many configs the space has; None where no template of ours knows the task.
    peak_gflops
        The measured peak of the device on which the best config ran; None where no row says one. Whatever disturbs
        a measurement lowers the peak, so the highest that the logs know of the device counts.
    saving
        How many times fewer multiplications the best config needs than the direct computation: 1 unless it is
        Winograd's; None where that is unknown.
    """

    target: Target
    task: str
    args: list[Value]
    trials: tuple[Trial, ...]
    default_config: tuple[Knob, ...] | None
    knobs: tuple[KnobHistory, ...]
    configs: int | None
    peak_gflops: float | None
    saving: float | None

    def __str__(self) -> str:
        return describe(self.task, self.args)

    @cached_property
    def flop(self) -> int | None:
        """Floating-point operations; None where the task's arithmetic is not known."""
        return flop(self.task, self.args)

    @cached_property
    def best(self) -> Record | None:
        """The fastest record, by its mean cost; None where every trial failed."""
        return fastest(trial.record for trial in self.trials)

    @property
    def cost(self) -> float | None:
        """The mean cost of the best config, in seconds; None where every trial failed."""
        return None if self.best is None else self.best.mean_cost

    @cached_property
    def default(self) -> float | None:
        """The cost of the default config, in seconds; None where it was not measured."""
        if self.default_config is None:
            return None
        wanted = identity(self.default_config)
        return next(
            (
                trial.record.mean_cost
                for trial in self.trials
                if trial.record.valid and identity(trial.record.config.entity) == wanted
            ),
            None,
        )

    @property
    def gain(self) -> float | None:
        """How many times as fast as the default config the best one is."""
        return None if self.cost is None or self.default is None else self.default / self.cost

    @property
    def gflops(self) -> float | None:
        """Billions of floating-point operations a second with the best config."""
        return None if self.cost is None else self.rate(self.cost)

    def rate(self, cost: float) -> float | None:
        """Return a cost, in seconds, as billions of operations a second; None where these are not known."""
        return None if self.flop is None else self.flop / cost / 1e9

    @property
    def bound_gflops(self) -> float | None:
        """The rate at which the best config's multiplications would take all of the device's measured peak."""
        return None if self.peak_gflops is None or self.saving is None else self.peak_gflops * self.saving

    @property
    def share(self) -> float | None:
        """The share of the device's measured peak that the best config's multiplications take: 0.5 is half of it."""
        return None if self.gflops is None or self.bound_gflops is None else self.gflops / self.bound_gflops

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


def option_key(knob: Knob) -> str:
    """Return what makes two values of a knob the same option: of a split, the parts after the outermost."""
    return json.dumps(knob.value[1:] if knob.kind == "sp" else knob.value)


def identity(entity: Iterable[Knob]) -> frozenset[tuple[str, str]]:
    """Return what makes two configs of a workload the same, whatever their number and their knobs' order."""
    return frozenset((knob.name, option_key(knob)) for knob in entity)


def fastest(records: Iterable[Record]) -> Record | None:
    """Return the record with the lowest mean cost; None where every measurement failed."""
    return min((record for record in records if record.valid), key=lambda record: record.mean_cost, default=None)


def _each_once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
