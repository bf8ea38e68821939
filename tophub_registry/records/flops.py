"""How much arithmetic a workload needs, from its task and arguments alone.

This counts the multiplications and additions of the mathematical definition, so that rates of different templates
are comparable: what Winograd saves counts as speed, and zeros inserted by a transposed convolution do not count.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tophub_registry.records.arguments import BATCHED, ArgumentError, named, take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tophub_registry.records.record import Value

_CONVOLUTIONS = (
    *("conv1d_ncw", "conv2d_n", "conv2d_hwcn", "conv3d_ncdhw"),
    *("depthwise_conv2d_n", "group_conv1d_ncw", "group_conv2d_n", "deformable_conv2d_nchw"),
)

# Sizes are below this, so that no product of sizes overflows a float.
_BOUND = 1 << 31


def flop(task: str, args: Sequence[Value]) -> int | None:
    """Return the number of operations of a workload, None if its task is unknown.

    Parameters
    ----------
    task, args
        A task of log version 0.2 and its arguments.
    """
    name = task.lower()
    try:
        values = named(name, args)
        data, kernel = _shape(values["data"]), _shape(values["kernel"])
        if name.startswith("dense"):
            return 2 * data[0] * data[1] * kernel[0]
        if name.startswith("batch_matmul"):
            columns = kernel[1 if _is_transposed(args) else 2]
            return 2 * max(data[0], kernel[0]) * data[1] * data[2] * columns
        if name.startswith(("conv1d_transpose_n", "conv2d_transpose_nchw")):
            return 2 * math.prod(data) * math.prod(kernel[1:])
        if name.startswith(_CONVOLUTIONS):
            return _convolution(name, data, kernel, [values[each] for each in ("strides", "padding", "dilation")])
    except (ArgumentError, IndexError, KeyError, ValueError, ZeroDivisionError):
        return None  # not the task's arguments
    return None


def _is_transposed(args: Sequence[Value]) -> bool:
    """Return whether the second factor of matrix products is transposed, which is the default."""
    *_, transposed = take(BATCHED, args).values() if len(args) == len(BATCHED.split()) else (True,)
    return bool(transposed)


def _convolution(name: str, data: list[int], kernel: list[int], window: list[list[int]]) -> int:
    strides, padding, dilation = window
    axes = len(strides)
    size: list[int]
    taps: list[int]
    if "conv2d_nhwc" in name:
        (batch, *size, _), (*taps, ins, outs) = data, kernel
    elif "conv2d_hwcn" in name:
        (*size, _, batch), (*taps, ins, outs) = data, kernel
    elif len(data) == axes + 2:
        (batch, _, *size), (outs, ins, *taps) = data, kernel
    else:  # channels in blocks
        (batch, _, *size, _), (outs, ins, *taps, in_block, out_block) = data, kernel
        outs, ins = outs * out_block, ins * in_block
    # A depthwise kernel has channels and their multiplier in place of outputs and inputs.
    sums = outs * ins * math.prod(taps)
    if max(map(abs, (*strides, *padding, *dilation))) >= _BOUND:
        raise ValueError
    padded = map(sum, zip(size, padding[:axes], padding[axes:], strict=True))
    sizes = zip(padded, taps, strides, dilation, strict=True)
    return 2 * batch * sums * math.prod((s - (k - 1) * d - 1) // stride + 1 for s, k, stride, d in sizes)


def _shape(tensor: Value) -> list[int]:
    """Return the shape of `["TENSOR", shape, dtype]`."""
    shape: list[int] = tensor[1]
    if shape and not 0 < min(shape) <= max(shape) < _BOUND:
        raise ValueError
    return shape
