"""The argument MODEL of `tune` and `gain`: a model, or a file of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import interrupts
from tophub_registry.errors import InputError, UsageError
from tophub_registry.files import read_json
from tophub_registry.frontends import KINDS, is_relax_module
from tophub_registry.records.task import Task, TaskFile
from tophub_registry.tasks.rules import FLOAT32, is_own

HELP = f"{KINDS}; or the tasks.json that `tophub extract` wrote."

AutotvmOnly = Annotated[
    bool,
    typer.Option("--autotvm-only", help="Leave out templates that AutoTVM does not have (for users of an old TVM)."),
]

OwnTemplates = Annotated[bool, typer.Option("--own-templates", hidden=True)]
"""Now the default; still accepted for scripts."""


def tasks_of(
    model: str,
    kind: str,
    shapes: Mapping[str, Sequence[int]] | None = None,
    precision: str = FLOAT32,
    *,
    own: bool = True,
) -> TaskFile:
    """Return MODEL's tasks for a kind of target.

    Parameters
    ----------
    shapes
        Shapes of the model's inputs, by name.
    precision
        See `tasks.rules.workloads`; a task file has its own.
    own
        Whether to include the tasks of templates that AutoTVM does not have; a task file's are as they are.
    """
    path = Path(model)
    if is_task_file(path):
        if shapes:
            raise UsageError("a task file already has its shapes", file=path, remedy="give --shape to `tophub extract`")
        if precision != FLOAT32:
            raise UsageError(
                "a task file already has its precision", file=path, remedy="give --precision to `tophub extract`"
            )
        tasks = TaskFile.read(path)
        if tasks.kind != kind:
            raise InputError(
                f"these tasks are for {tasks.kind}, not for {kind}", file=path, remedy=f"--target {tasks.kind}"
            )
        return tasks
    from tophub_registry.frontends import read_model
    from tophub_registry.tasks.rules import rules_for

    rules_for(kind)  # report a wrong kind before reading the model, which takes seconds
    with interrupts.at_once():  # TVM is running, and there is nothing to undo
        return read_model(model, shapes=shapes, weightless=True).tasks(kind, own=own, precision=precision)


def files_of_all(
    models: Sequence[str],
    kind: str,
    shapes: Mapping[str, Sequence[int]] | None = None,
    precision: str = FLOAT32,
    *,
    own: bool = True,
) -> list[TaskFile]:
    """Return the tasks of several models, each model's by themselves.

    Parameters
    ----------
    shapes
        Shapes of the inputs, by name; only with a single model.
    precision, own
        See `tasks_of`.
    """
    if shapes and len(models) > 1:
        raise UsageError(
            "--shape works with one model only", remedy="run `tophub extract` for each, and tune the task files"
        )
    return [tasks_of(model, kind, shapes, precision, own=own) for model in models]


def merged(models: Sequence[str], files: Sequence[TaskFile]) -> list[Task]:
    """Return the tasks of several models, each workload once: AutoTVM's tasks first, then our own.

    Parameters
    ----------
    models
        The models as they were given, by which layers are told apart.
    files
        The tasks of each.
    """
    tasks: dict[str, Task] = {}
    for model, file in zip(models, files, strict=True):
        for task in file.tasks:
            layers = [f"{model}: {layer}" for layer in task.layers] if len(models) > 1 else task.layers
            here = task.model_copy(update={"layers": layers})
            if (before := tasks.get(task.workload)) is not None:
                update = {"count": before.count + task.count, "layers": [*before.layers, *layers]}
                here = before.model_copy(update=update)
            tasks[task.workload] = here
    return sorted(tasks.values(), key=lambda task: is_own(task.task))


def is_task_file(path: Path) -> bool:
    """Return whether MODEL is a task file, and not a model in JSON."""
    if path.suffix != ".json" or is_relax_module(path):
        return False
    content = read_json(path)
    return isinstance(content, dict) and "nodes" not in content
