"""The calls of a Relax function that are the layers which records are of."""

from __future__ import annotations

from tvm import relax
from tvm.ir import GenericConst as Constant

from tophub_registry.deploy.layouts import shape_of
from tophub_registry.models.layers import Convolution, Dense, Layer, TransposedConvolution


def layer_of(call: relax.Call, name: str) -> Layer | None:
    """Return the convolution or dense layer that a call is; None for anything else."""
    if call.op.name == "relax.nn.conv2d":
        data, weight = call.args
        attrs = call.attrs
        top, left, bottom, right = map(int, attrs.padding)
        plain = attrs.data_layout == "NCHW" and attrs.kernel_layout == "OIHW" and (top, left) == (bottom, right)
        if plain and isinstance(weight, Constant):
            return Convolution(
                name=name,
                operator="Convolution",
                data=shape_of(data),
                kernel=shape_of(weight),
                strides=tuple(map(int, attrs.strides)),
                padding=(top, left),
                dilation=tuple(map(int, attrs.dilation)),
                groups=int(attrs.groups),
            )
    if call.op.name == "relax.nn.conv2d_transpose":
        return _transposed(call, name)
    if call.op.name == "relax.matmul" and isinstance(call.args[1], Constant):
        data, weight = map(shape_of, call.args)
        if len(data) == len(weight) == len(("rows", "columns")):
            return Dense(name=name, operator="FullyConnected", data=data, weight=weight[::-1])
    return None


def _transposed(call: relax.Call, name: str) -> Layer | None:
    data, weight = call.args
    attrs = call.attrs
    top, left, bottom, right = map(int, attrs.padding)
    plain = attrs.data_layout == "NCHW" and attrs.kernel_layout == "IOHW" and (top, left) == (bottom, right)
    if not plain or set(map(int, attrs.dilation)) != {1} or not isinstance(weight, Constant):
        return None
    return TransposedConvolution(
        name=name,
        operator="Deconvolution",
        data=shape_of(data),
        kernel=shape_of(weight),
        strides=tuple(map(int, attrs.strides)),
        padding=(top, left),
        output_padding=tuple(map(int, attrs.output_padding)),
        groups=int(attrs.groups),
    )
