"""Infers the shapes of all values in a symbol's graph from the input shapes, with MXNet."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tophub_registry.errors import InputError, UsageError
from tophub_registry.frontends.mxnet import libraries
from tophub_registry.frontends.mxnet.libraries import quiet, reason_of
from tophub_registry.tasks.layers import Shape

T = TypeVar("T")


def infer_shapes(
    graph: Mapping[str, Any], inputs: Mapping[str, Shape], *, file: str | None
) -> Callable[[Sequence[int]], Shape]:
    """Return a function that maps an entry of a symbol's graph, `[node, output, version]`, to its shape.

    Parameters
    ----------
    graph
        The symbol as JSON.
    inputs
        The shapes of its inputs, by name.
    file
        The symbol file to name in errors.

    Raises
    ------
    UsageError
        The network has no input of that name, or the shapes don't fit it or don't determine the others.
    """
    nodes = graph["nodes"]
    _check_inputs(nodes, inputs, file=file)
    internals = internals_of(graph)
    spelled = " ".join(f"{name}={_spell(shape)}" for name, shape in inputs.items())
    with quiet():
        try:
            _, shapes, _ = internals.infer_shape(**inputs)
        except Exception as error:  # MXNet raises several kinds, this one among them
            reason = re.sub(r"#(\d+)", lambda match: str(nodes[int(match[1])]["name"]), reason_of(error))
            raise UsageError(
                f"{spelled} does not fit the network: {reason}", file=file, remedy="use other shapes"
            ) from error
    if shapes is None:
        unknown = ", ".join(_unknown(nodes, internals, inputs)[:5])
        raise UsageError(
            f"{spelled} does not determine all shapes",
            file=file,
            remedy=f"give shapes for more of the inputs {unknown}",
        )
    outputs = by_node(graph, internals, shapes)

    def shape_of(entry: Sequence[int]) -> Shape:
        node, output = entry[:2]
        try:
            return tuple(outputs[node][output])
        except IndexError:
            raise InputError(f"the node {nodes[node]['name']!r} has no output {output}", file=file) from None

    return shape_of


def internals_of(graph: Mapping[str, Any]) -> Any:
    """Return a symbol of all values in a graph.

    MXNet reports inner shapes by name only, and a block that is called twice gives two nodes the same name; so nodes
    are named after their numbers.
    """
    nodes = graph["nodes"]
    renamed = [node if node["op"] == "null" else {**node, "name": f"#{i}"} for i, node in enumerate(nodes)]
    return libraries.mxnet().sym.load_json(json.dumps({**graph, "nodes": renamed})).get_internals()


def by_node(graph: Mapping[str, Any], internals: Any, values: Sequence[T]) -> Mapping[int, Sequence[T]]:
    """Return what MXNet inferred for each output of `internals_of`, by the numbers of nodes and outputs."""
    number = {node["name"]: i for i, node in enumerate(graph["nodes"]) if node["op"] == "null"}
    found: dict[int, list[T]] = {}
    for name, value in zip(internals.list_outputs(), values, strict=True):
        match = re.match(r"#(\d+)_", name)
        found.setdefault(int(match[1]) if match else number[name], []).append(value)
    return found


def _check_inputs(nodes: Sequence[Mapping[str, Any]], inputs: Mapping[str, Shape], *, file: str | None) -> None:
    """Raise a UsageError if the network has no input of that name or two variables of one, or a shape is invalid."""
    variables = Counter(node["name"] for node in nodes if node["op"] == "null")
    for name, count in variables.items():
        if count > 1:
            raise UsageError(
                f"{count} variables are named {name!r}",
                file=file,
                remedy="create each variable once, and use it wherever it is needed",
            )
    names = variables.keys()
    for name, shape in inputs.items():
        if name not in names:
            free = ", ".join(_free_inputs(nodes)[:5])
            raise UsageError(f"the network has no input {name!r}", file=file, remedy=f"its inputs: {free}")
        if not shape or min(shape) < 1:
            raise UsageError(f"the input {name!r} can't have the shape {_spell(shape)}", file=file)


def _unknown(nodes: Sequence[Mapping[str, Any]], internals: Any, inputs: Mapping[str, Shape]) -> list[str]:
    """Return the variables whose shapes don't follow from the inputs: inputs, or else weights."""
    with quiet():
        shapes, _, _ = internals.infer_shape_partial(**inputs)
    known = dict(zip(internals.list_arguments(), shapes or (), strict=False))
    unknown = [name for name, shape in known.items() if name not in inputs and (not shape or 0 in shape)]
    free = _free_inputs(nodes)
    return [name for name in unknown if name in free] or unknown


def _free_inputs(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the variables that are an operator's first argument, which weights never are."""
    first = {node["inputs"][0][0] for node in nodes if node["inputs"]}
    return [node["name"] for i, node in enumerate(nodes) if node["op"] == "null" and i in first]


def _spell(shape: Shape) -> str:
    return ",".join(map(str, shape))
