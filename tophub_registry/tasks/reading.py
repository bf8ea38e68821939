"""The calls of a Relax function that are the layers which records are of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax
from tvm.ir import GenericConst as Constant

from tophub_registry.tasks.layers import Convolution, Dense, Layer, TransposedConvolution


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of a tensor in Relax."""
    return tuple(map(int, value.ty.shape))


def layer_of(call: relax.Call, name: str) -> Layer | None:
    """Return the convolution or dense layer that a call is; None for anything else."""
    read = _READERS.get(getattr(call.op, "name", ""))
    return None if read is None or not isinstance(call.args[1], Constant) else read(call, name)


def _convolution(call: relax.Call, name: str) -> Layer | None:
    data, weight = call.args
    attrs = call.attrs
    padding = _even_padding(call)
    plain = attrs.data_layout == "NCHW" and attrs.kernel_layout == "OIHW"
    if padding is None or not plain:
        return None
    return Convolution(
        name=name,
        operator="Convolution",
        data=shape_of(data),
        kernel=shape_of(weight),
        strides=tuple(map(int, attrs.strides)),
        padding=padding,
        dilation=tuple(map(int, attrs.dilation)),
        groups=int(attrs.groups),
    )


def _transposed(call: relax.Call, name: str) -> Layer | None:
    data, weight = call.args
    attrs = call.attrs
    padding = _even_padding(call)
    plain = attrs.data_layout == "NCHW" and attrs.kernel_layout == "IOHW" and set(map(int, attrs.dilation)) == {1}
    if padding is None or not plain:
        return None
    return TransposedConvolution(
        name=name,
        operator="Deconvolution",
        data=shape_of(data),
        kernel=shape_of(weight),
        strides=tuple(map(int, attrs.strides)),
        padding=padding,
        output_padding=tuple(map(int, attrs.output_padding)),
        groups=int(attrs.groups),
    )


def _dense(call: relax.Call, name: str) -> Layer | None:
    data, weight = map(shape_of, call.args)
    if not len(data) == len(weight) == len(("rows", "columns")):
        return None
    return Dense(name=name, operator="FullyConnected", data=data, weight=weight[::-1])


def _even_padding(call: relax.Call) -> tuple[int, int] | None:
    """Return the padding of height and width; None where it is not the same on both sides."""
    top, left, bottom, right = map(int, call.attrs.padding)
    return (top, left) if (top, left) == (bottom, right) else None


_READERS: dict[str, Callable[[relax.Call, str], Layer | None]] = {
    "relax.nn.conv2d": _convolution,
    "relax.nn.conv2d_transpose": _transposed,
    "relax.matmul": _dense,
}
