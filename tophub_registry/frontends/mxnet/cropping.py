"""What MXNet's `Crop` takes of an image: a window at an offset or in the middle, of the size of a second input."""

from __future__ import annotations

from tophub_registry.frontends.mxnet.graph import Node
from tophub_registry.tasks.layers import Shape


def crop_of(node: Node, shape: Shape) -> tuple[slice, ...]:
    """Return the slices of an image `[N, C, H, W]` that a crop of this shape takes."""
    sizes = node.operands[0][2:]
    begins = node.attributes.numbers("offset", (0, 0))
    if node.attributes.flag("center_crop", default=False):
        begins = tuple((size - cut) // 2 for size, cut in zip(sizes, shape[2:], strict=True))
    windows = (slice(begin, begin + cut) for begin, cut in zip(begins, shape[2:], strict=True))
    return slice(None), slice(None), *windows
