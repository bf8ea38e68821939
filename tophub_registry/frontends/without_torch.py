"""Keeps PyTorch out of a process: gluoncv refuses to load beside PyTorch 2, whose threads also disturb timings."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable


def hide_torch() -> Callable[[], None]:
    """Make `import torch` fail in this process, and return a function that undoes this.

    Modules that have already imported PyTorch keep it.
    """
    hidden = sys.modules.get("torch")
    if hidden is None and importlib.util.find_spec("torch") is None:  # not installed, or hidden already
        return lambda: None
    # SciPy, which gluoncv needs, looks for PyTorch in `sys.modules` at import, and fails on the None set below.
    if importlib.util.find_spec("scipy") is not None:
        importlib.import_module("scipy.stats")
    sys.modules["torch"] = None  # type: ignore[assignment]  # documented: it makes the import fail

    def restore() -> None:
        if hidden is None:
            sys.modules.pop("torch", None)
        else:
            sys.modules["torch"] = hidden

    return restore
