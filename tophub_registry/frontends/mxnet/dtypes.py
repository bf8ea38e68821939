"""Rejects symbols whose layers compute in another type than float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tophub_registry.errors import UsageError
from tophub_registry.frontends.mxnet.libraries import quiet
from tophub_registry.frontends.mxnet.shapes import by_node, internals_of

_LAYERS = {"Convolution", "Deconvolution", "FullyConnected", "batch_dot", "dot"}


def check_dtypes(graph: Mapping[str, Any], *, file: str | None) -> None:
    """Check that all layers that multiply and add do so in float32.

    Parameters
    ----------
    graph
        The symbol as JSON.
    file
        The symbol file to name in errors.

    Raises
    ------
    UsageError
        A layer computes in float16, say, because its weights are declared so or its input is cast.
    """
    internals = internals_of(graph)
    with quiet():
        try:
            _, inferred, _ = internals.infer_type_partial()
        except Exception:  # noqa: BLE001  # MXNet raises several kinds; it says what is wrong when it infers shapes
            return
    dtypes = by_node(graph, internals, inferred)
    for place, node in enumerate(graph["nodes"]):
        if node["op"] not in _LAYERS:
            continue
        taken = [dtype for number, output, *_ in node["inputs"] for dtype in dtypes[number][output : output + 1]]
        others = {np.dtype(dtype) for dtype in (*taken, *dtypes[place]) if dtype is not None} - {np.dtype("float32")}
        if others:
            raise UsageError(
                f"the layer {node['name']!r} computes in {others.pop()}, and only float32 is supported",
                file=file,
                remedy="export the network in float32; --precision float16 computes that on a GPU's tensor cores",
            )
