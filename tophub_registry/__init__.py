"""A registry of TVM tuning logs: create them on today's TVM, validate, merge and release them.

>>> import tophub_registry as tophub

Importing it is cheap: each function imports what it needs. The names in `__all__` are public, with the compatibility
promise in `api`; everything else is private.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tophub_registry._version import __version__

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
    from tophub_registry.errors import EnvironmentFailure, InputError, MissingExtra, TophubError, UsageError

__all__ = [
    "EnvironmentFailure",
    "InputError",
    "MissingExtra",
    "TophubError",
    "UsageError",
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "errors" if name[0].isupper() else "api"
    return getattr(importlib.import_module(f"tophub_registry.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
