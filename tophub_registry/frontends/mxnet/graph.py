"""A symbol's operators with their output shapes, and the values that are known before the network runs.

It contains only what the outputs depend on: an operator that only uses an input's shape does not keep that input.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from tophub_registry.errors import UsageError
from tophub_registry.frontends.mxnet.attributes import Attributes
from tophub_registry.frontends.mxnet.dtypes import check_dtypes
from tophub_registry.frontends.mxnet.labels import LOSSES
from tophub_registry.frontends.mxnet.shapes import infer_shapes
from tophub_registry.frontends.mxnet.types import infer_types
from tophub_registry.tasks.layers import Shape

_WITH_VALUE = {
    **dict.fromkeys(("_contrib_MultiBoxPrior", "_contrib_arange_like", "shape_array", "size_array"), 0),
    **dict.fromkeys(("ones_like", "zeros_like"), 0),
    **dict.fromkeys(("Crop", "broadcast_like", "reshape_like", "slice_like"), 1),
    **dict.fromkeys(LOSSES, 1),
}
"""How many of an operator's first inputs it reads the values of, if not all."""


class Entry(NamedTuple):
    """One output of a node."""

    node: int
    output: int


@dataclass(frozen=True)
class Node:
    """An operator in the network.

    Attributes
    ----------
    key
        Its number in the symbol file.
    inputs
        The entries whose values it needs.
    shapes
        The shapes of the outputs that are used.
    types
        Their dtypes.
    operands
        The shapes of all inputs in the symbol, those included whose values it does not need.
    """

    key: int
    name: str
    operator: str
    attributes: Attributes
    inputs: tuple[Entry, ...]
    shapes: Mapping[int, Shape]
    types: Mapping[int, str]
    operands: tuple[Shape, ...]


@dataclass(frozen=True)
class Variable:
    """A weight that a node uses.

    Attributes
    ----------
    user
        The name of the first node that uses it.
    attributes
        Its attributes in the symbol, which identify gluon's constants.
    """

    entry: Entry
    name: str
    shape: Shape
    user: str
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class Graph:
    """The operators in order of execution.

    Attributes
    ----------
    inputs
        The variables that the user provides, by name.
    values
        The weights, and values computed from them.
    """

    nodes: tuple[Node, ...]
    inputs: Mapping[str, Entry]
    outputs: tuple[Entry, ...]
    variables: tuple[Variable, ...]
    values: Mapping[Entry, np.ndarray[Any, Any]] = field(default_factory=dict)

    def uses(self) -> Counter[Entry]:
        """Return how often each entry is used, by nodes or as an output."""
        return Counter([*self.outputs, *(entry for node in self.nodes for entry in node.inputs)])

    def pruned(self) -> Graph:
        """Return the graph without nodes that no output depends on."""
        used = {entry.node for entry in self.outputs}
        kept = []
        for node in reversed(self.nodes):
            if node.key in used:
                used.update(entry.node for entry in node.inputs)
                kept.append(node)
        return replace(self, nodes=tuple(reversed(kept)))


def read_graph(symbol: Any, inputs: Mapping[str, Shape], *, file: str | None) -> Graph:
    """Read a symbol, and infer its shapes from the input shapes.

    Raises
    ------
    UsageError
        The shapes don't fit the network, or name inputs that it doesn't have, or layers do not compute in float32.
    """
    graph = json.loads(symbol.tojson())
    nodes = graph["nodes"]
    shape_of = infer_shapes(graph, inputs, file=file)
    check_dtypes(graph, file=file)
    type_of = infer_types(graph, inputs)
    outputs = tuple(Entry(*head[:2]) for head in graph["heads"])
    used: dict[int, set[int]] = {}
    first_user: dict[int, str] = {}
    for entry in outputs:
        used.setdefault(entry.node, set()).add(entry.output)
    found: list[Node] = []
    for key in reversed(range(len(nodes))):
        if key not in used or nodes[key]["op"] == "null":
            continue
        taken = tuple(_taken(nodes[key]))
        for entry in taken:
            used.setdefault(entry.node, set()).add(entry.output)
            first_user[entry.node] = nodes[key]["name"]
        shapes = {output: shape_of((key, output)) for output in sorted(used[key])}
        if nodes[key]["op"] == "Reshape":
            _check_reshape(nodes[key]["name"], shape_of(taken[0]), shapes[0], file)
        found.append(
            Node(
                key,
                nodes[key]["name"],
                nodes[key]["op"],
                Attributes(nodes[key].get("attrs", {})),
                taken,
                shapes,
                {output: type_of((key, output)) for output in shapes},
                tuple(map(shape_of, nodes[key]["inputs"])),
            )
        )
    variables = [key for key in sorted(used) if nodes[key]["op"] == "null"]
    return Graph(
        nodes=tuple(reversed(found)),
        inputs={nodes[key]["name"]: Entry(key, 0) for key in variables if nodes[key]["name"] in inputs},
        outputs=outputs,
        variables=tuple(
            Variable(
                Entry(key, 0),
                nodes[key]["name"],
                shape_of((key, 0)),
                first_user.get(key, "the output"),
                nodes[key].get("attrs", {}),
            )
            for key in variables
            if nodes[key]["name"] not in inputs
        ),
    )


def _check_reshape(name: str, before: Shape, after: Shape, file: str | None) -> None:
    """Raise UsageError if the sizes of a reshape differ, which MXNet does not notice if the layer names all of them."""
    if prod(before) != prod(after):
        raise UsageError(
            f"the layer {name!r} can't reshape {before} to {after}", file=file, remedy="use other input shapes"
        )


def _taken(node: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield the inputs of a node whose values it needs."""
    entries: Sequence[Sequence[int]] = node["inputs"][: _WITH_VALUE.get(node["op"])]
    return (Entry(*entry[:2]) for entry in entries)
