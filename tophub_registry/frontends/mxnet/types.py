"""Infers the dtypes of all values in a symbol's graph, with MXNet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tophub_registry.frontends.mxnet.libraries import quiet
from tophub_registry.frontends.mxnet.shapes import by_node, internals_of
from tophub_registry.tasks.layers import Shape

FLOAT32 = "float32"
"""The dtype of inputs and weights."""


def infer_types(graph: Mapping[str, Any], inputs: Mapping[str, Shape]) -> Callable[[Sequence[int]], str]:
    """Return a function that maps an entry of a symbol's graph, `[node, output, version]`, to its dtype.

    Parameters
    ----------
    graph
        The symbol as JSON.
    inputs
        The shapes of its inputs, by name; they are float32.
    """
    internals = internals_of(graph)
    with quiet():
        try:
            _, types, _ = internals.infer_type_partial(**dict.fromkeys(inputs, np.float32))
        except Exception:  # noqa: BLE001  # MXNet raises several kinds where it can't tell
            types = None
    outputs = by_node(graph, internals, types) if types else {}

    def type_of(entry: Sequence[int]) -> str:
        node, output = entry[:2]
        found = outputs[node][output] if node in outputs else None
        return FLOAT32 if found is None else np.dtype(found).name

    return type_of
