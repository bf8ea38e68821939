"""The tuning loop: propose configs, build and measure them, write records, update the cost model; and resuming.

Every row is on disk before the next batch starts. Rows that the log already holds are learned from, counted, and
not measured again. Measurements of one task also train the cost models of the others.
"""

from __future__ import annotations

import functools
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from tophub_registry._version import __version__
from tophub_registry.cost_model.features import ConfigFeatures
from tophub_registry.errors import InputError, UsageError
from tophub_registry.measurement.measure import Measurer
from tophub_registry.measurement.outcome import Measured
from tophub_registry.records.appender import LogAppender
from tophub_registry.records.log import read_records
from tophub_registry.records.record import LOG_VERSION, Config, Input, Provenance, Record
from tophub_registry.records.target import Target
from tophub_registry.records.task import Task
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.tuner.budget import CostCurve, most_rewarding
from tophub_registry.tuner.search import SEARCHES, ModelSearch, Search
from tophub_registry.tuner.warm_start import Experience

_BATCH = {"llvm": 8, "cuda": 32}
"""The number of configs per batch, by kind of target."""

_SEEDED = 3
"""At most one of this many trials goes to configs suggested by other records."""

_ESTIMATED = 2
"""The part of a task's trials that is spent on the configs of the least estimated times, at most."""


@dataclass(frozen=True)
class Plan:
    """How to tune.

    Attributes
    ----------
    trials
        The maximum number of configs to measure for each task, including those that the log already holds.
    total
        The number of configs to measure for all tasks together, likewise. After a first batch for each task they are
        spent where they gain most. None: each task gets its `trials`, one task after the other.
    batch
        The number of configs between two fits of the cost model. None: few on a processor, where fitting is cheap
        compared to measuring, and more on a GPU, where many are built at once.
    search
        One of `SEARCHES`.
    early_stopping
        Stop a task after this many configs without improvement; None: never.
    seed
        The random seed.
    where
        The knobs to fix, as for `ConfigSpace.where`, besides those that a template fixes itself.
    seconds
        Start no batch after this many seconds; None: no limit.
    """

    trials: int = 64
    total: int | None = None
    batch: int | None = None
    search: str = "model"
    early_stopping: int | None = None
    seed: int = 0
    where: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    def batch_for(self, kind: str) -> int:
        """Return the batch for a kind of target."""
        return self.batch or _BATCH[kind]


@dataclass(frozen=True)
class TaskOutcome:
    """The state of tuning a task.

    Attributes
    ----------
    number
        The task's index in the list, from 0.
    trials, failed
        The number of measured configs, and how many of them failed.
    planned
        The maximum number of configs to measure.
    best, default
        The costs of the best and of the default config, in seconds; None if unknown.
    flop
        The task's floating-point operations.
    done
        Whether the task is finished.
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
        """The best config's rate in GFLOPS; 0 if there is none."""
        return self.flop / self.best / 1e9 if self.best else 0.0


