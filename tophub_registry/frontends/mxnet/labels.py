"""Leaves out of a symbol what computes labels, which only training needs.

A loss returns the network's output and does not read its label. Where the label is a variable, MXNet infers its shape
from the output; where it is computed, as by a reshape, the label's own shape would have to be given.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from typing import Any

from tophub_registry.frontends.mxnet import libraries

LOSSES = ("LinearRegressionOutput", "LogisticRegressionOutput", "MAERegressionOutput", "SVMOutput", "SoftmaxOutput")
"""The operators whose second input is a label."""

_LABEL = 1


def without_labels(symbol: Any, inputs: Container[str]) -> Any:
    """Return a symbol with variables instead of computed labels, unless one of the inputs is needed for them."""
    graph = json.loads(symbol.tojson())
    nodes = graph["nodes"]
    names = {node["name"] for node in nodes}
    cut = False
    for loss in [node for node in nodes if node["op"] in LOSSES]:
        label = loss["inputs"][_LABEL][0]
        if nodes[label]["op"] == "null" or any(name in inputs for name in _variables(nodes, label)):
            continue
        name = f"{loss['name']}_label"
        while name in names:
            name += "_"
        names.add(name)
        loss["inputs"][_LABEL] = [len(nodes), 0, 0]
        graph["arg_nodes"].append(len(nodes))
        nodes.append({"op": "null", "name": name, "inputs": []})
        cut = True
    return libraries.mxnet().sym.load_json(json.dumps(graph)) if cut else symbol


def _variables(nodes: Sequence[Mapping[str, Any]], number: int) -> set[str]:
    """Return the names of the variables that a node depends on."""
    seen, left = {number}, [number]
    while left:
        new = {entry[0] for entry in nodes[left.pop()]["inputs"]} - seen
        seen |= new
        left += new
    return {nodes[each]["name"] for each in seen if nodes[each]["op"] == "null"}
