"""MXNet and gluoncv, both no longer maintained, on today's Python, NumPy and beside today's PyTorch.

How they are imported, kept from printing, and what their errors say.
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
        MXNet, or something that it needs, is not installed.
    """
    try:
        _restore_aliases()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mxnet

            # Otherwise it says one line for each constant of a model, twenty for a detector's anchors.
            os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
            return mxnet
    except ImportError as error:
        raise MissingExtra("mxnet", error) from error


def gluoncv() -> Any:
    """Import gluoncv.

    Raises
    ------
    MissingExtra
        gluoncv, or something that it needs, is not installed.
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
    """Return what an error of MXNet says, without stack traces and places in its source."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line.startswith(("MXNetError:", "JSONReader:"))] or [*filter(None, lines), ""]
    text = re.sub(r"\[\d\d:\d\d:\d\d\] \S+:\d+: |^\w+: ", "", said[0])
    return text[:300] or type(error).__name__


def _restore_aliases() -> None:
    import numpy as np

    for name, kind in _ALIASES.items():
        if name not in vars(np):
            setattr(np, name, kind)
