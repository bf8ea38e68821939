"""The nodes of an ONNX model, while a network is converted to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tophub_registry.bench.network import Array, Network


class Nodes:
    """Nodes and initializers, in order; the shapes of the network's inputs, weights and results by name."""

    def __init__(self, network: Network) -> None:
        self.weights = dict(network.weights)
        self.shapes = {
            **network.inputs,
            **{name: array.shape for name, array in network.weights.items()},
            **{operation.output: operation.shape for operation in network.operations},
        }
        self.nodes: list[Any] = []

    def add(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node; return its output's name, which is generated unless given."""
        from onnx import helper

        output = output or f"{kind}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [*inputs], [output], **attributes))
        return output

    def constant(self, value: Array | Sequence[float] | float, dtype: str) -> str:
        """Add an initializer; return its name."""
        name = f"constant.{len(self.weights)}"
        self.weights[name] = np.asarray(value, dtype)
        return name


def code_of(dtype: str) -> int:
    """Return ONNX's number of a dtype."""
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
