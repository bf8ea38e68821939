"""Makes MXNet's ROIAlign return zeros for the regions that it ignores, as it documents.

Those are the regions with a negative image number; gluoncv's feature pyramids ignore each region on all levels but one.
On a processor, MXNet 1.9 leaves their rows of the output as the memory happened to be, and overwrites a number of the
first region instead: that at the ignored region's index. So outputs differ even between two runs of one executor.
"""

from __future__ import annotations

import json
from typing import Any

from tophub_registry.frontends.mxnet import libraries

_ROI_ALIGN = "_contrib_ROIAlign"


def with_ignored_regions_zero(symbol: Any) -> Any:
    """Return a symbol that pools a box of zeros for each ignored region, and then selects zeros."""
    graph = json.loads(symbol.tojson())
    nodes = graph["nodes"]
    aligning = [node for node in nodes if node["op"] == _ROI_ALIGN]

    def add(owner: str, operator: str, *inputs: list[int], **attributes: str) -> list[int]:
        name = f"{owner}_{len(nodes)}"
        nodes.append({"op": operator, "name": name, "attrs": attributes, "inputs": [*inputs]})
        return [len(nodes) - 1, 0, 0]

    for node in aligning:
        name, (data, regions) = node["name"], node["inputs"]
        number = add(name, "slice_axis", regions, axis="1", begin="0", end="1")
        numbers = add(name, "Reshape", number, shape="(-1,)")
        kept = add(name, "_greater_equal_scalar", numbers, scalar="0")
        boxes = add(name, "where", kept, regions, add(name, "zeros_like", regions))
        pooled = add(name, _ROI_ALIGN, data, boxes, **node["attrs"])
        node.update(op="where", attrs={}, inputs=[kept, pooled, add(name, "zeros_like", pooled)])
    return libraries.mxnet().sym.load_json(json.dumps(graph)) if aligning else symbol
