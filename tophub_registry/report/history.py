"""The history of a tuning run: for each task its trials, the time spent, and the results by knob. Pure data."""

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
    1: "rejected by the template",
    2: "compile error",
    3: "device compile error",
    4: "run-time error",
    5: "wrong answer",
    6: "compile timeout",
    7: "run timeout",
    8: "unknown error",
}
"""The meaning of AutoTVM's error numbers (`MeasureErrorNo`)."""


class Trial(NamedTuple):
    """One measured config.

    Attributes
    ----------
    record
        The row.
    elapsed
        Seconds of tuning spent on the task up to and including this trial; None if the log does not say.
    """

    record: Record
    elapsed: float | None


@dataclass(frozen=True)
class OptionHistory:
    """The results of one option of a knob.

    Attributes
    ----------
    value
        The option.
    tried, failed
        The number of trials with it, and how many of them failed.
    best, median
        Costs of the successful ones, in seconds; None if all failed.
    """

    value: Value
    tried: int
    failed: int
    best: float | None
    median: float | None


@dataclass(frozen=True)
class KnobHistory:
    """The results of one knob.

    Attributes
    ----------
    options
        The options that were tried, sorted by best cost.
    total
        The number of options in the space; None if no template here knows the task.
    """

    name: str
    kind: str
    options: tuple[OptionHistory, ...]
    total: int | None


@dataclass(frozen=True)
class TaskHistory:
    """The history of tuning one workload for one target.

    Attributes
    ----------
    target, task, args
        The workload.
    trials
        In the order in which they were measured.
    default_config
        The knobs of the default config, which is AutoTVM's if AutoTVM has the template; None if no template here
        knows the task.
    knobs
        In the space's order.
    configs
        The size of the space; None if no template here knows the task.
    peak_gflops
        The measured peak of the device on which the best config ran; None if no row has one. Disturbances only
        lower a measured peak, so this is the highest one in the logs for that device.
    saving
        How many times fewer multiplications the best config needs than the direct computation: 1 unless it is
        Winograd; None if unknown.
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
        """Floating-point operations of the direct computation; None for an unknown task."""
        return flop(self.task, self.args)

    @cached_property
    def best(self) -> Record | None:
        """The record with the lowest mean cost; None if every trial failed."""
        return fastest(trial.record for trial in self.trials)

    @property
    def cost(self) -> float | None:
        """The mean cost of the best config, in seconds; None if every trial failed."""
        return None if self.best is None else self.best.mean_cost

    @cached_property
    def default(self) -> float | None:
        """The cost of the default config, in seconds; None if it was not measured."""
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
        """The speedup of the best config over the default one."""
        return None if self.cost is None or self.default is None else self.default / self.cost

    @property
    def gflops(self) -> float | None:
        """The best config's rate, in billions of floating-point operations per second."""
        return None if self.cost is None else self.rate(self.cost)

    def rate(self, cost: float) -> float | None:
        """Return the rate in GFLOPS for a cost in seconds; None if the operations are not known."""
        return None if self.flop is None else self.flop / cost / 1e9

    @property
    def bound_gflops(self) -> float | None:
        """The rate that the best config would reach at the device's measured peak: the peak times the saving."""
        return None if self.peak_gflops is None or self.saving is None else self.peak_gflops * self.saving

    @property
    def share(self) -> float | None:
        """The best config's rate as a share of `bound_gflops`, from 0 to 1."""
        return None if self.gflops is None or self.bound_gflops is None else self.gflops / self.bound_gflops

    @cached_property
    def failures(self) -> dict[str, int]:
        """The number of failed trials by kind of error, the most frequent first."""
        kinds = Counter(error(trial.record) for trial in self.trials if not trial.record.valid)
        return dict(kinds.most_common())

    @property
    def failed(self) -> int:
        """The number of failed trials."""
        return sum(self.failures.values())

    @property
    def seconds(self) -> float | None:
        """Seconds of tuning spent on the task; None if the log does not say, as one with best records only."""
        return self.trials[-1].elapsed if len(self.trials) > 1 else None


@dataclass(frozen=True)
class History:
    """The history of the tuning runs that wrote some logs.

    Attributes
    ----------
    tasks
        One for each target and workload, in the order of their first rows.
    repeated
        The number of duplicate rows, which were dropped.
    unconvertible
        The number of rows of log version 0.1 that can't be converted, which were dropped.
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
        """The devices that the rows name, each once."""
        return _each_once(device(record) for record in self.records if device(record))

    @property
    def tools(self) -> tuple[str, ...]:
        """The tools that wrote the rows, each once."""
        return _each_once(map(tool, self.records))

    @property
    def span(self) -> tuple[float, float] | None:
        """When the first and the last row were measured, in seconds since 1970; None if no row says."""
        times = [record.result.timestamp for record in self.records if record.result.timestamp >= EARLIEST]
        return (min(times), max(times)) if times else None


def error(record: Record) -> str:
    """Return the kind of error of a failed config."""
    return ERRORS.get(record.result.error_no, f"error {record.result.error_no}")


def message(record: Record) -> str:
    """Return the error message of a failed config; empty if the row has none."""
    said = None if record.tophub is None else (record.tophub.model_extra or {}).get("error")
    return said if isinstance(said, str) else ""


def device(record: Record) -> str:
    """Return the device of a record: 'AMD EPYC, 2 cores, 1 thread'; empty if the record does not name it."""
    provenance = record.tophub
    if provenance is None or provenance.device is None:
        return ""
    threads = provenance.threads
    return provenance.device + ("" if threads is None else f", {threads} thread{'' if threads == 1 else 's'}")


def option_key(knob: Knob) -> str:
    """Return a key that is equal for equal options of a knob: for a split, all factors but the outermost."""
    return json.dumps(knob.value[1:] if knob.kind == "sp" else knob.value)


def identity(entity: Iterable[Knob]) -> frozenset[tuple[str, str]]:
    """Return a key that is equal for equal configs of a workload, whatever their index and the order of their knobs."""
    return frozenset((knob.name, option_key(knob)) for knob in entity)


def fastest(records: Iterable[Record]) -> Record | None:
    """Return the record with the best cost; None if every measurement failed."""
    return min((record for record in records if record.valid), key=lambda record: record.cost, default=None)


def _each_once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
