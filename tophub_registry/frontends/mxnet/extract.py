"""Gluoncv models and MXNet symbols, and the tuning tasks in them. Needs the extra [models]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tophub_registry.records.task import TaskFile


def extract_tasks(
    model: str | Path,
    kind: str,
    *,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    own: bool = False,
) -> TaskFile:
    """Return the tuning tasks of a gluoncv model or an MXNet symbol file.

    Parameters
    ----------
    model
        A name that `gluoncv.model_zoo.get_model` knows, or the path of a symbol file, which ends in `.json`.
    kind
        The kind of target, `llvm` or `cuda`, which decides what templates a layer has.
    batch
        The batch size of the model's usual input.
    shapes
        The inputs' shapes by name, batch included, instead of the usual input.
    own
        Whether to list the tasks of templates that AutoTVM does not have too.

    Raises
    ------
    UsageError
        There is no such model or kind, gluoncv can't build the model, or the shapes do not fit it.
    InputError
        The symbol file is missing or is none.
    MissingExtra
        MXNet or gluoncv is not installed.
    """
    from tophub_registry.frontends.mxnet.network import read_network
    from tophub_registry.tasks.rules import rules_for

    rules_for(kind)  # a wrong kind is told before MXNet is imported, which takes seconds
    return read_network(model, batch=batch, shapes=shapes).tasks(kind, own=own)
