"""Rules for convolutions with known weights, which get the layout NCHW or NCDHW and the padding before them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tvm import relax

from tophub_registry.frontends.normal_form.rewriter import Rewriter, Rule
from tophub_registry.frontends.normal_form.values import Known, Pending, PendingLayer, Shape, Value
from tophub_registry.tasks.reading import layer_name

_LAYOUTS = {
    "relax.nn.conv2d": ("NCHW", "OIHW"),
    "relax.nn.conv2d_transpose": ("NCHW", "IOHW"),
    "relax.nn.conv3d": ("NCDHW", "OIDHW"),
}


def convolution(rewriter: Rewriter, call: relax.Call, name: str) -> Value | None:
    """Bring a convolution over two or three axes into NCHW, and fold preceding padding into it."""
    attrs = call.attrs
    layouts = _LAYOUTS[call.op.name]
    data, weight = (rewriter.argument(argument) for argument in call.args)
    if not isinstance(data, Pending) or not isinstance(weight, Known) or str(call.ty.dtype) != data.dtype:
        return None
    if {*attrs.data_layout} != {*layouts[0]} or {*attrs.kernel_layout} != {*layouts[1]}:
        return None
    if str(attrs.out_layout or attrs.data_layout) != str(attrs.data_layout):
        return None
    padding = tuple(map(int, attrs.padding))
    if "transpose" not in call.op.name:
        data, padding = _with_padding(rewriter, call, data, padding)
    into = tuple(map(attrs.data_layout.index, layouts[0]))
    back = tuple(map(layouts[0].index, attrs.data_layout))
    image = rewriter.plain(data.permuted(into) or rewriter.apart(data).permuted(into))
    kernel = np.ascontiguousarray(weight.array.transpose([*map(attrs.kernel_layout.index, layouts[1])]))
    attributes = {
        "strides": [*map(int, attrs.strides)],
        "padding": [*padding],
        "dilation": [*map(int, attrs.dilation)],
        "groups": int(attrs.groups),
        "data_layout": layouts[0],
        "kernel_layout": layouts[1],
    }
    if "transpose" in call.op.name:
        attributes["output_padding"] = [*map(int, attrs.output_padding)]
    viewed = tuple(map(int, call.ty.shape))
    shape = tuple(viewed[axis] for axis in into)
    layer = PendingLayer(call.op.name, image, kernel, attributes, shape, data.dtype, layer_name(name, weight.name))
    return Pending(layer, shape, data.dtype, name).permuted(back)


def _with_padding(rewriter: Rewriter, call: relax.Call, data: Pending, padding: Shape) -> tuple[Pending, Shape]:
    """Return a convolution's input before zero padding, and the total padding."""
    before = rewriter.only_read_here(call.args[0])
    if before is None or getattr(before.op, "name", "") != "relax.nn.pad":
        return data, padding
    widths = [*map(int, before.attrs.pad_width)]
    layout = call.attrs.data_layout
    axes = [axis for axis, letter in enumerate(layout) if letter not in "NC"]
    others = [axis for axis in range(len(layout)) if axis not in axes]
    inside = rewriter.argument(before.args[0])
    if (
        before.attrs.pad_mode != "constant"
        or float(before.attrs.pad_value) != 0
        or any(widths[2 * axis] or widths[2 * axis + 1] for axis in others)
        or min(widths) < 0
        or not isinstance(inside, Pending)
    ):
        return data, padding
    ends = [*(widths[2 * axis] for axis in axes), *(widths[2 * axis + 1] for axis in axes)]
    return inside, tuple(a + b for a, b in zip(padding, ends, strict=True))


def row_convolution(rewriter: Rewriter, call: relax.Call, name: str) -> Value | None:
    """Turn a convolution over one axis into one over two, with images one pixel high."""
    attrs = call.attrs
    data, weight = (rewriter.argument(argument) for argument in call.args)
    plain = (attrs.data_layout, attrs.kernel_layout) == ("NCW", "OIW")
    if not isinstance(data, Pending) or not isinstance(weight, Known) or not plain:
        return None
    batch, channels, width = data.viewed
    image = rewriter.in_shape(data, (batch, channels, 1, width))
    outs, ins, reach = weight.array.shape
    left, right = map(int, attrs.padding)
    attributes = {
        "strides": [1, int(attrs.strides[0])],
        "padding": [0, left, 0, right],
        "dilation": [1, int(attrs.dilation[0])],
        "groups": int(attrs.groups),
        "data_layout": "NCHW",
        "kernel_layout": "OIHW",
    }
    viewed = tuple(map(int, call.ty.shape))
    shape = (*viewed[:2], 1, viewed[2])
    kernel = weight.array.reshape(outs, ins, 1, reach)
    layer = PendingLayer("relax.nn.conv2d", image, kernel, attributes, shape, data.dtype, layer_name(name, weight.name))
    return Pending(layer, shape, data.dtype, name).reshaped(viewed)


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_LAYOUTS, convolution),
    "relax.nn.conv1d": row_convolution,
}
