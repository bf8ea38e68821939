"""Workloads of the templates for CUDA, odd ones among them, and what NumPy computes for each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tophub_registry.records.task import tensor

Workload = tuple[str, list[Any]]


def conv2d(
    kind: str,
    data: list[int],
    kernel: list[int],
    stride: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: int = 1,
) -> Workload:
    window = [tensor(data), tensor(kernel), [stride] * 2, list(padding), [dilation] * 2]
    groups = [data[1] // kernel[1]] if kind == "group_conv2d_nchw" else []
    return f"{kind}.cuda", [*window, *groups, "float32"]


def transposed(
    data: list[int],
    kernel: list[int],
    stride: int = 2,
    padding: tuple[int, int, int, int] = (1, 1, 1, 1),
    extra: int = 0,
    groups: int = 1,
) -> Workload:
    args = [tensor(data), tensor(kernel), [stride] * 2, list(padding), "float32", [extra] * 2, groups]
    return "conv2d_transpose_nchw.cuda", args


def dense(kind: str, batch: int, in_units: int, out_units: int) -> Workload:
    return f"dense_{kind}_batch.gpu", [tensor([batch, in_units]), tensor([out_units, in_units]), None, "float32"]


_DIRECT = [
    conv2d("conv2d_nchw", [1, 64, 56, 56], [64, 64, 3, 3], 1, (1, 1, 1, 1)),
    conv2d("conv2d_nchw", [1, 128, 28, 28], [96, 128, 3, 3], 2, (1, 1, 1, 1)),
    conv2d("conv2d_nchw", [1, 64, 28, 28], [96, 64, 1, 1], 2),
    conv2d("conv2d_nchw", [1, 3, 64, 64], [32, 3, 7, 7], 2, (3, 3, 3, 3)),
    conv2d("conv2d_nchw", [2, 6, 13, 17], [10, 6, 3, 3], 1, (1, 0, 2, 1)),
    conv2d("conv2d_nchw", [1, 8, 20, 23], [8, 8, 3, 5], 1, (2, 2, 2, 2), dilation=2),
]

_DENSE_SMALL = [
    dense("small", 1, 512, 1000),
    dense("small", 1, 1024, 100),
    dense("small", 6, 90, 20),
    dense("small", 3, 77, 13),
    dense("small", 1, 50, 7),
]

_DENSE_LARGE = [
    dense("large", 32, 512, 1000),
    dense("large", 64, 1024, 128),
    dense("large", 128, 256, 256),
    dense("large", 36, 90, 21),
    dense("large", 33, 77, 130),
    dense("large", 40, 64, 26),
]

_DEPTHWISE = [
    conv2d("depthwise_conv2d_nchw", [1, 32, 56, 56], [32, 1, 3, 3], 1, (1, 1, 1, 1)),
    conv2d("depthwise_conv2d_nchw", [1, 64, 56, 56], [64, 1, 3, 3], 2, (1, 1, 1, 1)),
    conv2d("depthwise_conv2d_nchw", [1, 256, 7, 7], [256, 1, 3, 3], 1, (1, 1, 1, 1)),
    conv2d("depthwise_conv2d_nchw", [2, 15, 13, 18], [15, 1, 5, 3], 1, (2, 1, 2, 1)),
    conv2d("depthwise_conv2d_nchw", [1, 24, 20, 23], [24, 1, 3, 3], 1, (2, 2, 2, 2), dilation=2),
    conv2d("depthwise_conv2d_nchw", [1, 12, 11, 35], [12, 1, 3, 3], 2, (0, 1, 2, 1)),
]

_WINOGRAD = [
    conv2d("conv2d_nchw_winograd", [1, 128, 28, 28], [96, 128, 3, 3], 1, (1, 1, 1, 1)),
    conv2d("conv2d_nchw_winograd", [1, 64, 56, 56], [64, 64, 3, 3], 1, (1, 1, 1, 1)),
    conv2d("conv2d_nchw_winograd", [1, 48, 7, 7], [32, 48, 3, 3], 1, (1, 1, 1, 1)),
    conv2d("conv2d_nchw_winograd", [2, 6, 13, 17], [10, 6, 3, 3], 1, (1, 0, 2, 1)),
    conv2d("conv2d_nchw_winograd", [1, 8, 16, 11], [6, 8, 3, 3]),
    conv2d("conv2d_nchw_winograd", [1, 12, 17, 17], [8, 12, 5, 5], 1, (2, 2, 2, 2)),
]

_TRANSPOSED = [
    transposed([1, 64, 14, 14], [64, 32, 4, 4]),
    transposed([1, 32, 28, 28], [32, 16, 2, 2], 2, (0, 0, 0, 0)),
    transposed([2, 6, 7, 9], [6, 10, 3, 3], extra=1),
    transposed([1, 12, 11, 13], [12, 8, 3, 5], 1, (1, 2, 1, 2)),
    transposed([1, 8, 9, 9], [8, 3, 4, 4], groups=4),
    transposed([1, 5, 6, 10], [5, 7, 5, 5], 3, (2, 2, 2, 2), extra=2),
]

_GROUPED = [
    conv2d("group_conv2d_nchw", [1, 128, 28, 28], [128, 4, 3, 3], 1, (1, 1, 1, 1)),
    conv2d("group_conv2d_nchw", [1, 64, 28, 28], [96, 16, 3, 3], 2, (1, 1, 1, 1)),
    conv2d("group_conv2d_nchw", [1, 32, 14, 14], [32, 16, 1, 1]),
    conv2d("group_conv2d_nchw", [2, 6, 13, 17], [9, 2, 3, 5], 1, (1, 0, 2, 1)),
    conv2d("group_conv2d_nchw", [1, 12, 20, 23], [8, 6, 3, 3], 1, (2, 2, 2, 2), dilation=2),
]

WORKLOADS: list[Workload] = [*_TRANSPOSED, *_GROUPED, *_DIRECT, *_WINOGRAD, *_DENSE_LARGE, *_DENSE_SMALL, *_DEPTHWISE]
"""At least five for each template."""


def reference(task: str, args: list[Any], inputs: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the output for data and kernel in the model's layout, summed in double precision."""
    data, kernel = (array.astype(np.float64) for array in inputs)
    if task.startswith("dense"):
        return np.asarray(data @ kernel.T, dtype=np.float32)
    if task.startswith("conv2d_transpose"):
        extra, groups = args[5:] or ([0, 0], 1)  # TVM 0.7 had neither
        return _transposed(data, kernel, args[2], args[3], extra, groups).astype(np.float32)
    groups = data.shape[1] // kernel.shape[1]
    return _convolved(data, kernel, args[2], args[3], args[4], groups).astype(np.float32)


