"""Which layers of a compiled model had no record of their own, for `packages.misses` to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tophub_registry.errors import TophubError
from tophub_registry.packages import misses
from tophub_registry.packages.root import Root
from tophub_registry.tasks.extract import tasks_of
from tophub_registry.templates.registry import TEMPLATES

if TYPE_CHECKING:
    from tophub_registry.compiler.compiled import CompiledModel
    from tophub_registry.records.task import Task


def missed_tasks(compiled: CompiledModel, precision: str) -> list[Task]:
    """Return the tasks to tune for the layers without a record of their own.

    A layer whose record was measured on other hardware has none of its own. One whose records lost against the default
    config in a model has.

    Parameters
    ----------
    precision
        What the model was compiled with: see `compile`.
    """
    layers = [each.layer for each in compiled.layers if not each.recorded and each.beaten is None]
    tasks = tasks_of(layers, compiled.target.kind, own=True, precision=precision)
    return [task for task in tasks if task.task in TEMPLATES]


def keep_misses(compiled: CompiledModel, precision: str, root: Root | None = None) -> TophubError | None:
    """Keep a compiled model's misses, if that is switched on.

    Returns
    -------
    error
        Why they could not be kept, which is no reason for compiling to fail; None if there is nothing to say.
    """
    root = root or Root.at()
    try:
        if misses.are_kept(root):
            misses.add(root, compiled.target, missed_tasks(compiled, precision))
    except TophubError as error:
        return error
    return None
