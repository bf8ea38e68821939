"""Makes MXNet and gluoncv, both unmaintained, work with today's Python, NumPy and PyTorch.

It imports them, keeps them from printing, and cleans up their error messages.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

from tophub_registry.errors import MissingExtra
from tophub_registry.frontends.without_torch import hide_torch

# Names that NumPy dropped in 1.24 and that mxnet 1.9.1 and gluoncv 0.10 use, at import and later.
_ALIASES = {"bool": bool, "int": int, "float": float, "object": object, "str": str}


def mxnet() -> Any:
    """Import MXNet.

    Raises
    ------
    MissingExtra
        MXNet or one of its dependencies is not installed.
    """
    try:
        _restore_aliases()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mxnet

            # Otherwise it prints a line for each constant of a model, twenty for a detector's anchors.
            os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
            return mxnet
    except ImportError as error:
        raise MissingExtra("mxnet", error) from error


def gluoncv() -> Any:
    """Import gluoncv.

    Raises
    ------
    MissingExtra
        gluoncv or one of its dependencies is not installed.
    """
    mxnet()
    restore = hide_torch()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import gluoncv

            return gluoncv
    except ImportError as error:
        raise MissingExtra("mxnet", error) from error
    finally:
        restore()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MXNet and gluoncv from printing: our output may be read by a program."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        yield


def reason_of(error: Exception) -> str:
    """Return an MXNet error's message, without stack traces and source locations."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line.startswith(("MXNetError:", "JSONReader:"))] or [*filter(None, lines), ""]
    text = re.sub(r"\[\d\d:\d\d:\d\d\] \S+:\d+: |^\w+: ", "", said[0])
    return text[:300] or type(error).__name__


def _restore_aliases() -> None:
    import numpy as np

    for name, kind in _ALIASES.items():
        if name not in vars(np):
            setattr(np, name, kind)
