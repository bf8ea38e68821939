"""Learning a cost model from trials: the measured configs of many workloads, slow and failed ones included."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from tophub_registry.cost_model.features import FEATURES
from tophub_registry.cost_model.model import CostModel, TaskModel
from tophub_registry.cost_model.trials import Trials
from tophub_registry.errors import InputError, UsageError
from tophub_registry.records.record import Record
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import TEMPLATES, instantiate

_PARAMETERS = {
    "base_score": 0,
    "colsample_bytree": 0.6,
    "eta": 0.1,
    "max_depth": 6,
    "min_child_weight": 2,
    "nthread": 1,
    "seed": 0,
    "subsample": 0.8,
    "verbosity": 0,
}
"""One thread gives the same trees on every machine."""

_ROUNDS = 300

LEAST = 4
"""A workload teaches only if at least this many of its configs were measured."""


def learn(records: Iterable[Record], kind: str) -> CostModel:
    """Learn the model of each task for which there are trials of more than one workload.

    Parameters
    ----------
    records
        Trials; those of other kinds of target, of tasks without a template, or outside their space are left aside.
    kind
        The kind of target.

    Raises
    ------
    UsageError
        There are too few trials to learn from.
    """
    tasks: defaultdict[str, dict[tuple[str, Target, str | None], Trials]] = defaultdict(dict)
    for record in records:
        task = record.input.task
        if record.target.kind != kind or task not in TEMPLATES:
            continue
        key = record.workload, record.target, record.weights  # costs with and without cold weights do not compare
        if key not in tasks[task]:
            try:
                tasks[task][key] = Trials(instantiate(task, record.input.args), record.target)
            except InputError:
                continue
        tasks[task][key].add(record)
    learned = {task: model for task, known in tasks.items() if (model := _learned([*known.values()])) is not None}
    if not learned:
        raise UsageError(f"no task has trials of two workloads for {kind}: there is nothing to learn from")
    return CostModel(schema_version=1, features=FEATURES, kind=kind, tasks=learned)


def _learned(known: list[Trials]) -> TaskModel | None:
    """Return the model of a task; None if there are too few trials. Spaces with other knobs than most are left out."""
    import xgboost

    families: defaultdict[Any, list[Trials]] = defaultdict(list)
    for each in known:
        if len(each.costs) >= LEAST and each.best is not None:
            families[each.features.family].append(each)
    most = max(families.values(), key=len, default=[])
    if len(most) < 2:  # noqa: PLR2004  # one workload says nothing of others
        return None
    rows, speeds = (np.concatenate(column) for column in zip(*(each.lesson for each in most), strict=True))
    booster = xgboost.train(_PARAMETERS, xgboost.DMatrix(rows, speeds), num_boost_round=_ROUNDS)
    features = most[0].features
    return TaskModel.model_validate(
        {
            "knobs": features.family[0],
            "columns": features.columns,
            "workloads": len(most),
            "trials": len(speeds),
            "booster": json.loads(booster.save_raw("json")),
        }
    )
