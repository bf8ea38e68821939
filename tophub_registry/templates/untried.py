"""The expected gain of a template without records on another template's record of the same layer.

Logs tuned with AutoTVM's templates alone have direct convolutions only. On large layers the default config of
Winograd's convolution beats even a tuned direct kernel, since it needs a fourth of the multiplications. On 63 layers of
at least 100 million operations, 34 timed with AVX2 and 29 with AVX-512 code (`benchmarks/untried.py`), it took 0.4
times as long as the record in the median, and 0.82 times at most. On small layers it sometimes loses, so the rule does
not apply to them.

Tiles of several blocks of output channels beat AutoTVM's tiles of one, even with their default config: on 105 layers
it took 0.86 (AVX-512) and 0.72 times (AVX2) as long as the best direct record (geometric means), and at most 1.18 times
if the channels fill the vectors.

The default config of a 1x1 convolution over all pixels takes 0.8 to 1.06 times as long as the best config that seven
tuning runs found for the direct one (geometric means over a model's layers, on AVX2 and AVX-512). So it does not
replace a record.

A transposed convolution with stride 2 needs a fourth of the multiplications without inserted zeros: the default config
for simple_pose's three layers takes 0.25 to 0.3 times as long as their best direct records (AVX2). If fewer than half
of the multiplications are by zeros, it does not replace a record.

Tiles of any number of rows beat AutoTVM's matrix products, even with their default config: dense layers whose number of
rows has no divisor that suits the registers, of which AutoTVM computes one row at a time or all at once, and all
products of activations, whose records took twice as long. For other dense layers the two are equally good.

On a GPU the tiles of any size that `tiled_cuda` estimates to be fastest take 0.66 times as long as the best record of
AutoTVM's direct template (geometric mean of 110 convolutions with 1x1 kernels, of 100 million operations and more, on
an H100; three took longer, at most 1.21 times), and 0.3 times as long for products of activations. Of 83 convolutions
with other kernels a quarter took longer, so they do not replace records.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tophub_registry.templates.convolution_workloads import TransposedConv2d

if TYPE_CHECKING:
    from tophub_registry.templates.template import Template
    from tophub_registry.templates.workloads import Workload

DIRECT, WINOGRAD = "conv2d_NCHWc.x86", "conv2d_NCHWc_winograd.x86"
TILED = "conv2d_NCHWc_tiled.x86"
TRANSPOSED = "conv2d_transpose_NCHWc.x86"
DENSE, DENSE_TILED = ("dense_nopack.x86", "dense_pack.x86"), "dense_tiled.x86"
PRODUCTS, PRODUCTS_TILED = "batch_matmul.x86", "batch_matmul_tiled.x86"

DIRECT_CUDA, TILED_CUDA = "conv2d_nchw.cuda", "conv2d_nchw_tiled.cuda"
PRODUCTS_CUDA, PRODUCTS_TILED_CUDA = "batch_matmul.cuda", "batch_matmul_tiled.cuda"

_TILES = range(4, 17)
"""Rows that `dense_pack.x86` accumulates at once in its good configs."""

_LARGE = 10**8
"""Floating-point operations of the direct convolution."""

_CHANNELS = 16
"""Minimum number of input and output channels: the three of an image leave most of a vector idle."""

_SHARE = 0.7
"""The relative time that nearly all of these layers stay below."""

_TILED_SHARE = 0.85
"""The relative time of tiles of several blocks of channels."""


def expected_share(untried: Template, recorded: Template) -> float | None:
    """Return the expected time of another template's default config, relative to a record of the same layer.

    None if no gain is expected.
    """
    if recorded.task == DIRECT:
        return _share_of_direct(untried)
    if (untried.task, recorded.task) == (PRODUCTS_TILED, PRODUCTS):
        return _SHARE
    if (untried.task, recorded.task) == (PRODUCTS_TILED_CUDA, PRODUCTS_CUDA):
        return _SHARE if untried.flop >= _LARGE else None
    if (untried.task, recorded.task) == (TILED_CUDA, DIRECT_CUDA):
        pointwise = set(untried.workload.inputs[1][2:]) == {1}
        return _SHARE if pointwise and untried.flop >= _LARGE else None
    if untried.task == DENSE_TILED and recorded.task in DENSE:
        rows = untried.workload.output[0]
        suits = rows < _TILES.start or any(rows % tile == 0 for tile in _TILES)
        return None if suits else _SHARE
    return None


def _share_of_direct(untried: Template) -> float | None:
    """Return the expected time of another template's default config, relative to AutoTVM's direct convolution."""
    w = untried.workload
    if untried.task == TRANSPOSED and _mostly_zeros(w):
        return _SHARE
    if untried.task == TILED:
        return _TILED_SHARE if _whole_vectors(w) else None
    if untried.task == WINOGRAD:
        data, kernel = w.inputs
        return _SHARE if untried.flop >= _LARGE and min(data[1], kernel[0]) >= _CHANNELS else None
    return None


def _whole_vectors(workload: Workload) -> bool:
    """Return whether the output's channels fill the vectors of any processor."""
    return workload.output[1] % _CHANNELS == 0


def _mostly_zeros(workload: Workload) -> bool:
    """Return whether at least half of a transposed convolution's direct computation is by inserted zeros."""
    if not isinstance(workload, TransposedConv2d):
        return False
    taps = workload.kernel_height, workload.kernel_width
    needed = [-(-size // stride) for size, stride in zip(taps, workload.strides, strict=True)]
    return 2 * math.prod(needed) <= math.prod(taps)
