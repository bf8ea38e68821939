"""Workloads of the templates for CUDA, odd ones among them."""

from __future__ import annotations

from typing import Any

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
    groups = [data[1] // kernel[1]] if kind.startswith("group") else []
    return f"{kind}.cuda", [*window, *groups, "float32"]


def transposed(
    data: list[int],
    kernel: list[int],
    stride: int = 2,
    padding: tuple[int, int, int, int] = (1, 1, 1, 1),
    extra: int = 0,
    groups: int = 1,
    kind: str = "",
) -> Workload:
    args = [tensor(data), tensor(kernel), [stride] * 2, list(padding), "float32", [extra] * 2, groups]
    return f"conv2d_transpose_nchw{kind}.cuda", args


def dense(kind: str, batch: int, in_units: int, out_units: int, precision: str = "") -> Workload:
    shapes = tensor([batch, in_units]), tensor([out_units, in_units])
    return f"dense_{kind}_batch{precision}.gpu", [*shapes, None, "float32"]


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
    dense("small", 2, 2048, 33),
    dense("small", 4, 720, 5),
]

_DENSE_SMALL_FLOAT16 = [
    dense("small", *sizes, "_float16")
    for sizes in ((1, 512, 1000), (6, 90, 20), (3, 77, 13), (2, 2048, 33), (4, 720, 5), (1, 4100, 8))
]