def supported(tasks: Iterable[Task]) -> tuple[list[Task], list[Task]]:
    """Split tasks into those with a template and the others."""
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
    experience: Experience | None = None,
    progress: Callable[[TaskOutcome], None] = lambda _: None,
) -> list[TaskOutcome]:
    """Tune tasks and append every measured config to a log.

    Parameters
    ----------
    log
        The log to write; with `resume` it may exist, and is continued.
    experience
        Records of other logs: their best configs are tried first, and their costs train the cost model. New
        measurements are added to it.
    progress
        Called at the start of each task and after each measured config.

    Raises
    ------
    UsageError
        The log exists and `resume` is false, or there are no tasks.
    InputError
        A task's arguments do not fit its template, or the log to resume is damaged.
    EnvironmentFailure
        The disk is full.
    """
    if log.exists() and not resume:
        raise UsageError("the log already exists", file=log, remedy="--resume continues it")
    if not tasks:
        raise UsageError("no tasks to tune", remedy="`tophub extract` lists a model's tasks")
    tuner = {"tuner": f"tophub-registry {__version__} {plan.search}", "started": round(time.time(), 3)}
    provenance = measurer.describe().model_copy(update=tuner)
    tvm_version = version("apache-tvm")
    experience = Experience() if experience is None else experience
    plan = replace(plan, batch=plan.batch_for(target.kind))
    deadline = math.inf if plan.seconds is None else time.monotonic() + plan.seconds
    with LogAppender(log) as appender:
        sessions = _sessions(tasks, target, log, plan, experience, provenance)
        for session in filter(lambda session: session.done, sessions):
            session.end(progress)
        begun: set[int] = set()
        for session, _, results in _turns(sessions, plan, measurer, deadline):
            if session.number not in begun:
                begun.add(session.number)
                progress(session.outcome)
            for measured in results:
                session.observe(measured)
                record = session.record(measured, provenance, tvm_version)
                appender.append([record])
                experience.add(record)
                progress(session.outcome)
            if session.done:
                session.end(progress)
    for session in filter(lambda session: not session.ended, sessions):
        session.end(progress)  # the trials are spent
    return [session.outcome for session in sessions]


def _sessions(
    tasks: Sequence[Task], target: Target, log: Path, plan: Plan, experience: Experience, provenance: Provenance
) -> list[_Session]:
    """Return the tasks with the state that the log left them in, and add its records to the experience.

    Rows that were not measured as these will be, with cold weights or without, are no trials.
    """
    known: defaultdict[str, list[Record]] = defaultdict(list)
    for record in read_records(log):
        if record.target == target:
            if record.weights == provenance.weights:
                known[record.workload].append(record)
            experience.add(record)
    return [
        _Session(task, number, target, plan, known.get(task.workload, []), experience)
        for number, task in enumerate(tasks)
    ]


class _Turn(NamedTuple):
    """A batch of a task's configs that is being built or run."""

    session: _Session
    size: int
    results: Iterator[Measured]


def _turns(sessions: Sequence[_Session], plan: Plan, measurer: Measurer, deadline: float) -> Iterator[_Turn]:
    """Yield one turn after the other until all is done or spent, or the time is.

    Where that disturbs nothing, the next tasks' kernels are built while this one's run.
    """
    ahead: deque[_Turn] = deque()
    while True:
        while (
            time.monotonic() < deadline
            and (not ahead or sum(turn.size for turn in ahead) - ahead[0].size < measurer.ahead)
            and (turn := _next_turn(sessions, plan, ahead))
        ):
            session, configs = turn
            results = measurer.measure(session.template, configs, session.best)
            ahead.append(_Turn(session, len(configs), results))
        if not ahead:
            return
        yield ahead[0]
        ahead.popleft()


def _next_turn(
    sessions: Sequence[_Session], plan: Plan, ahead: Collection[_Turn]
) -> tuple[_Session, list[Config]] | None:
    """Return the next task and the configs to measure; None if everything is finished, spent or in progress."""
    busy = [turn.session for turn in ahead]
    while unfinished := [session for session in sessions if not session.done and session not in busy]:
        batch = plan.batch or 1
        count, session = batch, unfinished[0]
        if plan.total is not None:
            spent = sum(session.trials for session in sessions) + sum(turn.size for turn in ahead)
            count = min(count, plan.total - spent)
            if count <= 0:
                return None
            if fresh := [session for session in unfinished if session.trials < batch]:
                session = max(fresh, key=lambda session: session.template.flop * session.task.count)
                count = min(count, batch - session.trials)
            else:
                curves = [session.curve for session in sessions]
                session = sessions[most_rewarding(curves, [session.number for session in unfinished], count)]
        if configs := session.propose(count):
            return session, configs
    return None


