"""The tuning tasks of layers, each distinct workload once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tophub_registry.records.record import workload_key
from tophub_registry.records.task import Task
from tophub_registry.tasks.layers import Layer
from tophub_registry.tasks.rules import FLOAT32, is_own, rules_for, workloads


def tasks_of(layers: Iterable[Layer], kind: str, *, own: bool = False, precision: str = FLOAT32) -> list[Task]:
    """Return the tuning tasks for a kind of target: AutoTVM's, then our own, each in the order of its first layer.

    Parameters
    ----------
    own
        Whether to include the tasks of templates that AutoTVM does not have.

    Raises
    ------
    UsageError
        There are no templates for this kind of target.
    """
    rules_for(kind)
    found: dict[str, tuple[str, list[Any], list[str]]] = {}
    for layer in layers:
        for template, arguments in workloads(layer, kind, own=own, precision=precision):
            key = workload_key(template, arguments, {})
            found.setdefault(key, (template, arguments, []))[2].append(layer.name)
    tasks = [
        Task(task=template, args=arguments, count=len(names), layers=names)
        for template, arguments, names in found.values()
    ]
    return sorted(tasks, key=lambda task: is_own(task.task))


def tasks_as_computed(
    tasks: Iterable[Task], layers: Iterable[Layer], kind: str, precision: str = FLOAT32
) -> list[Task]:
    """Return a model's tasks for a kind of target: AutoTVM's, and those of the layers as our compiler computes them.

    On a processor these are of our own templates, or of AutoTVM's where there are none.

    Parameters
    ----------
    tasks
        The tasks of the layers as the model has them.
    layers
        The layers of the function that `as_computed` returns.
    """
    autotvms = [task for task in tasks if not is_own(task.task)]
    known = {task.workload for task in autotvms}
    computed = tasks_of(layers, kind, own=True, precision=precision)
    served = {name for task in computed if is_own(task.task) for name in task.layers}
    replaced = served if kind == "llvm" else set()  # on a GPU AutoTVM's are often as good
    others = [task for task in computed if is_own(task.task) or replaced.isdisjoint(task.layers)]
    both = [*autotvms, *(task for task in others if task.workload not in known)]
    return sorted(both, key=lambda task: is_own(task.task))


def untuned(layers: Iterable[Layer], kind: str) -> list[Layer]:
    """Return the layers that no template covers on this kind of target; tuning can't make them faster."""
    return [layer for layer in layers if not workloads(layer, kind)]