def _convolved(
    data: NDArray[Any], kernel: NDArray[Any], strides: list[int], padding: list[int], dilation: list[int], groups: int
) -> NDArray[Any]:
    top, left, bottom, right = padding
    padded = np.pad(data, ((0, 0), (0, 0), (top, bottom), (left, right)))
    taps_y, taps_x = kernel.shape[2:]
    height = (padded.shape[2] - (taps_y - 1) * dilation[0] - 1) // strides[0] + 1
    width = (padded.shape[3] - (taps_x - 1) * dilation[1] - 1) // strides[1] + 1
    out = np.zeros((data.shape[0], groups, kernel.shape[0] // groups, height * width))
    for y in range(taps_y):
        for x in range(taps_x):
            first, second = y * dilation[0], x * dilation[1]
            rows = slice(first, first + (height - 1) * strides[0] + 1, strides[0])
            columns = slice(second, second + (width - 1) * strides[1] + 1, strides[1])
            seen = padded[:, :, rows, columns].reshape(data.shape[0], groups, -1, height * width)
            out += kernel[:, :, y, x].reshape(groups, kernel.shape[0] // groups, -1) @ seen
    return out.reshape(data.shape[0], kernel.shape[0], height, width)


def _transposed(
    data: NDArray[Any], kernel: NDArray[Any], strides: list[int], padding: list[int], extra: list[int], groups: int
) -> NDArray[Any]:
    n, channels, height, width = data.shape
    _, filters, taps_y, taps_x = kernel.shape
    full = np.zeros(
        (
            n,
            groups,
            filters,
            (height - 1) * strides[0] + taps_y + extra[0],
            (width - 1) * strides[1] + taps_x + extra[1],
        )
    )
    seen = data.reshape(n, groups, channels // groups, height, width)
    weights = kernel.reshape(groups, channels // groups, filters, taps_y, taps_x)
    for y in range(taps_y):
        for x in range(taps_x):
            rows = slice(y, y + (height - 1) * strides[0] + 1, strides[0])
            columns = slice(x, x + (width - 1) * strides[1] + 1, strides[1])
            full[..., rows, columns] += np.einsum("ngchw,gcf->ngfhw", seen, weights[..., y, x], optimize=True)
    top, left, bottom, right = padding
    full = full.reshape(n, groups * filters, *full.shape[3:])
    return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]
