"""Worker processes that do not import the user's script again.

A spawned process imports the script that started it, so that functions defined there can be called in the worker. Ours
call none, and a script without `if __name__ == "__main__":` would run again in each of them.
"""

from __future__ import annotations

import multiprocessing.context
import sys
import types
from typing import Any


class _Process(multiprocessing.context.SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  # the name is multiprocessing's
        script = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")  # what a new process would import
        try:
            return multiprocessing.context.SpawnProcess._Popen(process_obj)  # noqa: SLF001
        finally:
            sys.modules["__main__"] = script


class WorkerContext(multiprocessing.context.SpawnContext):
    """A context of `multiprocessing` that spawns such processes."""

    Process = _Process
