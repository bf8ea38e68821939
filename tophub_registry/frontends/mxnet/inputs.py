"""The default inputs of a gluoncv model, by its name.

The names are gluoncv's, and the sizes are those of its evaluation scripts. Most networks accept other sizes too; use
`--shape` for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tophub_registry.tasks.layers import Shape

# The first pattern that matches the start of the name wins; a number in the name is the image size.
_SHAPES: tuple[tuple[str, Shape | None], ...] = (
    (r"cifar_", (3, 32, 32)),
    (r"ssd_(?P<height>\d+)_", None),
    (r"monodepth2_.*_posenet_.*_640x192", (6, 192, 640)),  # two images in sequence
    (r"monodepth2_.*_(?P<width>\d+)x(?P<height>\d+)", None),
    (r"yolo3_", (3, 416, 416)),
    (r"center_net_", (3, 512, 512)),
    (r"(simple|mobile)_pose_", (3, 256, 192)),
    (r"alpha_pose_", (3, 320, 256)),
    (r"(fcn|psp|deeplab|danet|icnet)_", (3, 480, 480)),
    (r"fastscnn_", (3, 1024, 1024)),
    (r"(c3d|p3d|r2plus1d)_", (3, 16, 112, 112)),
    (r"i3d_", (3, 32, 224, 224)),
    (r"slowfast_4x16_", (3, 36, 224, 224)),  # the fast path's 32 images, then the slow path's
    (r"slowfast_8x8_", (3, 40, 224, 224)),
    (r"slowfast_16x8_", (3, 80, 224, 224)),
    (r"inceptionv3|xception", (3, 299, 299)),
    (r"nasnet_[567]_", (3, 331, 331)),
)

_USUAL: Shape = (3, 224, 224)


_SEVERAL: tuple[tuple[str, Mapping[str, Shape]], ...] = (
    (r"siamrpn_", {"template": (3, 127, 127), "search": (3, 287, 287)}),
)
"""Networks with other inputs than `data`, in the order in which their blocks take them."""


def default_shapes(model: str, batch: int) -> dict[str, Shape]:
    """Return the shapes of a model's inputs by name, batch first."""
    for pattern, shapes in _SEVERAL:
        if re.match(pattern, model):
            return {name: (batch, *shape) for name, shape in shapes.items()}
    return {"data": default_shape(model, batch)}


def default_shape(model: str, batch: int) -> Shape:
    """Return the shape of the input of a model with one input, batch first."""
    for pattern, shape in _SHAPES:
        if match := re.match(pattern, model):
            return (batch, *(shape or _named(match)))
    return (batch, *_USUAL)


def _named(match: re.Match[str]) -> Shape:
    height = int(match["height"])
    return (3, height, int(match.groupdict().get("width", height)))