class _Session:
    """One task being tuned: its search and the results so far."""

    def __init__(
        self,
        task: Task,
        number: int,
        target: Target,
        plan: Plan,
        known: list[Record],
        experience: Experience,
    ) -> None:
        self.task, self.number, self.target, self.plan = task, number, target, plan
        self.template = instantiate(task.task, task.args)
        self.space = self.template.space.where({**self.template.fixed(target), **plan.where})
        self.planned = min(plan.trials, len(self.space))
        self.search = self._search(experience)
        self._experience = experience
        self.curve = CostCurve(tuple(task.layers), task.count)
        self.ended, self._exhausted = False, not self.template.runs_on(target)
        self.failed = 0
        self.best: float | None = None
        self.default: float | None = None
        self.since_best = 0
        for record in known:
            if (index := self._find(record.config)) is not None:
                self._learn(index, record.result.costs if record.valid else None)

    def _search(self, experience: Experience) -> Search:
        kind = SEARCHES[self.plan.search]
        if not issubclass(kind, ModelSearch):
            return kind(self.space, self.plan.seed, self._feasible)
        features = ConfigFeatures(self.space, self.task.args, self.target)
        start = self.default_index if self.target.kind == "llvm" else None  # the defaults for CUDA are poor
        prior = experience.prior(self.task, features)
        lessons = functools.partial(experience.lessons, self.task, self.target)
        return kind(self.space, self.plan.seed, self._feasible, features, start, prior, lessons)

    def _feasible(self, index: int) -> bool:
        return self.template.feasible(self.space.config(index), self.target)

    def _find(self, config: Config) -> int | None:
        """Return a config's index in the searched space; None if it is outside."""
        try:
            return self.space.find(config.entity)
        except InputError:
            return None

    @functools.cached_property
    def default_index(self) -> int | None:
        return self._find(self.template.default(self.target))

    @property
    def trials(self) -> int:
        return len(self.search.costs)

    @property
    def done(self) -> bool:
        """Whether the task is finished: enough trials, no improvement, or an exhausted space."""
        stopping = self.plan.early_stopping
        return (
            self.ended
            or self._exhausted
            or self.trials >= self.planned
            or (stopping is not None and self.since_best >= stopping)
        )

    @property
    def outcome(self) -> TaskOutcome:
        return TaskOutcome(
            self.task,
            self.number,
            self.trials,
            self.failed,
            self.planned,
            self.best,
            self.default,
            self.template.flop,
            self.ended,
        )

    def end(self, progress: Callable[[TaskOutcome], None]) -> None:
        self.ended = True
        progress(self.outcome)

    def propose(self, count: int) -> list[Config]:
        """Return up to `count` configs to measure next; none if the space is exhausted."""
        count = min(count, self.planned - self.trials)
        indices = [index for index in self._first if index not in self.search.costs][:count]
        if len(indices) < count:
            proposed = self.search.propose(count)
            indices += [index for index in proposed if index not in indices][: count - len(indices)]
        self._exhausted = not indices
        whole = self.template.space
        return [whole.config(whole.find(self.space.config(index).entity)) for index in indices]

    @functools.cached_property
    def _first(self) -> list[int]:
        """The configs to try first.

        The default, which is the baseline of all gains; those of other records; those that are estimated to be fast.
        """
        first = [] if self.default_index is None else [self.default_index]
        limit = self.planned // _SEEDED
        seeds = self._experience.seeds(self.task, self.target, self.space, limit=limit)
        likely = (self._find(config) for config in self.template.likely(self.target, self.planned // _ESTIMATED))
        seeds += [index for index in likely if index is not None]
        return list(dict.fromkeys([*first, *filter(self._feasible, seeds)]))

    def observe(self, measured: Measured) -> None:
        self._learn(self.space.find(measured.config.entity), None if measured.message else measured.result.costs)

    def _learn(self, index: int, costs: list[float] | None) -> None:
        # The search learns from the fastest repeat, which is the most reliable on a busy machine; reported and compared
        # costs are means, as in AutoTVM's clients.
        self.search.observe(index, None if costs is None else min(costs))
        cost = None if costs is None else sum(costs) / len(costs)
        self.curve.observe(cost)
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
