"""Convolutions and matrix products; a bias becomes a separate addition."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.site import Array, Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator
from tophub_registry.tasks.layers import Shape

_CONVOLUTIONS = {
    1: (relax.op.nn.conv1d, "NCW", "OIW"),
    2: (relax.op.nn.conv2d, "NCHW", "OIHW"),
    3: (relax.op.nn.conv3d, "NCDHW", "OIDHW"),
}
"""By number of axes: the Relax operator, and the layouts of data and kernel."""
_TRANSPOSED = {
    1: (relax.op.nn.conv1d_transpose, "NCW", "IOW"),
    2: (relax.op.nn.conv2d_transpose, "NCHW", "IOHW"),
    3: (relax.op.nn.conv3d_transpose, "NCDHW", "IODHW"),
}
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
    """Translate a transposed convolution over one, two or three axes."""
    axes = len(site.shape) - 2
    if axes not in _TRANSPOSED:
        site.refuse(f"over {axes} axes")
    build, data_layout, kernel_layout = _TRANSPOSED[axes]
    _check_layout(site, data_layout)
    strides, dilation = (site.attributes.numbers(name, (1,) * axes) for name in ("stride", "dilate"))
    weight = _dilated(site.array(1), dilation)
    padding, extra = _cropping(site, strides, weight.shape[2:])
    call = build(
        site.tensor(0),
        constant(weight),
        strides=strides,
        padding=(*padding, *padding),
        output_padding=extra,
        groups=site.attributes.number("num_group", 1),
        data_layout=data_layout,
        kernel_layout=kernel_layout,
    )
    return _with_bias(site, call, (1, -1, *(1,) * axes))


def _dilated(weight: Array, dilation: Shape) -> Array:
    """Return a kernel with zeros between its elements."""
    if set(dilation) == {1}:
        return weight
    sizes = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilation, strict=True)]
    result = np.zeros((*weight.shape[:2], *sizes), weight.dtype)
    spread = (..., *(slice(None, None, step) for step in dilation))
    result[spread] = weight
    return result


def _cropping(site: Site, strides: Shape, kernel: Shape) -> tuple[Shape, Shape]:
    """Return what is cropped from either end of each axis, and what is added at the end."""
    nothing = (0,) * len(strides)
    target = site.attributes.numbers("target_shape", nothing)
    if not any(target):
        return site.attributes.numbers("pad", nothing), site.attributes.numbers("adj", nothing)
    sizes = zip(site.shape_of(0)[2:], strides, kernel, target, strict=True)
    surplus = [(size - 1) * stride + reach - wanted for size, stride, reach, wanted in sizes]
    return tuple((more + 1) // 2 for more in surplus), tuple(more % 2 for more in surplus)


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
