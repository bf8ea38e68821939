"""A registry of TVM tuning logs: create them on today's TVM, validate, merge and release them.

>>> import tophub_registry as tophub

Importing it is cheap: each function imports what it needs. The names in `__all__` are public, with the compatibility
promise in `api`; everything else is private. Without their extras, three of them are left out of `__all__`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tophub_registry._version import __version__
from tophub_registry.extras import is_installed as _is_installed

if TYPE_CHECKING:
    from tophub_registry.api import (
        apply_records,
        compile,  # noqa: A004  # it is called `tophub.compile`
        extract,
        fetch,
        lookup,
        merge,
        pipeline,
        read_model,
        tune,
        validate,
    )
    from tophub_registry.compiler.compiled import CompiledLayer, CompiledModel
    from tophub_registry.errors import EnvironmentFailure, InputError, MissingExtra, TophubError, UsageError
    from tophub_registry.frontends.model import Model
    from tophub_registry.packages.fetch import Fetch, Fetched
    from tophub_registry.packages.index import Notice
    from tophub_registry.records.finding import Finding
    from tophub_registry.records.lookup import Answer, Match
    from tophub_registry.records.merge import MergeReport
    from tophub_registry.records.record import Record
    from tophub_registry.records.task import Task, TaskFile
    from tophub_registry.records.validate import Validation
    from tophub_registry.tuner.tune import TaskOutcome

__all__ = [
    "Answer",
    "CompiledLayer",
    "CompiledModel",
    "EnvironmentFailure",
    "Fetch",
    "Fetched",
    "Finding",
    "InputError",
    "Match",
    "MergeReport",
    "MissingExtra",
    "Model",
    "Notice",
    "Record",
    "Task",
    "TaskFile",
    "TaskOutcome",
    "TophubError",
    "UsageError",
    "Validation",
    "__version__",
    "apply_records",
    "compile",
    "extract",
    "fetch",
    "lookup",
    "merge",
    "pipeline",
    "read_model",
    "tune",
    "validate",
]

_HOMES = {
    "Answer": "records.lookup",
    "CompiledLayer": "compiler.compiled",
    "CompiledModel": "compiler.compiled",
    "Fetch": "packages.fetch",
    "Fetched": "packages.fetch",
    "Finding": "records.finding",
    "Match": "records.lookup",
    "MergeReport": "records.merge",
    "Model": "frontends.model",
    "Notice": "packages.index",
    "Record": "records.record",
    "Task": "records.task",
    "TaskFile": "records.task",
    "TaskOutcome": "tuner.tune",
    "Validation": "records.validate",
}
"""The modules of the public types; errors and functions have a module each."""


_NEEDS = {"CompiledLayer": "compile", "CompiledModel": "compile", "TaskOutcome": "tune"}
"""The types whose modules need an extra."""

_PUBLIC = frozenset(__all__)

if not TYPE_CHECKING:  # a star import takes what is installed; by name, what is not says which extra it needs
    __all__ = [name for name in __all__ if name not in _NEEDS or _is_installed(_NEEDS[name])]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "errors" if name[0].isupper() else "api")
    return getattr(importlib.import_module(f"tophub_registry.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
