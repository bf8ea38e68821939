"""What the templates for x86 share: vector widths, knobs, and tiles of outputs accumulated in registers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.records.families import Vectors, vectors_of
from tophub_registry.templates.space import KnobSpace, divisors, knob, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target
    from tophub_registry.templates.convolution_workloads import Conv2d
    from tophub_registry.templates.space import ConfigSpace

MAX_TILE = 64
"""The widest tile of outputs in AutoTVM's spaces of convolutions."""

MAX_REGISTER_TILE = 31
"""The most vectors that AutoTVM's default configs accumulate at once; one of 32 registers is for the kernel."""

MAX_TOGETHER = 6
"""The most blocks of output channels that a convolution of our own templates accumulates at once."""

MAX_WASTE = 1.3
"""The most outputs that tiles compute, as a multiple of those needed."""

MIN_SUMS = 6
"""The least number of independent sums: with fewer, additions wait for one another."""

_LOAD = 0.3
"""The time of a load, relative to that of a multiplication, where the two go on at once."""

_FEW_REGISTERS = 16
"""The vector registers of AVX2 and before."""

_PACED_BY_LOADS = 1.25
"""The time of a tile that loads more than it multiplies, relative to others, where each factor is loaded by itself."""

_MAX_BLOCK = 64
"""The most channels in a block, where kernels are packed for a template of our own."""

_MAX_TILE = 2
"""The most vectors in a tile of sums, as a multiple of the registers. Kernels with more took the longest to compile,
and at least twice as long to run as the best."""

_MAX_WRITTEN_OUT = 2048
"""The most unrolled vector instructions of a dense layer's kernel; the best kernels have a tenth as many."""

_UNKNOWN = Vectors("x86-64", 4, 16)
"""The least that any processor with vectors has."""


def vectors(target: Target) -> Vectors:
    """Return the vector registers that kernels for a target are tiled for."""
    return vectors_of(target) or _UNKNOWN


def simd_lanes(target: Target) -> int:
    """Return how many 32-bit numbers a vector register of the target holds: 4, 8 or 16."""
    return vectors(target).lanes


def largest_divisor(number: int, limit: int) -> int:
    """Return the largest divisor of `number` that is at most `limit`."""
    return next(factor for factor in range(limit, 0, -1) if number % factor == 0)


def closest_divisor(number: int, wanted: float) -> int:
    """Return the divisor of `number` that differs from `wanted` by the smallest factor."""
    return min(divisors(number), key=lambda factor: max(factor / wanted, wanted / factor))


