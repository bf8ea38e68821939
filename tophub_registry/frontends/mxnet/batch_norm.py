"""Batch norm at inference, `gamma (x - mean) / sqrt(var + eps) + beta`: a factor and a summand for each channel.

After a convolution, a transposed one or a dense layer whose result nothing else takes, both go into that layer's
weight and bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tophub_registry.frontends.mxnet.graph import Entry, Graph, Node
from tophub_registry.frontends.mxnet.operators import Attributes

Array = np.ndarray[Any, Any]

_INPUTS = 5  # data, gamma, beta, mean, variance


class Affine(NamedTuple):
    """`factor x + summand`, each with one number a channel, in float64."""

    factor: Array
    summand: Array


def affine(attributes: Attributes, gamma: Array, beta: Array, mean: Array, variance: Array) -> Affine:
    """Return a batch norm as a factor and a summand; `fix_gamma`, which is MXNet's default, makes gamma 1."""
    epsilon = float(attributes.text.get("eps", "1e-3"))
    scale = np.ones_like(gamma) if attributes.flag("fix_gamma", default=True) else gamma
    factor = scale.astype("float64") / np.sqrt(variance.astype("float64") + epsilon)
    return Affine(factor, beta.astype("float64") - mean.astype("float64") * factor)


def fold_batch_norms(graph: Graph) -> Graph:
    """Return the graph with each batch norm in the layer before it, where that can be."""
    uses = graph.uses()
    values = dict(graph.values)
    nodes = {Entry(node.key, 0): node for node in graph.nodes}
    instead: dict[Entry, Entry] = {}
    for norm in graph.nodes:
        if norm.operator != "BatchNorm" or len(norm.inputs) != _INPUTS or set(norm.shapes) != {0}:
            continue
        data = instead.get(norm.inputs[0], norm.inputs[0])
        layer = nodes.get(data)
        if layer is None or uses[data] != 1 or not _takes(layer, norm, values):
            continue
        terms = affine(norm.attributes, *(values[entry] for entry in norm.inputs[1:]))
        weight, bias = Entry(norm.key, 1), Entry(norm.key, 2)
        values[weight], values[bias] = _folded(layer, terms, values)
        attributes = Attributes({**layer.attributes.text, "no_bias": "False"})
        nodes[data] = replace(layer, attributes=attributes, inputs=(layer.inputs[0], weight, bias))
        result = Entry(norm.key, 0)
        del nodes[result]
        instead[result] = data
        uses[data] = uses[result]
    return replace(
        graph,
        nodes=tuple(
            replace(node, inputs=tuple(instead.get(entry, entry) for entry in node.inputs)) for node in nodes.values()
        ),
        outputs=tuple(instead.get(entry, entry) for entry in graph.outputs),
        values=values,
    )


def _takes(layer: Node, norm: Node, values: Mapping[Entry, Array]) -> bool:
    """Whether a layer can take up a batch norm over its output's channels."""
    known = all(entry in values for entry in (*layer.inputs[1:], *norm.inputs[1:]))
    axis = norm.attributes.number("axis", 1) % len(norm.shapes[0])
    if layer.operator == "FullyConnected":
        return known and axis == len(norm.shapes[0]) - 1
    return known and layer.operator in {"Convolution", "Deconvolution"} and axis == 1


def _folded(layer: Node, terms: Affine, values: Mapping[Entry, Array]) -> tuple[Array, Array]:
    """Return a layer's weight and bias with a batch norm in them."""
    weight = values[layer.inputs[1]]
    bias = values[layer.inputs[2]].astype("float64") if len(layer.inputs) > 2 else np.float64(0)  # noqa: PLR2004
    factor = terms.factor.astype("float32")
    if layer.operator == "Deconvolution":
        groups = layer.attributes.number("num_group", 1)
        # The weight is [in, out / groups, ...], and the groups lie one after the other in both.
        parts = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        shape = (groups, 1, weight.shape[1], *_ones(weight.shape[2:]))
        scaled = (parts * factor.reshape(shape)).reshape(weight.shape)
    else:
        scaled = weight * factor.reshape(-1, *_ones(weight.shape[1:]))
    return scaled, (bias * terms.factor + terms.summand).astype("float32")


def _ones(shape: Sequence[int]) -> tuple[int, ...]:
    return (1,) * len(shape)
