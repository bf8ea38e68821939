"""Avoids the copies of boxes that a detector makes for each class before it suppresses most of them.

Gluoncv's SSD splits ids and scores `[batch, number, classes]` into columns, joins each with the same boxes
`[batch, number, 4]`, and concatenates all classes: 3 MB, of which 400 rows matter. An operator of our own replaces all
of this and takes ids, scores and boxes as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tophub_registry.frontends.mxnet.graph import Entry, Graph, Node
from tophub_registry.tasks.layers import Shape

CLASS_BOX_NMS = "tophub_class_box_nms"

_RANK = 3
_PARTS = 3  # ids, scores, boxes
_COORDINATES = 4
_COLUMNS = {"id_index": (0, -1), "score_index": (1, 1), "coord_start": (2, 2)}
"""The required positions of the parts in a row, and the suppression's defaults."""


def gather_class_boxes(graph: Graph) -> Graph:
    """Return the graph with each suppression of boxes per class replaced by one operator."""
    nodes = {Entry(node.key, 0): node for node in graph.nodes}
    gathered = [_gathered(node, nodes) or node for node in graph.nodes]
    return replace(graph, nodes=tuple(gathered)).pruned()


def _gathered(node: Node, nodes: Mapping[Entry, Node]) -> Node | None:
    """Return the replacement for a suppression and the operators before it; None if its boxes are not of this form."""
    number = node.attributes.number
    if (
        node.operator != "_contrib_box_nms"
        or any(number(name, default) != wanted for name, (wanted, default) in _COLUMNS.items())
        or number("topk", -1) < 1
    ):
        return None
    rows = [_concatenated(entry, nodes, axis=2) for entry in _concatenated(node.inputs[0], nodes, axis=1)]
    if not rows or any(len(parts) != _PARTS for parts in rows):
        return None
    ids, scores = (_columns([parts[column] for parts in rows], nodes) for column in range(2))
    boxes = {parts[2] for parts in rows}
    if ids is None or scores is None or len(boxes) != 1:
        return None
    (box,) = boxes
    # With fewer boxes than are kept, there is nothing to gain.
    if box not in nodes or nodes[box].shapes[0][2] != _COORDINATES or number("topk", -1) > node.shapes[0][1]:
        return None
    return replace(node, operator=CLASS_BOX_NMS, inputs=(ids, scores, box))


def _concatenated(entry: Entry, nodes: Mapping[Entry, Node], *, axis: int) -> Sequence[Entry]:
    """Return the inputs of a concatenation of three-dimensional tensors along this axis."""
    node = nodes.get(entry)
    if node is None or node.operator != "Concat" or len(node.shapes[0]) != _RANK:
        return ()
    return node.inputs if node.attributes.number("dim", 1) % _RANK == axis else ()


def _columns(entries: Sequence[Entry], nodes: Mapping[Entry, Node]) -> Entry | None:
    """Return the tensor whose columns the entries are, if they are all of them in order."""
    sources = set()
    for index, entry in enumerate(entries):
        node = nodes.get(entry)
        if node is None or node.operator != "slice_axis" or node.attributes.number("axis", 0) % _RANK != _RANK - 1:
            return None
        bounds = tuple(node.attributes.text.get(name) for name in ("begin", "end"))
        if bounds != (str(index), str(index + 1)):
            return None
        sources.add(node.inputs[0])
    if len(sources) != 1:
        return None
    (source,) = sources
    shape: Shape = nodes[source].shapes[0] if source in nodes else ()
    return source if shape[-1:] == (len(entries),) else None
