"""Computes what depends only on weights at import, with MXNet itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from tophub_registry.frontends.mxnet import libraries
from tophub_registry.frontends.mxnet.cropping import crop_of
from tophub_registry.frontends.mxnet.graph import Entry, Graph, Node
from tophub_registry.tasks.layers import Shape

Array = np.ndarray[Any, Any]

_VERSION = 10901  # of MXNet, and so of the symbols that it writes
# Operators that only use the shape of an unknown input.
_BY_SHAPE: Mapping[str, Callable[[Node, list[Array], Shape], Array]] = {
    # A shape may leave sizes open, such as the batch in a recurrent layer's first state.
    **dict.fromkeys(("_zeros", "_zeros_without_dtype", "zeros_like"), lambda _, __, shape: np.zeros(shape)),
    **dict.fromkeys(("_ones", "ones_like"), lambda _, __, shape: np.ones(shape)),
    "Crop": lambda node, inputs, shape: inputs[0][crop_of(node, shape)],
    "broadcast_like": lambda _, inputs, shape: np.broadcast_to(inputs[0], shape),
    "reshape_like": lambda _, inputs, shape: inputs[0].reshape(shape),
    "shape_array": lambda node, _, __: np.array(node.operands[0]),
    "size_array": lambda node, _, __: np.array([prod(node.operands[0])]),
    "slice_like": lambda _, inputs, shape: inputs[0][tuple(map(slice, shape))],
}
_ON_ZEROS = frozenset({"_contrib_MultiBoxPrior", "_contrib_arange_like"})
"""Such operators that MXNet itself evaluates."""


def fold_constants(graph: Graph) -> Graph:
    """Return the graph with nodes whose inputs are all known replaced by their values."""
    values = dict(graph.values)
    left = []
    for node in graph.nodes:
        if all(entry in values for entry in node.inputs):
            for output, array in _evaluate(node, [values[entry] for entry in node.inputs]).items():
                # NumPy makes an array of one axis of a number.
                whole = np.ascontiguousarray(array, node.types[output]).reshape(node.shapes[output])
                values[Entry(node.key, output)] = whole
        else:
            left.append(node)
    return replace(graph, nodes=tuple(left), values=values)


def _evaluate(node: Node, inputs: list[Array]) -> dict[int, Array]:
    """Return the outputs of a node that are used."""
    if node.operator in _BY_SHAPE:
        return {output: _BY_SHAPE[node.operator](node, inputs, shape) for output, shape in node.shapes.items()}
    mx = libraries.mxnet()
    if node.operator in _ON_ZEROS:
        inputs = [np.zeros(shape, "float32") for shape in node.operands]
    names = [f"input{i}" for i in range(len(inputs))]
    variables = [{"op": "null", "name": name, "inputs": []} for name in names]
    operator = {
        "op": node.operator,
        "name": "node",
        "attrs": dict(node.attributes.text),
        "inputs": [[i, 0, 0] for i in range(len(inputs))],
    }
    heads = [[len(inputs), output, 0] for output in node.shapes]
    symbol = mx.sym.load_json(
        json.dumps(
            {
                "nodes": [*variables, operator],
                "arg_nodes": [*range(len(inputs))],
                "heads": heads,
                "attrs": {"mxnet_version": ["int", _VERSION]},
            }
        )
    )
    arrays = [mx.nd.array(array, dtype=array.dtype) for array in inputs]
    results = symbol.eval(mx.cpu(), **dict(zip(names, arrays, strict=True)))
    return {output: result.asnumpy() for output, result in zip(node.shapes, results, strict=True)}