def sums_fit(block: int, pixels: int, target: Target, share: float = _MAX_TILE) -> bool:
    """Return whether a tile of pixels, each a block of channels, takes no more than a share of the target's registers.

    Parameters
    ----------
    share
        By default so much that larger tiles are never worth trying.
    """
    _, lanes, registers = vectors(target)
    return -(-block // lanes) * pixels <= share * registers


def sums_fill(kernels: int, pixels: int, target: Target, *, all_pixels: bool) -> bool:
    """Return whether a tile's sums fill the registers, with room for a row of the kernel.

    Parameters
    ----------
    kernels
        Vectors of the kernel that are multiplied with each of the tile's pixels.
    pixels
        Pixels, rows or tiles that are accumulated at once.
    all_pixels
        Whether there are no more, so that few sums are no fault.
    """
    return kernels * (pixels + 1) < vectors(target).registers and (kernels * pixels >= MIN_SUMS or all_pixels)


def relative_time(kernels: int, pixels: int, kernel_load: float, registers: int) -> float:
    """Return the time that a tile takes for each of its sums, relative to that of a multiplication.

    Parameters
    ----------
    kernels, pixels
        See `sums_fill`.
    kernel_load
        The time of a load of the kernel, relative to one of the data: it comes from a farther cache.
    registers
        How many vector registers there are. With AVX-512's 32, a multiplication loads one of its factors itself.
    """
    sums = kernels * pixels
    paced = _PACED_BY_LOADS if kernels + pixels > sums and registers <= _FEW_REGISTERS else 1.0
    return paced * max(1.0, MIN_SUMS / sums) * (1 + _LOAD * (pixels + kernel_load * kernels) / sums)


def width_of_sums(width: int, target: Target, *, vectors_each: int = 1) -> int:
    """Return a good number of pixels of a row to compute at once: a divisor of its width.

    Their sums take about half of the registers. Of 775 depthwise kernels from tuning runs on a Xeon, those with 7 or
    8 sums took 1.03 times as long as the best one of their layer on AVX2 (median), those with 14 twice and with 28
    three times as long; on AVX-512 it is 1.17, 1.15 and 1.75 times.

    Parameters
    ----------
    vectors_each
        The vectors of a pixel.
    """
    return closest_divisor(width, vectors(target).registers / 2 / vectors_each)


def with_width_of_sums(space: ConfigSpace, config: Config, target: Target) -> Config:
    """Return a config with another `tile_ow`: AutoTVM's defaults take up to 31 registers, on any processor."""
    values = {knob.name: knob.value for knob in config.entity}
    width = math.prod(values["tile_ow"])
    return space.config_of(values | {"tile_ow": blocks_of(width, width_of_sums(width, target))})


def panel_worth_trying(tile_oc: Sequence[int]) -> bool:
    """Return whether a split of channels into panels, blocks of a panel, and channels of a block is in a space."""
    _, together, block = tile_oc
    return together <= MAX_TOGETHER and block <= _MAX_BLOCK


def written_out(length: int, times: int, target: Target) -> bool:
    """Return whether operations on this many numbers, unrolled so often, are compiled within a few seconds."""
    return -(-length // simd_lanes(target)) * times <= _MAX_WRITTEN_OUT


def channel_blocks(config: Config) -> tuple[int, int]:
    """Return the number of channels in a block of a convolution's input, and of its output."""
    return config.value("tile_ic")[-1], config.value("tile_oc")[-1]


def into_blocks(image: NDArray[Any], block: int) -> NDArray[Any]:
    """Return an array `[N, C, H, W]` as `[N, C/block, H, W, block]`."""
    n, c, h, w = image.shape
    return image.reshape(n, c // block, block, h, w).transpose(0, 1, 3, 4, 2)


def out_of_blocks(image: NDArray[Any]) -> NDArray[Any]:
    """Return an array `[N, C/block, H, W, block]` as `[N, C, H, W]`."""
    n, chunks, h, w, block = image.shape
    return image.transpose(0, 1, 4, 2, 3).reshape(n, chunks * block, h, w)


def row_knobs(w: Conv2d) -> list[KnobSpace]:
    """Return the knobs of a convolution that computes a few pixels of a row at a time."""
    return [
        split("tile_ic", w.in_channels, parts=2),
        split("tile_oc", w.out_channels, parts=2),
        split("tile_ow", w.out_width, parts=2, keep=lambda size: size[-1] <= MAX_TILE),
        knob("unroll_kw", [True, False]),
    ]


def blocks_of(size: int, block: int) -> list[int]:
    """Return the value of a knob that splits channels, or a row's pixels, into blocks."""
    return [size // block, block]


def sum_by_taps(sch: Any, conv: Any, config: Config, ic_block: int, lanes: int | None = None, *, axes: int = 2) -> None:
    """Order a convolution's reduction: blocks of input channels, the kernel's rows and columns, channels.

    Parameters
    ----------
    sch
        The `tvm.s_tir.Schedule`.
    conv
        The block; its innermost loops are pixels, output channels, input channels, rows and columns of the kernel.
    config
        With `unroll_kw` the kernel's columns are innermost, and unrolled.
    ic_block
        The input channels to go through before the next tap.
    lanes
        Output channels of a vector; None: all of the block.
    axes
        The axes that the kernel moves along, of which columns are the last.
    """
    ow, block, ic, *rows, kw = sch.get_loops(conv)[-3 - axes :]
    *vectors, block = sch.split(block, [None, lanes]) if lanes is not None else (block,)
    ic_outer, ic_inner = sch.split(ic, [None, ic_block])
    if config.value("unroll_kw"):
        sch.reorder(*vectors, ic_outer, *rows, ic_inner, kw, ow, block)
        sch.unroll(kw)
    else:
        sch.reorder(*vectors, ic_outer, *rows, kw, ic_inner, ow, block)
    for loop in (*vectors, ow):
        sch.unroll(loop)
    sch.vectorize(block)
    sum_in_registers(sch, conv, ic_outer, block)


def sum_in_registers(sch: Any, block: Any, reduction: Any, vectorized: Any) -> None:
    """Keep the tile that `block` accumulates in registers: initialise it before the loop `reduction`.

    Parameters
    ----------
    sch
        The `tvm.s_tir.Schedule`.
    block
        A reduction whose loops inside of `reduction` are unrolled, the innermost one vectorised.
    reduction, vectorized
        The outermost loop of the reduction, and the loop over a vector's lanes.
    """
    depth = next(i for i, loop in enumerate(sch.get_loops(block)) if sch.get(loop).same_as(sch.get(reduction)))
    lanes = int(sch.get(vectorized).extent)
    init = sch.decompose_reduction(block, reduction)
    # The initialisation has the tile's loops, except those of length one, without their annotations.
    tile = sch.get_loops(init)[depth:]
    if lanes > 1:
        sch.vectorize(tile.pop())
    for loop in tile:
        sch.unroll(loop)


def schedule_dot_products(sch: Any, total: Any, config: Config) -> None:
    """Compute tiles of `tile_y` times `tile_x` outputs in parallel, each a sum of the lanes of the block `partial`.

    Parameters
    ----------
    sch
        The `tvm.s_tir.Schedule`.
    total
        The block that adds up the lanes; its last loops are rows, columns and lanes.
    """
    partial = sch.get_sblock("partial")
    *batch, y, x, lane = sch.get_loops(total)
    y_outer, y_inner = sch.split(y, [None, config.value("tile_y")[-1]])
    x_outer, x_inner = sch.split(x, [None, config.value("tile_x")[-1]])
    sch.reorder(y_outer, x_outer, y_inner, x_inner)
    tile = sch.fuse(*batch, y_outer, x_outer)
    sch.parallel(tile)
    sch.unroll(lane)

    sch.compute_at(partial, tile, preserve_unit_loops=True)
    *_, y, x, lane, k = sch.get_loops(partial)
    outputs = sch.fuse(y, x)
    sch.reorder(k, outputs, lane)
    sch.unroll(outputs)
    sch.vectorize(lane)
    sum_in_registers(sch, partial, k, lane)
    sch.decompose_reduction(total, sch.get_loops(total)[-1])
