"""The tuning loop: propose, build, measure, write down, learn; and the same again after an interruption.

Every row is on disk before the next batch begins. A log that already holds rows of a task is where that
task goes on: what it holds is learned, counted, and not measured again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tophub_registry import __version__
from tophub_registry.errors import InputError, UsageError
from tophub_registry.records.log import LogAppender, read_records
from tophub_registry.records.record import LOG_VERSION, Config, Input, Provenance, Record
from tophub_registry.records.target import Target
from tophub_registry.records.task import Task
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.tuner.measure import Measured, Measurer
from tophub_registry.tuner.search import SEARCHES, Search


@dataclass(frozen=True)
class Plan:
    """How to tune.

    Attributes
    ----------
    trials
        Configs to measure for each task, those that the log already holds included.
    batch
        Configs from one look at the cost model to the next.
    search
        One of `SEARCHES`.
    early_stopping
        A task ends when this many configs brought nothing better; None: never.
    seed
        Makes the choices reproducible.
    where
        Knobs that are held fixed, as `ConfigSpace.where` takes them.
    """

    trials: int = 64
    batch: int = 16
    search: str = "model"
    early_stopping: int | None = None
    seed: int = 0
    where: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskOutcome:
    """What tuning a task has brought so far.

    Attributes
    ----------
    number
        The task's place in the list, from 0.
    trials, failed
        Measured configs, and how many of them failed.
    planned
        How many configs will be measured at most.
    best, default
        The costs of the best config and of AutoTVM's default, in seconds; None where unknown.
    flop
        The task's floating-point operations.
    done
        Whether the task has come to its end.
    """

    task: Task
    number: int
    trials: int
    failed: int
    planned: int
    best: float | None
    default: float | None
    flop: int
    done: bool = False

    @property
    def gflops(self) -> float:
        """Billions of floating-point operations a second with the best config; 0 where there is none."""
        return self.flop / self.best / 1e9 if self.best else 0.0


def supported(tasks: Iterable[Task]) -> tuple[list[Task], list[Task]]:
    """Split tasks into those that a template covers, and the others."""
    covered: list[Task] = []
    others: list[Task] = []
    for task in tasks:
        (covered if task.task in TEMPLATES else others).append(task)
    return covered, others


def tune(
    tasks: Sequence[Task],
    target: Target,
    log: Path,
    measurer: Measurer,
    plan: Plan = Plan(),  # immutable
    *,
    resume: bool = False,
    progress: Callable[[TaskOutcome], None] = lambda _: None,
) -> list[TaskOutcome]:
    """Tune tasks one after the other and append every measured config to a log.

    Parameters
    ----------
    log
        The log to write; with `resume` it may exist, and tuning goes on where it ends.
    progress
        Called at the start of each task and after each measured config.

    Raises
    ------
    UsageError
        The log exists and `resume` is false, or there is nothing to tune.
    InputError
        A task's arguments do not fit its template, or the log to go on with is damaged.
    EnvironmentFailure
        The disk is full.
    """
    if log.exists() and not resume:
        raise UsageError("the log is already there", file=log, remedy="--resume goes on with it")
    if not tasks:
        raise UsageError("there is nothing to tune", remedy="`tophub extract` lists a model's tasks")
    provenance = measurer.describe().model_copy(update={"tuner": f"tophub-registry {__version__} {plan.search}"})
    tvm_version = version("apache-tvm")
    with LogAppender(log) as appender:
        known = _by_workload(log, target)
        outcomes = []
        for number, task in enumerate(tasks):
            session = _Session(task, number, target, plan, known.get(task.workload, []))
            progress(session.outcome)
            while batch := session.propose():
                for measured in measurer.measure(session.template, batch, session.best):
                    session.observe(measured)
                    appender.append([session.record(measured, provenance, tvm_version)])
                    progress(session.outcome)
            outcomes.append(replace(session.outcome, done=True))
            progress(outcomes[-1])
    return outcomes


def _by_workload(log: Path, target: Target) -> dict[str, list[Record]]:
    """Return what a log holds of a target, by workload."""
    known: defaultdict[str, list[Record]] = defaultdict(list)
    for record in read_records(log):
        if record.target == target:
            known[record.workload].append(record)
    return known


class _Session:
    """One task being tuned: its search and what has come out so far."""

    def __init__(self, task: Task, number: int, target: Target, plan: Plan, known: list[Record]) -> None:
        self.task, self.number, self.target, self.plan = task, number, target, plan
        self.template = instantiate(task.task, task.args)
        self.space = self.template.space.where(plan.where)
        self.search: Search = SEARCHES[plan.search](self.space, plan.seed, self._feasible)
        self.planned = min(plan.trials, len(self.space))
        self.default_index = self._find(self.template.default(target))
        self.failed = 0
        self.best: float | None = None
        self.default: float | None = None
        self.since_best = 0
        for record in known:
            if (index := self._find(record.config)) is not None:
                self._learn(index, record.mean_cost if record.valid else None)

    def _feasible(self, index: int) -> bool:
        return self.template.feasible(self.space.config(index))

    def _find(self, config: Config) -> int | None:
        """Return a config's index in the space that is searched; None where it lies outside."""
        try:
            return self.space.find(config.entity)
        except InputError:
            return None

    @property
    def trials(self) -> int:
        return len(self.search.costs)

    @property
    def outcome(self) -> TaskOutcome:
        return TaskOutcome(
            self.task, self.number, self.trials, self.failed, self.planned, self.best, self.default, self.template.flop
        )

    def propose(self) -> list[Config]:
        """Return the next batch; empty when the task is done."""
        count = min(self.plan.batch, self.planned - self.trials)
        if count <= 0 or (self.plan.early_stopping is not None and self.since_best >= self.plan.early_stopping):
            return []
        indices: list[int] = []
        if self.default_index is not None and self.default_index not in self.search.costs:
            indices.append(self.default_index)  # what a user has today comes first: all gain is told against it
        proposed = self.search.propose(count)
        indices += [index for index in proposed if index not in indices]
        whole = self.template.space
        return [whole.config(whole.find(self.space.config(index).entity)) for index in indices[:count]]

    def observe(self, measured: Measured) -> None:
        costs = measured.result.costs
        self._learn(
            self.space.find(measured.config.entity), None if measured.message else math.fsum(costs) / len(costs)
        )

    def _learn(self, index: int, cost: float | None) -> None:
        self.search.observe(index, cost)
        self.since_best += 1
        if cost is None:
            self.failed += 1
            return
        if index == self.default_index:
            self.default = cost
        if self.best is None or cost < self.best:
            self.best, self.since_best = cost, 0

    def record(self, measured: Measured, provenance: Provenance, tvm_version: str) -> Record:
        update: dict[str, object] = {"trials": self.trials}
        if measured.message:
            update["error"] = measured.message
        return Record(
            input=Input(str(self.target), self.task.task, self.task.args, self.task.kwargs),
            config=measured.config,
            result=measured.result,
            version=LOG_VERSION,
            tvm_version=tvm_version,
            tophub=Provenance(**{**provenance.model_dump(exclude_unset=True), **update}),
        )
