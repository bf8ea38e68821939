"""Warm start: what records of other workloads and other devices say of the task at hand.

They help twice. The best configs of the same workload on other devices, and those of the workloads most like
it, are tried first. And where many configs of a workload were measured, their costs teach the cost model,
since its features mean the same for all workloads of a task.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tophub_registry.errors import InputError
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Record
from tophub_registry.records.target import Target
from tophub_registry.records.task import Task
from tophub_registry.templates.neighbours import TunedConfig, carry, nearest
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.templates.space import ConfigSpace
from tophub_registry.tuner.features import ConfigFeatures

TEACHES = 16
"""A workload's costs teach the cost model from so many measured configs on."""

NEIGHBOURS = 8
"""How many configs of other workloads are tried, those that the nearest ones agree on."""

_ASKED = 24
"""How many other workloads' best configs are asked, each target's by itself: what several agree on comes first."""

_MOST_ROWS = 4000
"""What the cost model learns from at most: fitting takes time in proportion."""

_FAILED = 1 / 16
"""The share of the best throughput that a config counts for that failed."""


class Lessons(NamedTuple):
    """What other workloads teach.

    Attributes
    ----------
    features, shares
        Of measured configs the features, `[n, features]`, and the share of their workload's best throughput, `[n]`.
    known
        Of how many measured configs these were drawn.
    """

    features: NDArray[Any]
    shares: NDArray[Any]
    known: int


class _Workload:
    """What is known of one workload on one target: indices of its space, and the costs of their fastest repeats."""

    def __init__(self, space: ConfigSpace, features: ConfigFeatures, args: list[Any]) -> None:
        self.space = space
        self.features = features
        self.args = args
        self.costs: dict[int, float] = {}
        self._lessons: tuple[int, Lessons] | None = None

    @property
    def best(self) -> int | None:
        """The index of the best config; None where all failed."""
        best = min(self.costs, key=self.costs.__getitem__, default=None)
        return None if best is None or math.isinf(self.costs[best]) else best

    @property
    def lessons(self) -> Lessons:
        if self._lessons is None or self._lessons[0] != len(self.costs):
            costs = np.array([*self.costs.values()])
            shares = np.maximum(costs.min() / costs, _FAILED)
            self._lessons = len(costs), Lessons(self.features([*self.costs]), shares, len(costs))
        return self._lessons[1]


class Experience:
    """Records of any workloads and targets, by task."""

    def __init__(self) -> None:
        self._tasks: defaultdict[str, dict[tuple[str, Target], _Workload]] = defaultdict(dict)
        self._spaces: dict[str, tuple[ConfigSpace, ConfigFeatures] | None] = {}

    @staticmethod
    def read(logs: Iterable[Path], tasks: Iterable[Task]) -> Experience:
        """Read what logs say of tasks of the same names; InputError where a log is damaged."""
        names = {task.task for task in tasks}
        experience = Experience()
        for log in logs:
            for record in read_records(log):
                if record.input.task in names:
                    experience.add(record)
        return experience

    def add(self, record: Record) -> None:
        """Take in a record; one whose config is no point of its workload's space says nothing."""
        known = self._known(record)
        if known is not None:
            try:
                index = known.space.find(record.config.entity)
            except InputError:
                return
            known.costs[index] = min(record.result.costs) if record.valid else math.inf

    def _known(self, record: Record) -> _Workload | None:
        task, workload, target = record.input.task, record.workload, record.target
        if workload not in self._spaces:
            self._spaces[workload] = _space_of(task, record.input.args)
        described = self._spaces[workload]
        if described is None:
            return None
        return self._tasks[task].setdefault((workload, target), _Workload(*described, record.input.args))

    def seeds(self, task: Task, target: Target, space: ConfigSpace, *, limit: int) -> list[int]:
        """Return the configs of a task's space that other records speak for, the most promising first.

        First come those recorded for the same workload, on other targets too; then those of its nearest neighbours,
        carried over into this space. Among each, what more of them, and nearer ones, agree on comes first.

        Parameters
        ----------
        target
            What is tuned for.
        space
            The task's space, or a part of it.
        limit
            How many at most.
        """
        same: defaultdict[int, float] = defaultdict(float)
        others: list[TunedConfig] = []
        for (workload, its_target), known in self._tasks[task.task].items():
            best = known.best
            if best is None or its_target.kind != target.kind:
                continue
            config = known.space.config(best)
            if workload != task.workload:
                others.append(TunedConfig(known.space, known.args, config))
            elif (carried := carry(config, known.space, space)) is not None:
                same[carried.index] += 2.0 if its_target == target else 1.0
        votes: defaultdict[int, float] = defaultdict(float)
        for _, its in nearest(space, task.args, others, count=_ASKED):
            if its.index not in same:
                votes[its.index] += 2.0**-its.distance
        ranked = [sorted(group, key=lambda index: (-group[index], index)) for group in (same, votes)]
        return [*ranked[0], *ranked[1][:NEIGHBOURS]][:limit]

    def lessons(self, task: Task, target: Target, features: ConfigFeatures) -> Lessons | None:
        """Return what other workloads of the task teach; None where too few configs were measured."""
        taught = [
            known.lessons
            for (workload, its_target), known in self._tasks[task.task].items()
            if workload != task.workload
            and its_target.kind == target.kind
            and known.features.family == features.family
            and len(known.costs) >= TEACHES
            and known.best is not None
        ]
        if not taught:
            return None
        rows, shares = (np.concatenate([lessons[column] for lessons in taught]) for column in range(2))
        known = len(shares)
        if known > _MOST_ROWS:
            some = np.random.default_rng(0).choice(known, _MOST_ROWS, replace=False)
            rows, shares = rows[some], shares[some]
        return Lessons(rows, shares, known)


def _space_of(task: str, args: list[Any]) -> tuple[ConfigSpace, ConfigFeatures] | None:
    """Return a workload's space and features; None where no template takes it."""
    if task not in TEMPLATES:
        return None
    try:
        space = instantiate(task, args).space
    except InputError:
        return None
    return space, ConfigFeatures(space, args)
