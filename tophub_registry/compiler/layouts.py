"""Layouts: images with their channels in blocks, the operators that work on either layout, and layout changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax, te, topi
from tvm.ir import GenericConst as Constant

from tophub_registry.compiler.choice import LAST
from tophub_registry.tasks.reading import ELEMENTWISE, bounds, crops_or_pads, shape_of
from tophub_registry.templates.x86 import into_blocks, largest_divisor

_IMAGE = 4

_LANES = 16
"""The most channels in a block of which a vector is computed at once."""

_POOLS: dict[str, Callable[..., Any]] = {
    "relax.nn.max_pool2d": relax.op.nn.max_pool2d,
    "relax.nn.avg_pool2d": relax.op.nn.avg_pool2d,
}


def bytes_of(value: Any) -> int:
    """Return the size of a Relax tensor in bytes."""
    return math.prod(shape_of(value)) * np.dtype(str(value.ty.dtype)).itemsize


def is_image(value: Any) -> bool:
    """Return whether a value has the axes `[N, C, H, W]`."""
    return isinstance(value, relax.Var) and isinstance(value.ty, relax.TensorType) and value.ty.ndim == _IMAGE


def is_agnostic(call: relax.Call) -> bool:
    """Return whether an operator works on channels in blocks too."""
    name = getattr(call.op, "name", "")
    if is_elementwise(call):
        return bool(images(call)) and all(_fits(argument, call) for argument in call.args)
    if name in _POOLS:
        return bool(call.attrs.layout == "NCHW") and is_image(call.args[0])
    if name == "relax.mean":
        axes = sorted(int(axis) % _IMAGE for axis in call.attrs.axis or ())
        return is_image(call.args[0]) and axes == [2, 3] and bool(call.attrs.keepdims)
    if name == "relax.concat":
        along = call.attrs.axis is not None and int(call.attrs.axis) in (0, 1)
        return along and bool(images(call)) and len(images(call)) == len(call.args[0].fields)
    return is_image(call.args[0]) and (crops_or_pads(call) or _takes_whole_blocks(call)) if call.args else False


def _takes_whole_blocks(call: relax.Call) -> bool:
    """Return whether an operator takes channels that any block which divides their number leaves together."""
    if getattr(call.op, "name", "") != "relax.strided_slice":
        return False
    begin, _, step = bounds(call)[1]
    return step == 1 and begin >= 0 and begin % shape_of(call)[1] == 0


def joins_unevenly(call: relax.Call) -> bool:
    """Return whether an operator concatenates images with fewer channels in a block than the whole can have."""
    if getattr(call.op, "name", "") != "relax.concat" or not is_agnostic(call):
        return False
    shared = math.gcd(*(shape_of(image)[1] for image in images(call)))
    return largest_divisor(shared, _LANES) < largest_divisor(shape_of(call)[1], _LANES)


def is_elementwise(call: relax.Call) -> bool:
    """Return whether an operator computes each element of its output from the same elements of its arguments."""
    return getattr(call.op, "name", "") in ELEMENTWISE


def is_exact(call: relax.Call) -> bool:
    """Return whether a layout-agnostic operator only chooses among numbers, so that it can work on rounded ones."""
    return call.op.name in {"relax.nn.max_pool2d", "relax.concat"}


def is_average(call: relax.Call) -> bool:
    """Return whether an operator is an average pooling, which adds up in its own type whatever it reads."""
    return bool(call.op.name == "relax.nn.avg_pool2d")


def _fits(argument: Any, call: relax.Call) -> bool:
    """Return whether an elementwise operator's argument broadcasts over blocks as it does over channels."""
    if not isinstance(argument, relax.Expr) or not isinstance(argument.ty, relax.TensorType):
        return True  # a number
    if is_image(argument):
        return shape_of(argument)[1] == shape_of(call)[1]
    return isinstance(argument, Constant) and (
        math.prod(shape_of(argument)) == 1
        or (len(shape_of(argument)) == _IMAGE and shape_of(argument)[1] == shape_of(call)[1])
    )


def images(call: relax.Call) -> list[Any]:
    """Return the images among an operator's arguments."""
    return [value for value in values_of(call) if is_image(value)]