_DENSE_LARGE = [
    dense("large", 32, 512, 1000),
    dense("large", 64, 1024, 128),
    dense("large", 128, 256, 256),
    dense("large", 36, 90, 21),
    dense("large", 33, 77, 121),
    dense("large", 40, 64, 30),
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


def conv3d(
    kind: str,
    data: list[int],
    kernel: list[int],
    strides: tuple[int, int, int] = (1, 1, 1),
    padding: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0),
    dilation: tuple[int, int, int] = (1, 1, 1),
) -> Workload:
    window = [tensor(data), tensor(kernel), list(strides), list(padding), list(dilation)]
    return f"conv3d_ncdhw{kind}.cuda", [*window, data[1] // kernel[1], "float32"]


def conv1d(
    data: list[int],
    kernel: list[int],
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    dilation: int = 1,
    groups: int | None = None,
) -> Workload:
    window = [tensor(data), tensor(kernel), [stride], list(padding), [dilation]]
    if groups is None:
        return "conv1d_ncw.cuda", [*window, "float32"]
    return "group_conv1d_ncw.cuda", [*window, groups, "float32"]


_ONE_AXIS = [
    conv1d([1, 64, 100], [32, 64, 3], 1, (1, 1)),
    conv1d([2, 10, 77], [12, 10, 5], 2, (2, 1)),
    conv1d([1, 16, 60], [24, 16, 1]),
    conv1d([3, 6, 41], [7, 6, 4], 1, (3, 0), 2),
    conv1d([1, 80, 64], [40, 80, 9], 3, (4, 4)),
    conv1d([1, 64, 50], [32, 16, 3], 1, (1, 1), 1, 4),
    conv1d([2, 12, 37], [12, 1, 5], 1, (2, 2), 1, 12),
    conv1d([1, 18, 30], [24, 6, 3], 2, (1, 0), 1, 3),
    conv1d([2, 8, 29], [16, 4, 4], 1, (3, 3), 2, 2),
    conv1d([1, 20, 33], [10, 4, 1], 1, (0, 0), 1, 5),
]


def transposed_row(
    data: list[int], kernel: list[int], stride: int = 2, padding: tuple[int, ...] = (1,), extra: int = 0
) -> Workload:
    args = [tensor(data), tensor(kernel), [stride], list(padding), "float32", [extra]]
    return "conv1d_transpose_nchw.cuda", args


_TRANSPOSED_ROWS = [
    transposed_row([1, 32, 40], [32, 16, 4]),
    transposed_row([2, 6, 17], [6, 10, 3], 3, (1, 0), 2),
    transposed_row([1, 12, 25], [12, 8, 5], 1, (2,)),
    transposed_row([1, 10, 9], [10, 7, 2], 4, (0,), 3),
    transposed_row([3, 5, 11], [5, 4, 7], 2, (5, 8)),
]

_VOLUMETRIC = [
    conv3d("", [1, 16, 6, 14, 14], [32, 16, 3, 3, 3], (1, 1, 1), (1, 1, 1, 1, 1, 1)),
    conv3d("", [1, 3, 5, 23, 20], [16, 3, 3, 7, 7], (1, 2, 2), (1, 3, 3, 1, 3, 3)),
    conv3d("", [2, 6, 7, 9, 8], [10, 6, 5, 3, 2], (2, 1, 3), (1, 0, 2, 0, 1, 1)),
    conv3d("", [1, 8, 9, 11, 13], [9, 8, 2, 3, 3], (1, 1, 1), (0, 2, 2, 0, 2, 2), (1, 2, 2)),
    conv3d("", [1, 12, 5, 7, 9], [8, 3, 3, 3, 3], (1, 2, 1), (1, 1, 1, 1, 1, 1)),
    conv3d("", [2, 6, 4, 6, 8], [6, 1, 3, 3, 3], (1, 1, 1), (1, 1, 1, 1, 1, 1)),
]

_ON_TENSOR_CORES = [
    conv2d(f"conv2d_nchw_mma_{precision}", *its)
    for precision in ("float16", "tf32", "3xtf32")
    for its in (
        ([1, 64, 14, 14], [64, 64, 3, 3], 1, (1, 1, 1, 1)),
        ([1, 128, 9, 9], [96, 128, 1, 1]),
        ([1, 40, 15, 13], [36, 40, 3, 3], 2, (1, 1, 1, 1)),
        ([2, 16, 7, 9], [100, 16, 3, 5], 1, (1, 0, 2, 1)),
        ([1, 24, 11, 10], [32, 24, 3, 3], 1, (2, 2, 2, 2), 2),
        ([1, 3, 23, 21], [16, 3, 7, 7], 2, (3, 3, 3, 3)),
        ([2, 5, 9, 8], [10, 5, 3, 3], 1, (1, 0, 2, 1)),
        ([1, 21, 8, 7], [75, 21, 1, 1]),
        ([1, 512, 7, 7], [256, 512, 1, 1]),
        ([1, 64, 1, 1], [16, 64, 3, 3], 1, (1, 1, 1, 1)),
    )
]

_OF_WARPGROUPS = [
    *(
        conv2d(f"conv2d_nchw_wgmma_{precision}", *its)
        for precision in ("float16", "tf32", "3xtf32")
        for its in (
            ([1, 64, 14, 14], [64, 64, 3, 3], 1, (1, 1, 1, 1)),
            ([1, 256, 9, 9], [96, 256, 1, 1]),
            ([1, 40, 15, 13], [36, 40, 3, 3], 2, (1, 1, 1, 1)),
            ([2, 16, 7, 9], [100, 16, 3, 5], 1, (1, 0, 2, 1)),
            ([1, 24, 11, 10], [132, 24, 3, 3], 1, (2, 2, 2, 2), 2),
        )
    ),
    *(
        (f"dense_wgmma_{precision}.cuda", [tensor([rows, ins]), tensor([outs, ins]), None, "float32"])
        for precision in ("float16", "tf32", "3xtf32")
        for rows, ins, outs in ((197, 192, 96), (64, 512, 40), (50, 264, 300), (128, 256, 35), (129, 768, 64))
    ),
]

_TRANSPOSED_ON_TENSOR_CORES = [
    transposed(*its, kind=f"_mma_{precision}")
    for precision in ("float16", "tf32", "3xtf32")
    for its in (
        ([1, 64, 8, 6], [64, 32, 4, 4]),
        ([2, 16, 5, 7], [16, 20, 3, 3], 2, (1, 1, 1, 1), 1),
        ([1, 24, 7, 9], [24, 36, 4, 3]),
        ([1, 40, 9, 6], [40, 12, 3, 5], 1, (1, 2, 1, 2)),
        ([1, 8, 6, 10], [8, 7, 5, 5], 3, (2, 2, 2, 2), 2),
        ([1, 32, 8, 9], [32, 16, 2, 2], 2, (0, 0, 0, 0)),
        ([1, 16, 5, 5], [16, 24, 4, 1], 3, (1, 0, 2, 0)),
    )
]

_GROUPED_LAST = [
    conv2d("group_conv2d_nchw_last", [1, 128, 14, 14], [128, 4, 3, 3], 1, (1, 1, 1, 1)),
    conv2d("group_conv2d_nchw_last", [1, 96, 15, 13], [96, 1, 3, 3], 2, (1, 1, 1, 1)),
    conv2d("group_conv2d_nchw_last", [1, 32, 14, 14], [32, 16, 1, 1]),
    conv2d("group_conv2d_nchw_last", [2, 6, 13, 17], [9, 2, 3, 5], 1, (1, 0, 2, 1)),
    conv2d("group_conv2d_nchw_last", [1, 24, 20, 23], [24, 1, 5, 5], 1, (4, 4, 4, 4), 2),
    conv2d("group_conv2d_nchw_last", [1, 12, 9, 3], [8, 6, 3, 3], 1, (1, 1, 1, 1)),
]

_GROUPED_ON_TENSOR_CORES = [
    conv2d(f"group_conv2d_nchw_mma_{precision}", *its)
    for precision in ("float16", "tf32", "3xtf32")
    for its in (
        ([1, 128, 14, 14], [128, 4, 3, 3], 1, (1, 1, 1, 1)),
        ([1, 64, 15, 13], [96, 16, 3, 3], 2, (1, 1, 1, 1)),
        ([2, 96, 9, 8], [96, 48, 1, 1]),
        ([1, 48, 11, 7], [24, 8, 3, 5], 1, (1, 0, 2, 1)),
        ([1, 32, 10, 9], [64, 8, 3, 3], 1, (2, 2, 2, 2), 2),
    )
]

_BATCHED_ON_TENSOR_CORES: list[Workload] = [
    (f"batch_matmul_mma_{precision}.cuda", [*map(tensor, shapes), output, "float32", *transposed])
    for precision in ("float16", "tf32", "3xtf32")
    for output, transposed, shapes in (
        ([12, 49, 49], (0, 1), ([12, 49, 32], [12, 49, 32])),
        ([6, 37, 64], (0, 0), ([6, 37, 37], [6, 37, 64])),
        ([2, 18, 20], (1, 0), ([2, 24, 18], [2, 24, 20])),
        ([1, 128, 100], (1, 1), ([1, 72, 128], [1, 100, 72])),
        ([3, 1, 5], (0, 1), ([3, 1, 7], [3, 5, 7])),
    )
]


_VOLUMETRIC_WINOGRAD = [
    conv3d("_winograd", [2, 6, 5, 7, 9], [10, 6, 3, 3, 3], (1, 1, 1), (1, 0, 2, 0, 1, 1)),
    conv3d("_winograd", [1, 16, 6, 16, 14], [32, 16, 3, 3, 3], (1, 1, 1), (1, 1, 1, 1, 1, 1)),
    conv3d("_winograd", [1, 12, 6, 14, 14], [24, 12, 1, 3, 3], (1, 1, 1), (0, 1, 1, 0, 1, 1)),
    conv3d("_winograd", [1, 8, 9, 11, 8], [12, 8, 3, 5, 5], (2, 1, 1), (1, 2, 2, 1, 2, 2)),
    conv3d("_winograd", [2, 5, 6, 8, 7], [9, 5, 2, 3, 3], (1, 1, 1), (0, 1, 0, 1, 1, 1)),
]


def deformable(
    data: list[int],
    kernel: list[int],
    stride: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: int = 1,
    groups: int = 1,
) -> Workload:
    (batch, _, *size), (_, _, *taps) = data, kernel
    sizes = zip(size, taps, padding[:2], padding[2:], strict=True)
    out = [(length + sum(ends) - (reach - 1) * dilation - 1) // stride + 1 for length, reach, *ends in sizes]
    offset = [batch, 2 * groups * taps[0] * taps[1], *out]
    window = [[stride] * 2, list(padding), [dilation] * 2]
    return "deformable_conv2d_nchw.cuda", [*map(tensor, (data, offset, kernel)), *window, groups, 1, "float32"]


_DEFORMABLE = [
    deformable([1, 16, 14, 14], [32, 16, 3, 3], 1, (1, 1, 1, 1)),
    deformable([1, 8, 15, 13], [12, 8, 3, 3], 2, (1, 1, 1, 1)),
    deformable([2, 6, 9, 11], [10, 6, 3, 5], 1, (1, 2, 1, 2), 1, 2),
    deformable([1, 12, 12, 10], [8, 12, 3, 3], 1, (2, 2, 2, 2), 2, 4),
    deformable([1, 5, 7, 8], [7, 5, 1, 1]),
]

_PRODUCTS = (  # output, whether each factor is transposed, and the factors
    ([3, 48, 64], (0, 1), ([3, 48, 32], [3, 64, 32])),
    ([6, 37, 64], (0, 0), ([6, 37, 37], [6, 37, 64])),
    ([2, 18, 20], (1, 0), ([2, 24, 18], [2, 24, 20])),
    ([1, 128, 100], (1, 1), ([1, 72, 128], [1, 100, 72])),
    ([3, 1, 5], (0, 1), ([3, 1, 7], [3, 5, 7])),
)

_BATCHED: list[Workload] = [
    ("batch_matmul.cuda", [*map(tensor, shapes), output, "float32", *transposed])
    for output, transposed, shapes in _PRODUCTS
]

_ROWS = (2, 77, 130), (49, 96, 64), (197, 64, 33), (128, 256, 40), (5, 1, 3)

_TILED: list[Workload] = [
    conv2d("conv2d_nchw_tiled", [1, 64, 28, 28], [96, 64, 1, 1], 2),
    conv2d("conv2d_nchw_tiled", [2, 48, 14, 14], [80, 48, 1, 1]),
    conv2d("conv2d_nchw_tiled", [1, 3, 33, 31], [32, 3, 7, 7], 2, (3, 3, 3, 3)),
    conv2d("conv2d_nchw_tiled", [2, 6, 13, 17], [10, 6, 3, 3], 1, (1, 0, 2, 1)),
    conv2d("conv2d_nchw_tiled", [1, 8, 20, 23], [24, 8, 3, 5], 1, (2, 2, 2, 2), dilation=2),
    conv2d("conv2d_nchw_tiled", [3, 37, 7, 7], [41, 37, 1, 1], 1, (1, 0, 0, 1)),
    *(("dense_tiled.cuda", dense("large", *sizes)[1]) for sizes in _ROWS),
    *(
        ("batch_matmul_tiled.cuda", [*map(tensor, shapes), output, "float32", *transposed])
        for output, transposed, shapes in _PRODUCTS
    ),
]

_DENSE_ON_TENSOR_CORES: list[Workload] = [
    (f"dense_mma_{precision}.cuda", [tensor([rows, ins]), tensor([outs, ins]), None, "float32"])
    for precision in ("float16", "tf32", "3xtf32")
    for rows, ins, outs in ((197, 64, 96), (16, 512, 40), (33, 72, 100), (9, 256, 35), (64, 24, 8))
]


def channels_last(
    data: list[int],
    kernel: list[int],
    stride: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: int = 1,
    dtypes: tuple[str, str] = ("float16", "float32"),
) -> Workload:
    dtype, out = dtypes
    window = [[stride] * 2, list(padding), [dilation] * 2]
    return "conv2d_nhwc_tensorcore.cuda", [tensor(data, dtype), tensor(kernel, dtype), *window, out]


def half_dense(rows: int, ins: int, outs: int, out: str) -> Workload:
    return "dense_tensorcore.cuda", [tensor([rows, ins], "float16"), tensor([outs, ins], "float16"), None, out]


def half_products(batch: int, rows: int, ins: int, columns: int, out: str) -> Workload:
    tensors = [tensor([batch, rows, ins], "float16"), tensor([batch, columns, ins], "float16")]
    return "batch_matmul_tensorcore.cuda", [*tensors, [batch, rows, columns], out, 0, 1]


_IN_HALF, _FROM_WHOLE = ("float16", "float16"), ("float32", "float32")

_AUTOTVMS_ON_TENSOR_CORES = [
    channels_last([8, 7, 7, 32], [3, 3, 32, 64], 1, (1, 1, 1, 1)),
    channels_last([16, 9, 7, 16], [3, 3, 16, 16], 2, (1, 1, 1, 1), dtypes=_IN_HALF),
    channels_last([32, 5, 6, 48], [1, 1, 48, 8]),
    channels_last([16, 8, 5, 32], [3, 5, 32, 48], 1, (1, 0, 2, 1), dtypes=_IN_HALF),
    channels_last([8, 9, 11, 16], [3, 3, 16, 96], 1, (2, 2, 2, 2), 2),
    channels_last([32, 5, 3, 16], [3, 3, 16, 24], 1, (1, 1, 1, 1), dtypes=_FROM_WHOLE),
    channels_last([48, 3, 4, 112], [2, 1, 112, 80], 2, (1, 0, 0, 0), dtypes=_IN_HALF),
    half_dense(8, 64, 96, "float32"),
    half_dense(16, 48, 80, "float16"),
    half_dense(32, 256, 24, "float16"),
    half_dense(64, 112, 40, "float32"),
    half_dense(24, 32, 64, "float32"),
    half_products(3, 16, 32, 48, "float16"),
    half_products(2, 8, 64, 32, "float16"),
    half_products(4, 32, 48, 24, "float32"),
    half_products(1, 24, 80, 96, "float32"),
    half_products(2, 96, 32, 56, "float16"),
]

WORKLOADS: list[Workload] = [
    *_TRANSPOSED,
    *_GROUPED,
    *_DIRECT,
    *_WINOGRAD,
    *_DENSE_LARGE,
    *_DENSE_SMALL,
    *_DENSE_SMALL_FLOAT16,
    *_DEPTHWISE,
    *_ONE_AXIS,
    *_TRANSPOSED_ROWS,
    *_VOLUMETRIC,
    *_VOLUMETRIC_WINOGRAD,
    *_DEFORMABLE,
    *_BATCHED,
    *_TILED,
    *_ON_TENSOR_CORES,
    *_OF_WARPGROUPS,
    *_TRANSPOSED_ON_TENSOR_CORES,
    *_GROUPED_LAST,
    *_GROUPED_ON_TENSOR_CORES,
    *_BATCHED_ON_TENSOR_CORES,
    *_DENSE_ON_TENSOR_CORES,
    *_AUTOTVMS_ON_TENSOR_CORES,
]
"""At least five for each template."""

MORE_WORKLOADS: list[Workload] = [
    *(
        conv2d(f"conv2d_nchw_wgmma_{precision}", *its)
        for precision in ("float16", "tf32", "3xtf32")
        for its in (
            ([1, 256, 28, 28], [512, 256, 3, 3], 1, (2, 2, 2, 2), 2),
            ([1, 1024, 20, 19], [2048, 1024, 1, 1]),
            ([1, 64, 56, 55], [64, 64, 3, 3], 2, (1, 1, 1, 1)),
        )
    ),
    *(
        (f"dense_wgmma_{precision}.cuda", [tensor([rows, ins]), tensor([outs, ins]), None, "float32"])
        for precision in ("float16", "tf32", "3xtf32")
        for rows, ins, outs in ((128, 768, 3072), (197, 3072, 768), (512, 1000, 1000))
    ),
    *(
        conv3d(kind, *its)
        for kind in ("", "_winograd")
        for its in (
            ([1, 64, 16, 56, 56], [128, 64, 3, 3, 3], (1, 1, 1), (1, 1, 1, 1, 1, 1)),
            ([1, 512, 2, 7, 7], [512, 512, 3, 3, 3], (1, 1, 1), (1, 1, 1, 1, 1, 1)),
            ([1, 256, 8, 14, 14], [256, 256, 1, 3, 3], (1, 1, 1), (0, 1, 1, 0, 1, 1)),
        )
    ),
    conv3d("", [1, 3, 16, 112, 112], [64, 3, 5, 7, 7], (2, 2, 2), (2, 3, 3, 2, 3, 3)),
    conv3d("", [1, 256, 8, 14, 14], [256, 256, 3, 1, 1], (1, 1, 1), (1, 0, 0, 1, 0, 0)),
    conv3d("", [1, 256, 8, 14, 14], [256, 1, 3, 3, 3], (1, 1, 1), (1, 1, 1, 1, 1, 1)),
    deformable([1, 64, 56, 56], [64, 64, 3, 3], 1, (1, 1, 1, 1)),
    deformable([1, 256, 14, 14], [256, 256, 3, 3], 1, (2, 2, 2, 2), 2, 4),
    *(
        ("batch_matmul.cuda", [*map(tensor, shapes), output, "float32", *transposed])
        for output, transposed, shapes in (
            ([12, 128, 128], (0, 1), ([12, 128, 64], [12, 128, 64])),
            ([12, 197, 64], (0, 0), ([12, 197, 197], [12, 197, 64])),
        )
    ),
    conv2d("conv2d_nchw_tiled", [1, 256, 56, 56], [512, 256, 1, 1], 2),
    conv2d("conv2d_nchw_tiled", [4, 1024, 14, 14], [512, 1024, 1, 1]),
    conv2d("conv2d_nchw_tiled", [1, 128, 56, 56], [128, 128, 3, 3], 2, (1, 1, 1, 1)),
    ("dense_tiled.cuda", dense("large", 197, 768, 3072)[1]),
    *(
        ("batch_matmul_tiled.cuda", [*map(tensor, shapes), output, "float32", *transposed])
        for output, transposed, shapes in (
            ([12, 128, 128], (0, 1), ([12, 128, 64], [12, 128, 64])),
            ([1, 784, 512], (0, 0), ([1, 784, 784], [1, 784, 512])),
        )
    ),
    conv1d([1, 512, 196], [512, 512, 3], 1, (1, 1)),
    transposed_row([1, 256, 100], [256, 128, 16], 8, (4,)),
    conv2d("group_conv2d_nchw_last", [1, 64, 28, 28], [64, 1, 3, 3], 1, (1, 1, 1, 1)),
    conv2d("group_conv2d_nchw_last", [1, 256, 14, 14], [512, 8, 3, 3], 2, (1, 1, 1, 1)),
    *(
        conv2d(f"group_conv2d_nchw_mma_{precision}", *its)
        for precision in ("float16", "tf32", "3xtf32")
        for its in (
            ([1, 128, 56, 56], [128, 4, 3, 3], 1, (1, 1, 1, 1)),
            ([1, 512, 14, 14], [512, 16, 3, 3], 2, (1, 1, 1, 1)),
            ([1, 1024, 7, 7], [1024, 32, 3, 3], 1, (1, 1, 1, 1)),
        )
    ),
    *(dense("small", *sizes, "_float16") for sizes in ((1, 25088, 4096), (1, 4096, 1000), (1, 2048, 1000))),
    *(
        transposed(*its, kind=f"_mma_{precision}")
        for precision in ("float16", "tf32", "3xtf32")
        for its in (
            ([1, 2048, 8, 6], [2048, 256, 4, 4]),
            ([1, 256, 16, 12], [256, 256, 4, 4]),
            ([1, 256, 32, 24], [256, 256, 4, 4]),
            ([2, 96, 15, 17], [96, 48, 3, 3], 2, (1, 1, 0, 0)),
        )
    ),
    *(
        (f"batch_matmul_mma_{precision}.cuda", [*map(tensor, shapes), output, "float32", *transposed])
        for precision in ("float16", "tf32", "3xtf32")
        for output, transposed, shapes in (
            ([12, 128, 128], (0, 1), ([12, 128, 64], [12, 128, 64])),
            ([12, 197, 64], (0, 0), ([12, 197, 197], [12, 197, 64])),
            ([64, 49, 49], (0, 1), ([64, 49, 32], [64, 49, 32])),
        )
    ),
    *(
        (f"dense_mma_{precision}.cuda", [tensor([rows, ins]), tensor([outs, ins]), None, "float32"])
        for precision in ("float16", "tf32", "3xtf32")
        for rows, ins, outs in ((128, 768, 3072), (197, 3072, 768), (49, 96, 288))
    ),
]
"""Further ones, of real networks' sizes, for a device: emulating one takes too long for every run of the tests."""
