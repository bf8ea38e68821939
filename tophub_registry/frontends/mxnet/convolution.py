"""Convolutions and matrix products; a bias becomes a separate addition."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.site import Array, Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator
from tophub_registry.tasks.layers import Shape

_AXES = 2
_CONVOLUTIONS = {
    1: (relax.op.nn.conv1d, "NCW", "OIW"),
    2: (relax.op.nn.conv2d, "NCHW", "OIHW"),
    3: (relax.op.nn.conv3d, "NCDHW", "OIDHW"),
}
"""By number of axes: the Relax operator, and the layouts of data and kernel."""
_STRIP = 32
_BIAS = 2  # the position of the bias among the inputs


def convolution(site: Site) -> Expression:
    """Translate a convolution over one, two or three axes."""
    axes = len(site.shape) - 2
    if axes not in _CONVOLUTIONS:
        site.refuse(f"over {axes} axes")
    build, data_layout, kernel_layout = _CONVOLUTIONS[axes]
    _check_layout(site, data_layout)
    call = build(
        site.tensor(0),
        site.tensor(1),
        strides=site.attributes.numbers("stride", (1,) * axes),
        padding=_padding(site, axes),
        dilation=site.attributes.numbers("dilate", (1,) * axes),
        groups=site.attributes.number("num_group", 1),
        data_layout=data_layout,
        kernel_layout=kernel_layout,
    )
    return _with_bias(site, call, (1, -1, *(1,) * axes))


def transposed_convolution(site: Site) -> Expression:
    """Translate a transposed convolution over two axes."""
    if len(site.shape) != _AXES + 2:
        site.refuse(f"over {len(site.shape) - 2} axes")
    _check_layout(site, "NCHW")
    if set(site.attributes.numbers("target_shape", (0,))) != {0}:
        site.refuse("with target_shape")
    call = relax.op.nn.conv2d_transpose(
        site.tensor(0),
        constant(site.array(1)),
        strides=site.attributes.numbers("stride", (1, 1)),
        padding=_padding(site, _AXES),
        output_padding=site.attributes.numbers("adj", (0, 0)),
        dilation=site.attributes.numbers("dilate", (1, 1)),
        groups=site.attributes.number("num_group", 1),
        data_layout="NCHW",
        kernel_layout="IOHW",
    )
    return _with_bias(site, call, (1, -1, 1, 1))


def dense(site: Site) -> Expression:
    """Translate a dense layer, whose weight is `[out, in]` in MXNet and `[in, out]` in the matrix product."""
    weight = site.array(1)
    data, shape = site.tensor(0), site.shape_of(0)
    if site.attributes.flag("flatten", default=True) and shape != (shape[0], weight.shape[1]):
        data = site.emit(relax.op.reshape(data, (shape[0], weight.shape[1])), "flat")
    call = relax.op.matmul(data, constant(_transposed(weight)))
    return _with_bias(site, call, (-1,))


def products(site: Site) -> Expression:
    """Translate one matrix product for each element of the batch."""
    factors = [
        site.emit(relax.op.permute_dims(tensor, [0, 2, 1]), name)
        if site.attributes.flag(name, default=False)
        else tensor
        for tensor, name in zip(site.tensors(), ("transpose_a", "transpose_b"), strict=True)
    ]
    return relax.op.matmul(*factors)


def _transposed(weight: Array) -> Array:
    """Return a transposed copy, made in strips that fit in the cache: half the time for vgg16's first one."""
    result = np.empty(weight.shape[::-1], weight.dtype)
    for start in range(0, len(weight), _STRIP):
        result[:, start : start + _STRIP] = weight[start : start + _STRIP].T
    return result


def _with_bias(site: Site, call: Expression, shape: Shape) -> Expression:
    if len(site) <= _BIAS:
        return call
    bias = site.array(_BIAS).reshape(shape)
    return relax.op.add(site.emit(call), constant(bias))


def _padding(site: Site, axes: int) -> Shape:
    """Return the padding before each axis, then after each."""
    padding = site.attributes.numbers("pad", (0,) * axes)
    return (*padding, *padding)


def _check_layout(site: Site, usual: str) -> None:
    layout = site.attributes.word("layout", usual)
    if layout != usual:
        site.refuse(f"in the layout {layout}")


TRANSLATORS: Mapping[str, Translator] = {
    "Convolution": convolution,
    "Deconvolution": transposed_convolution,
    "FullyConnected": dense,
    "batch_dot": products,
}
