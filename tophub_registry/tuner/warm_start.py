"""Warm start: using the records of other workloads and other devices, and a cost model that was learned from them.

The best configs of the same workload on other devices, and of the most similar workloads, are tried first. Where many
configs of a workload were measured, their costs train the search's model, since its features mean the same for all
workloads of a task; and that begins with the published cost model, if there is one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tophub_registry.cost_model.features import ConfigFeatures
from tophub_registry.cost_model.model import CostModel
from tophub_registry.cost_model.trials import Lesson, Trials
from tophub_registry.errors import InputError
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Record
from tophub_registry.records.target import Target
from tophub_registry.records.task import Task
from tophub_registry.templates.neighbours import TunedConfig, adapt, nearest
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.space import ConfigSpace

TEACHES = 16
"""A workload trains the cost model if at least this many of its configs were measured."""

NEIGHBOURS = 8
"""The number of configs of other workloads that are tried."""

_ASKED = 24
"""The number of neighbours, counted by workload and target, whose best configs vote for those to try."""


class Experience:
    """Records of any workloads and targets, by task, and a cost model.

    Parameters
    ----------
    model
        The published cost model.
    """

    def __init__(self, model: CostModel | None = None) -> None:
        self._model = model
        self._tasks: defaultdict[str, dict[tuple[str, Target, str | None], Trials | None]] = defaultdict(dict)

    @staticmethod
    def read(
        logs: Collection[Path], tasks: Iterable[Task], kind: str, unusable: Callable[[InputError], None]
    ) -> Experience:
        """Read the records of tasks with the same names from logs, and the cost model beside one of them.

        Parameters
        ----------
        kind
            The kind of target to tune for.
        unusable
            Is told why the cost model can't be read.

        Raises
        ------
        InputError
            A log is damaged.
        """
        names = {task.task for task in tasks}
        experience = Experience(CostModel.beside(logs, kind, unusable))
        for log in logs:
            for record in read_records(log):
                if record.input.task in names:
                    experience.add(record)
        return experience

    def add(self, record: Record) -> None:
        """Add a record; one that no template takes, or whose config is not in its workload's space, is ignored."""
        known = self._tasks[record.input.task]
        key = record.workload, record.target, record.weights  # costs with and without cold weights do not compare
        if key not in known:
            known[key] = _trials(record)
        if (its := known[key]) is not None:
            its.add(record)

    def seeds(self, task: Task, target: Target, space: ConfigSpace, *, limit: int) -> list[int]:
        """Return the configs of a task's space that other records suggest, the most promising first.

        Those recorded for the same workload, also on other targets, come first; then those of its nearest neighbours,
        adapted to this space. Within each group they are sorted by votes; nearer neighbours count more. With a cost
        model the second group is sorted by its predictions.

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
            if known is None or known.best is None or its_target.kind != target.kind:
                continue
            its_space = known.template.space
            config = its_space.config(known.best)
            if workload != task.workload:
                others.append(TunedConfig(its_space, known.template.args, config))
            elif (adapted := adapt(config, its_space, space)) is not None:
                same[adapted.index] += 2.0 if its_target == target else 1.0
        votes: defaultdict[int, float] = defaultdict(float)
        for _, its in nearest(space, task.args, others, count=_ASKED):
            if its.index not in same:
                votes[its.index] += 2.0**-its.distance
        if votes and (prior := self.prior(task, features := ConfigFeatures(space, task.args, target))):
            votes = defaultdict(float, zip(votes, prior(features([*votes])).tolist(), strict=True))
        ranked = [sorted(group, key=lambda index: (-group[index], index)) for group in (same, votes)]
        return [*ranked[0], *ranked[1][:NEIGHBOURS]][:limit]

    def prior(self, task: Task, features: ConfigFeatures) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
        """Return what the published cost model predicts, from rows of such features: the log2 of GFLOPS."""
        known = None if self._model is None else self._model.of(task.task, features)
        return None if known is None else known.speeds

    def lessons(self, task: Task, target: Target, features: ConfigFeatures) -> Lesson | None:
        """Return training data from other workloads of the task; None if too few configs were measured."""
        taught = [
            known.lesson
            for (workload, its_target, _), known in self._tasks[task.task].items()
            if known is not None
            and workload != task.workload
            and its_target.kind == target.kind
            and known.features.family == features.family
            and len(known.costs) >= TEACHES
            and known.best is not None
        ]
        return Lesson(*map(np.concatenate, zip(*taught, strict=True))) if taught else None


def _trials(record: Record) -> Trials | None:
    """Return a place for the trials of a record's workload; None if no template takes it."""
    try:
        return Trials(instantiate(record.input.task, record.input.args), record.target)
    except InputError:
        return None