def values_of(expression: Any) -> list[Any]:
    """Return the variables that an expression reads."""
    return list(relax.analysis.free_vars(expression))


def in_blocks(call: relax.Call, block: int, lying: Callable[[Any], Any]) -> Any:
    """Return a layout-agnostic operator, applied to channels in blocks.

    Parameters
    ----------
    block
        The block size; `LAST` if the channels are last.
    lying
        Returns an image in these blocks.
    """
    name = call.op.name
    channels = shape_of(call)[1]
    if name in _POOLS:
        a = call.attrs
        return _POOLS[name](
            lying(call.args[0]),
            pool_size=list(a.pool_size),
            strides=list(a.strides),
            padding=list(a.padding),
            dilation=list(a.dilation),
            ceil_mode=bool(a.ceil_mode),
            count_include_pad=bool(a.count_include_pad),
            layout=_layout(channels, block),
        )
    if name == "relax.concat":
        axis = int(call.attrs.axis)
        return relax.op.concat(
            [lying(part) for part in call.args[0].fields], axis=_IMAGE if axis and block == LAST else axis
        )
    if name == "relax.mean":
        return relax.op.mean(lying(call.args[0]), [2, 3], keepdims=True)
    if name == "relax.nn.pad":
        a = call.attrs
        return relax.op.nn.pad(lying(call.args[0]), [*a.pad_width, 0, 0], str(a.pad_mode), float(a.pad_value))
    if name == "relax.strided_slice":
        return _slice_of_blocks(lying(call.args[0]), call, block)
    arguments = [lying(each) if is_image(each) else _constant_in_blocks(each, block) for each in call.args]
    return relax.Call(call.op, arguments, call.attrs)


def _slice_of_blocks(image: Any, call: relax.Call, block: int) -> Any:
    """Return a slice of an image in blocks: of its blocks where the operator takes some of the channels."""
    taken = bounds(call)
    if 1 in taken:
        (begin, _, step), channels = taken.pop(1), shape_of(call)[1]
        each = 1 if block == LAST else block
        taken[_IMAGE if block == LAST else 1] = begin // each, (begin + channels) // each, step
    begins, ends, steps = zip(*taken.values(), strict=True)
    return relax.op.strided_slice(image, [*taken], [*begins], [*ends], [*steps])


def _layout(channels: int, block: int) -> str:
    return f"NCHW{channels if block == LAST else block}c"


def average_of_rounded(data: te.Tensor, call: relax.Call, block: int) -> te.Tensor:
    """Compute an average pooling of rounded data in channels in blocks, with sums in the pooling's own type."""
    a = call.attrs
    window = [[*map(int, each)] for each in (a.pool_size, a.strides, a.dilation, a.padding)]
    layout = _layout(shape_of(call)[1], block)
    exact = data.astype(str(call.ty.dtype))
    return topi.nn.pool2d(exact, *window, "avg", bool(a.ceil_mode), layout, count_include_pad=bool(a.count_include_pad))


def _constant_in_blocks(argument: Any, block: int) -> Any:
    if not isinstance(argument, Constant) or len(shape_of(argument)) != _IMAGE:
        return argument
    numbers = argument.value.numpy()
    channels = numbers.shape[1]
    size = channels if block == LAST or channels == 1 else block
    return relax.const(np.ascontiguousarray(into_blocks(numbers, size)))


def to_blocks(data: te.Tensor, block: int) -> te.Tensor:
    """Change the layout of an image from `[N, C, H, W]` to `[N, C/c, H, W, c]`, or to channels last."""
    n, c, h, w = data.shape
    block = int(c) if block == LAST else block
    return te.compute(
        (n, c // block, h, w, block),
        lambda n, chunk, y, x, i: data[n, chunk * block + i, y, x],
        name="layout_blocked",
    )


def to_plain(data: te.Tensor) -> te.Tensor:
    """Change the layout of an image from `[N, C/c, H, W, c]` to `[N, C, H, W]`."""
    n, chunks, h, w, block = data.shape
    return te.compute(
        (n, chunks * block, h, w),
        lambda n, c, y, x: data[n, te.indexdiv(c, block), y, x, te.indexmod(c, block)],
        name="layout_plain",
    )
