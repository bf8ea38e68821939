"""The argument MODEL of `tune` and `gain`: a model, or a file of tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tophub_registry.errors import InputError, UsageError
from tophub_registry.frontends import KINDS, is_relax_module
from tophub_registry.records.task import Task, TaskFile

HELP = f"{KINDS}; or the tasks.json that `tophub extract` wrote."

OWN_TEMPLATES = "Add the tasks of templates that AutoTVM does not have: Winograd's convolution on x86."


def tasks_of(model: str, kind: str, *, own: bool = False) -> TaskFile:
    """Return the tasks that MODEL stands for, for a kind of target.

    Parameters
    ----------
    own
        Whether to add those of templates that AutoTVM does not have; a file of tasks stands for what it lists.
    """
    path = Path(model)
    if _is_task_file(path):
        tasks = TaskFile.read(path)
        if tasks.kind != kind:
            raise InputError(
                f"these tasks are for {tasks.kind}, not for {kind}", file=path, remedy=f"--target {tasks.kind}"
            )
        return tasks
    from tophub_registry.frontends import read_model
    from tophub_registry.tasks.rules import rules_for

    rules_for(kind)  # a wrong kind is told before the model is read, which takes seconds
    return read_model(model, weightless=True).tasks(kind, own=own)


def tasks_of_all(models: Sequence[str], kind: str, *, own: bool = False) -> list[Task]:
    """Return the tasks of several models, each workload once with the layers of all."""
    tasks: dict[str, Task] = {}
    for model in models:
        if own and _is_task_file(Path(model)):
            raise UsageError("a file of tasks is tuned as it is", remedy="`tophub extract --own-templates` adds tasks")
        for task in tasks_of(model, kind, own=own).tasks:
            layers = [f"{model}: {layer}" for layer in task.layers] if len(models) > 1 else task.layers
            here = task.model_copy(update={"layers": layers})
            if (before := tasks.get(task.workload)) is not None:
                update = {"count": before.count + task.count, "layers": [*before.layers, *layers]}
                here = before.model_copy(update=update)
            tasks[task.workload] = here
    return list(tasks.values())


def _is_task_file(path: Path) -> bool:
    """Whether MODEL is a file that holds tasks; models are JSON files of other forms."""
    if path.suffix != ".json" or is_relax_module(path):
        return False
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError("no such file", file=path) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"not a JSON file: {error}", file=path) from error
    return isinstance(content, dict) and "nodes" not in content
