"""Warm start: using the records of other workloads and other devices.

They help in two ways. The best configs of the same workload on other devices, and of the most similar workloads, are
tried first. And if many configs of a workload were measured, their costs train the cost model, since its features
mean the same for all workloads of a task.
"""

from __future__ import annotations

import functools
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tophub_registry.cost_model.features import ConfigFeatures
from tophub_registry.errors import InputError
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Record
from tophub_registry.records.target import Target
from tophub_registry.records.task import Task
from tophub_registry.templates.neighbours import TunedConfig, adapt, nearest
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.templates.space import ConfigSpace

TEACHES = 16
"""A workload trains the cost model if at least this many of its configs were measured."""

NEIGHBOURS = 8
"""The number of configs of other workloads that are tried."""

_ASKED = 24
"""The number of neighbours, counted by workload and target, whose best configs vote for those to try."""

_MOST_ROWS = 4000
"""The maximum number of training rows: the time for fitting grows with them."""

_FAILED = 1 / 16
"""The relative throughput assumed for failed configs."""


class Lessons(NamedTuple):
    """Training data from other workloads.

    Attributes
    ----------
    features, shares
        For measured configs the features, `[n, features]`, and the throughput relative to their workload's best, `[n]`.
    known
        The number of measured configs from which these were sampled.
    """

    features: NDArray[Any]
    shares: NDArray[Any]
    known: int


class _Workload:
    """The measured configs of one workload on one target: indices, and the costs of their fastest repeats."""

    def __init__(self, space: ConfigSpace, features: ConfigFeatures, args: list[Any]) -> None:
        self.space = space
        self.features = features
        self.args = args
        self.costs: dict[int, float] = {}
        self._lessons: tuple[int, Lessons] | None = None

    @property
    def best(self) -> int | None:
        """The index of the best config; None if all failed."""
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
        self._tasks: defaultdict[str, dict[tuple[str, Target, str | None], _Workload]] = defaultdict(dict)

    @staticmethod
    def read(logs: Iterable[Path], tasks: Iterable[Task]) -> Experience:
        """Read the records of tasks with the same names from logs; InputError if a log is damaged."""
        names = {task.task for task in tasks}
        experience = Experience()
        for log in logs:
            for record in read_records(log):
                if record.input.task in names:
                    experience.add(record)
        return experience

    def add(self, record: Record) -> None:
        """Add a record; one whose config is not in its workload's space is ignored."""
        known = self._known(record)
        if known is not None:
            try:
                index = known.space.find(record.config.entity)
            except InputError:
                return
            known.costs[index] = min(record.result.costs) if record.valid else math.inf

    def _known(self, record: Record) -> _Workload | None:
        known = self._tasks[record.input.task]
        key = record.workload, record.target, record.weights  # costs with and without cold weights do not compare
        if key not in known and (described := _space_of(record.workload)) is not None:
            known[key] = _Workload(*described, record.input.args)
        return known.get(key)

    def seeds(self, task: Task, target: Target, space: ConfigSpace, *, limit: int) -> list[int]:
        """Return the configs of a task's space that other records suggest, the most promising first.

        Those recorded for the same workload, also on other targets, come first; then those of its nearest neighbours,
        adapted to this space. Within each group they are sorted by votes; nearer neighbours count more.

        Parameters
        ----------
        target
            The target to tune for.
        space
            The task's space, or a part of it.
        limit
            The maximum number.
        """
        same: defaultdict[int, float] = defaultdict(float)
        others: list[TunedConfig] = []
        for (workload, its_target, _), known in self._tasks[task.task].items():
            best = known.best
            if best is None or its_target.kind != target.kind:
                continue
            config = known.space.config(best)
            if workload != task.workload:
                others.append(TunedConfig(known.space, known.args, config))
            elif (adapted := adapt(config, known.space, space)) is not None:
                same[adapted.index] += 2.0 if its_target == target else 1.0
        votes: defaultdict[int, float] = defaultdict(float)
        for _, its in nearest(space, task.args, others, count=_ASKED):
            if its.index not in same:
                votes[its.index] += 2.0**-its.distance
        ranked = [sorted(group, key=lambda index: (-group[index], index)) for group in (same, votes)]
        return [*ranked[0], *ranked[1][:NEIGHBOURS]][:limit]

    def lessons(self, task: Task, target: Target, features: ConfigFeatures) -> Lessons | None:
        """Return training data from other workloads of the task; None if too few configs were measured."""
        taught = [
            known.lessons
            for (workload, its_target, _), known in self._tasks[task.task].items()
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


@functools.lru_cache(maxsize=4096)
def _space_of(workload: str) -> tuple[ConfigSpace, ConfigFeatures] | None:
    """Return the space and the features of a workload, as `workload_key` spells it; None if no template takes it."""
    task, args, _ = json.loads(workload)
    if task not in TEMPLATES:
        return None
    try:
        space = instantiate(task, args).space
    except InputError:
        return None
    return space, ConfigFeatures(space, args)
