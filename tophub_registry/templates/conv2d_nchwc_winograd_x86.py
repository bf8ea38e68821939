"""`conv2d_NCHWc_winograd.x86`: Winograd's convolution in blocked layout, one register tile after the other.

Data `[N, C/ic, H, W, ic]` and output `[N, O/oc, OH, OW, oc]` have the layout of `conv2d_NCHWc.x86`, so either template
can replace the other; the kernel is transformed beforehand. A group of rows of tiles is transformed, multiplied and
transformed back while it is in the cache. This task is this project's own; AutoTVM has none like it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.templates.blocked_x86 import BlockedConvolutionX86
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.prefetch import WEIGHTS, Prefetch, can_prefetch, prefetch
from tophub_registry.templates.space import ConfigSpace, knob, split
from tophub_registry.templates.winograd import Matrix, saving, transforms
from tophub_registry.templates.x86 import (
    MAX_WASTE,
    blocks_of,
    channel_blocks,
    closest_divisor,
    largest_divisor,
    simd_lanes,
    sum_in_registers,
    sums_fill,
    vectors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_TAPS = 3
_SIZES = (2, 4)
_MAX_SUMS = 31
"""The most tiles accumulated at once, one register each, where there are the most registers: AVX-512's 32."""

# Larger blocks of channels, and more blocks at once, are not in the space.
_MAX_BLOCK, _MAX_TOGETHER, _MAX_KEPT = 64, 4, 8

# The default config, from timing the layers of resnet18 and vgg16: with fewer rows, reading the whole kernel for a few
# of them takes longer than computing; more tiles at once do not fit the cache.
_MANY_ROWS = 14
_FEW_BLOCKS = 4
_TILES_AT_ONCE = 14
_TILES_SHARED = 128

_DEPTH = 128
"""About how many channels of a matrix product are added up in registers, where threads share the output's channels."""

_PART_AXIS = 7
"""The place of the parts of a group's tiles among the axes of the products."""


class Conv2dNCHWcWinogradX86(BlockedConvolutionX86):
    """A 3x3 convolution without groups, strides and dilation in blocked layout on an x86 processor."""

    task = "conv2d_NCHWc_winograd.x86"
    packs_late = False
    untuned_share = 1.15
    parse = staticmethod(Conv2d.parse)

    def __init__(self, args: list[Any]) -> None:
        super().__init__(args)
        w = self.workload
        if (w.kernel_height, w.kernel_width, *w.strides, *w.dilation) != (_TAPS, _TAPS, 1, 1, 1, 1):
            raise InputError(f"this template needs a 3x3 kernel, without strides and dilation: {args!r}")

    def _space(self) -> ConfigSpace:
        w = self.workload
        rows = {-(-w.out_height // size) for size in _SIZES}
        at_once = {-(-count // parts) for count in rows for parts in range(1, count + 1)}
        return ConfigSpace(
            [
                split("tile_ic", w.in_channels, parts=2, keep=lambda size: size[-1] <= _MAX_BLOCK),
                split("tile_oc", w.out_channels, parts=4, keep=_worth_trying),
                knob("tile_size", _SIZES),
                knob("tile_rows", sorted(at_once)),
                knob("tile_p", range(1, _MAX_SUMS + 1)),
                knob("parallel_rows", [True, False]),
            ]
        )

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the sums fill the registers, with room for the kernel, and few tiles are wasted."""
        plan = _Plan(self.workload, config)
        kernels = plan.oc_register * -(-plan.oc // simd_lanes(target))
        needed = plan.columns * -(-self.workload.out_height // plan.outputs)
        fills = sums_fill(kernels, plan.tile, target, all_pixels=plan.tile == plan.tiles)
        return fills and plan.padded_tiles * plan.groups <= MAX_WASTE * needed

    def fixed(self, target: Target) -> Mapping[str, int]:
        return self.vector_blocks(target)

    def saving(self, config: Config) -> float:
        return saving(config.value("tile_size"), _TAPS)

    def default(self, target: Target) -> Config:
        """Return a decent config for any processor; AutoTVM has no default for this task."""
        w = self.workload
        _, lanes, registers = vectors(target)
        oc = largest_divisor(w.out_channels, lanes)
        ic = largest_divisor(w.in_channels, lanes)
        size = min(_SIZES, key=lambda size: _expected_time(w, size, lanes))
        rows, columns = -(-w.out_height // size), -(-w.out_width // size)
        # Threads share the rows if there are many, or few blocks of channels; else the output's channels.
        parallel_rows = w.batch * rows >= _MANY_ROWS or w.out_channels // oc < _FEW_BLOCKS
        at_once = _even_part(rows, max(1, (_TILES_AT_ONCE if parallel_rows else _TILES_SHARED) // columns))

        def tile(together: int) -> int:
            return _even_part(at_once * columns, (registers - 2) // together - 1)

        preferred = (1, 2) if size == min(_SIZES) else (2, 1)  # of two with as many sums
        choices = [together for together in preferred if w.out_channels // oc % together == 0]
        together = max(choices, key=lambda together: together * tile(together))
        return self.space.config_of(
            {
                "tile_ic": blocks_of(w.in_channels, ic),
                "tile_oc": [w.out_channels // (oc * together), 1, together, oc],
                "tile_size": size,
                "tile_rows": at_once,
                "tile_p": tile(together),
                "parallel_rows": parallel_rows,
            }
        )

    def promising(self, target: Target) -> bool:
        """Return whether the direct computation is expected to take longer; it needs a product for each pixel and tap.

        Its weights are read while others are multiplied, so that few pixels cost it nothing more.
        """
        w, lanes = self.workload, simd_lanes(target)
        pixels = w.batch * w.out_height * w.out_width
        return min(_expected_time(w, size, lanes) for size in _SIZES) < _TAPS**2 * pixels

    def kernel_shape(self, config: Config) -> tuple[int, ...]:
        w, plan = self.workload, _Plan(self.workload, config)
        return plan.oc_outer, plan.size, plan.size, plan.oc_cache, w.in_channels, plan.oc_register, plan.oc

    def pack_kernel(self, config: Config, kernel: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        plan = _Plan(self.workload, config)
        g = np.array(transforms(plan.outputs, _TAPS).kernel, dtype=np.float64)
        transformed = np.einsum("ay,bx,ocyx->ocab", g, g, kernel.astype(np.float64), optimize=True)
        shape = plan.oc_outer, plan.oc_cache, plan.oc_register, plan.oc, kernel.shape[1], plan.size, plan.size
        packed: NDArray[Any] = transformed.reshape(shape).transpose(0, 5, 6, 1, 4, 2, 3).astype(kernel.dtype)
        return packed

    def computation(self, config: Config) -> list[Any]:
        from tvm import te, tirx

        w, plan = self.workload, _Plan(self.workload, config)
        top, left, _, _ = w.padding
        zero = tirx.const(0, w.dtype)
        m, size, ic, oc = plan.outputs, plan.size, plan.ic, plan.oc
        mid, inner = plan.oc_cache, plan.oc_register
        matrices = transforms(m, _TAPS)
        data, kernel = self.placeholders(config)
        chunks, width = w.in_channels // ic, plan.columns * m + _TAPS - 1

        # A `Select` evaluates both values, and TVM removes a bound on the row that its condition implies.
        def vertical_at(n: Any, g: Any, k: Any, r: Any, a: Any, x: Any, v: Any) -> Any:
            def row(i: int) -> Any:
                y = (g * plan.rows + r) * m + i - top
                return tirx.if_then_else(tirx.all(y >= 0, y < w.height), data[n, k, y, x - left, v], zero)

            inside = tirx.all(x >= left, x < left + w.width)
            return tirx.if_then_else(inside, _row_of(matrices.data, a, row), zero)

        vertical = te.compute(
            (w.batch, plan.groups, chunks, plan.rows, size, width, ic), vertical_at, name="data_vertical"
        )

        # A group is padded with copies of its last tile.
        def horizontal(n: Any, g: Any, a: Any, b: Any, k: Any, p: Any, v: Any) -> Any:
            tile = p if plan.padded_tiles == plan.tiles else te.min(p, plan.tiles - 1)
            r, column = te.indexdiv(tile, plan.columns), te.indexmod(tile, plan.columns)
            return _row_of(matrices.data, b, lambda j: vertical[n, g, k, r, a, column * m + j, v])

        transformed = te.compute(
            (w.batch, plan.groups, size, size, chunks, plan.padded_tiles, ic), horizontal, name="data_pack"
        )
        # Parts and tiles of a part are separate axes, so that the last part is computed as a whole.
        matrix = w.batch, plan.groups, plan.oc_outer, size, size, mid
        tiles = plan.padded_tiles // plan.tile, plan.tile, inner, oc
        s, c = (te.reduce_axis((0, extent), name=name) for extent, name in ((plan.depth, "s"), (ic, "c")))

        def term(*axes: Any) -> Any:
            n, g, oo, a, b, om, k, part, p, oi, v = axes
            chunk = k * plan.depth + s
            value = transformed[n, g, a, b, chunk, part * plan.tile + p, c]
            return te.sum(value * kernel[oo, a, b, om, chunk * ic + c, oi, v], axis=[s, c])

        steps = chunks // plan.depth
        partial = te.compute((*matrix, steps, *tiles), term, name="partial")
        k = te.reduce_axis((0, steps), name="k")
        product = te.compute(
            (*matrix, *tiles),
            lambda n, g, oo, a, b, om, *tile: te.sum(partial(n, g, oo, a, b, om, k, *tile), axis=k),
            name="bgemm",
        )
        shape = (w.batch, w.out_channels // oc, plan.groups * plan.rows, plan.columns)

        def columns(n: Any, o: Any, row: Any, column: Any, i: Any, b: Any, v: Any) -> Any:
            g, p = te.indexdiv(row, plan.rows), te.indexmod(row, plan.rows) * plan.columns + column
            oo, om, oi = te.indexdiv(o, mid * inner), te.indexmod(te.indexdiv(o, inner), mid), te.indexmod(o, inner)
            part, rest = te.indexdiv(p, plan.tile), te.indexmod(p, plan.tile)
            return _row_of(matrices.output, i, lambda a: product[n, g, oo, a, b, om, part, rest, oi, v])

        inverse_vertical = te.compute((*shape, m, size, oc), columns, name="inverse_vertical")
        inverse = te.compute(
            (*shape, m, m, oc),
            lambda n, o, row, column, i, j, v: _row_of(
                matrices.output, j, lambda b: inverse_vertical[n, o, row, column, i, b, v]
            ),
            name="inverse",
        )
        output = te.compute(
            self.tensors(config)[-1].shape,
            lambda n, o, h, x, v: inverse[
                n, o, te.indexdiv(h, m), te.indexdiv(x, m), te.indexmod(h, m), te.indexmod(x, m), v
            ],
            name="conv2d_NCHWc_winograd",
        )
        return [data, kernel, output]

    def apply(self, sch: Any, config: Config) -> None:
        plan = _Plan(self.workload, config)
        output = sch.get_sblock("conv2d_NCHWc_winograd")
        n, oc, oh, ow, block = sch.get_loops(output)
        oc_outer, oc_inner = sch.split(oc, [None, plan.oc_cache * plan.oc_register])
        group, row, oh = sch.split(oh, [None, plan.rows, plan.outputs])
        column, ow = sch.split(ow, [None, plan.outputs])
        sch.reorder(n, group, oc_outer, oc_inner, row, column, oh, ow, block)
        _unroll(sch, oh, ow)
        sch.vectorize(block)
        for name in ("inverse", "inverse_vertical"):
            sch.compute_at(sch.get_sblock(name), column, preserve_unit_loops=True)
            *_, y, x, block = sch.get_loops(sch.get_sblock(name))
            if name == "inverse_vertical":
                sch.reorder(x, y)  # each column of products is read once
            _unroll(sch, y, x)
            sch.vectorize(block)
        product = sch.get_sblock("bgemm")
        sch.compute_at(product, oc_outer, preserve_unit_loops=True)
        *_, part, p, oc_register, block, step = sch.get_loops(product)
        sch.reorder(step, part, p, oc_register, block)
        sch.compute_at(sch.get_sblock("partial"), part, preserve_unit_loops=True)
        chunk = self._schedule_transform(sch, plan, group)
        if plan.parallel_rows:
            sch.parallel(sch.fuse(n, group))
        else:
            sch.parallel(oc_outer)
            sch.parallel(chunk)
        _schedule_product(sch, plan, product)

    def _schedule_transform(self, sch: Any, plan: _Plan, group: Any) -> Any:
        """Transform the data of a group of rows chunk by chunk of the channels; return the loop over chunks."""
        transformed, vertical = sch.get_sblock("data_pack"), sch.get_sblock("data_vertical")
        sch.compute_at(transformed, group, preserve_unit_loops=True)
        *_, a, b, chunk, p, block = sch.get_loops(transformed)
        sch.reorder(chunk, p, a, b, block)
        sch.unroll(b)
        sch.vectorize(block)
        if plan.padded_tiles == plan.tiles:
            row, _ = sch.split(p, [plan.rows, plan.columns])
            chunk = sch.fuse(chunk, row)
        sch.compute_at(vertical, chunk, preserve_unit_loops=True)
        *_, a, x, block = sch.get_loops(vertical)
        sch.reorder(x, a, block)
        sch.unroll(a)
        sch.vectorize(block)
        return chunk


def _expected_time(w: Conv2d, size: int, lanes: int) -> int:
    """Return the expected time of tiles with `size * size` outputs, in multiplications for each two channels.

    Small images have few tiles, and larger tiles take more numbers of the kernel. Reading such a number from memory
    takes as long as multiplying it with the data of `lanes` tiles (17 layers, timed with AVX2 and AVX-512 code).
    """
    tiles = w.batch * -(-w.out_height // size) * -(-w.out_width // size)
    return (size + _TAPS - 1) ** 2 * (tiles + lanes)


def _worth_trying(tile_oc: Sequence[int]) -> bool:
    _, kept, together, block = tile_oc
    return kept <= _MAX_KEPT and together <= _MAX_TOGETHER and block <= _MAX_BLOCK


def _schedule_product(sch: Any, plan: _Plan, product: Any) -> None:
    *_, step, _, p, oc_register, block = sch.get_loops(product)
    _unroll(sch, p, oc_register)
    sch.vectorize(block)
    partial = sch.get_sblock("partial")
    init = sch.decompose_reduction(product, step)
    sch.vectorize(sch.get_loops(init)[-1])
    *_, p, oc_register, block, s, c = sch.get_loops(partial)
    sch.reorder(s, c, p, oc_register, block)
    _unroll(sch, p, oc_register)
    sch.vectorize(block)
    sum_in_registers(sch, partial, s, block)
    row = plan.oc_register * plan.oc
    if can_prefetch(plan.tile * row):
        panel = plan.depth * plan.ic * row
        parts = plan.padded_tiles // plan.tile
        prefetch(sch, s, Prefetch(WEIGHTS, panel, plan.ic * row, part=_PART_AXIS, parts=parts))


def _unroll(sch: Any, *loops: Any) -> None:
    for loop in loops:
        sch.unroll(loop)


def _even_part(number: int, limit: int) -> int:
    """Return the length, at most `limit`, of equal parts that cover `number` with the least waste."""
    fewest = min(range(max(1, limit // 2), limit + 1), key=lambda part: (-(-number // part) * part, -part))
    return min(number, fewest)


class _Plan:
    """The numbers that follow from a config.

    Attributes
    ----------
    channels
        Channels of the input.
    ic, oc
        Channels in a block of the input, and of the output.
    oc_register, oc_cache, oc_outer
        Blocks of the output: accumulated at once, kept as products before they are transformed back, and the
        rest.
    outputs, size
        Side lengths of a tile of outputs, and of the data it needs.
    rows, columns, groups
        Rows of tiles in a group, tiles in a row, and the number of groups.
    tile, tiles, padded_tiles
        Tiles accumulated in registers at once, tiles of a group, and the same rounded up.
    parallel_rows
        Whether the threads share the groups; else they share each group's channels.
    depth
        Blocks of the input that are added up in registers. If threads share the channels, a part of the kernel so deep
        stays in the first-level cache for all tiles of a group.
    """

    def __init__(self, workload: Conv2d, config: Config) -> None:
        self.channels = workload.in_channels
        self.ic, self.oc = channel_blocks(config)
        _, self.oc_cache, self.oc_register, _ = config.value("tile_oc")
        self.oc_outer = workload.out_channels // (self.oc_cache * self.oc_register * self.oc)
        self.outputs = config.value("tile_size")
        self.size = self.outputs + _TAPS - 1
        self.rows = config.value("tile_rows")
        self.columns = -(-workload.out_width // self.outputs)
        self.groups = -(-workload.out_height // (self.outputs * self.rows))
        self.tile = config.value("tile_p")
        self.tiles = self.rows * self.columns
        self.padded_tiles = -(-self.tiles // self.tile) * self.tile
        self.parallel_rows = config.value("parallel_rows")
        blocks = self.channels // self.ic
        self.depth = blocks if self.parallel_rows else closest_divisor(blocks, _DEPTH / self.ic)


def _row_of(matrix: Matrix, index: Any, value: Callable[[int], Any]) -> Any:
    """Return the entry `index` of the transposed matrix times a vector, without terms that are zero.

    If the loop over `index` is unrolled, one sum remains.

    Parameters
    ----------
    value
        Entry of the vector.
    """
    from tvm import tirx

    sums = [_sum(column, value) for column in zip(*matrix, strict=True)]
    result = sums.pop()
    for i, total in reversed(list(enumerate(sums))):
        result = tirx.Select(index == i, total, result)
    return result


def _sum(factors: Sequence[Fraction], value: Callable[[int], Any]) -> Any:
    """Return the sum of factors times values, written so that a matrix's sums share subexpressions.

    1 and -1 are roots of most of the data's polynomials, which then are sums of differences of every other value; and
    the outputs are sums of the sum and the difference of the values at these two points.
    """
    quotient = _divided_by_square_less_one(factors)
    if quotient is not None:
        return _plain_sum([(factor, value(i + 2) - value(i)) for i, factor in enumerate(quotient)])
    _, minus, plus, *_ = factors
    terms = [(factor, value(i)) for i, factor in enumerate(factors)]
    if abs(minus) == plus:
        pair = value(2) + value(1) if minus > 0 else value(2) - value(1)
        terms = [(plus, pair), terms[0], *terms[3:]]
    return _plain_sum(terms)


def _plain_sum(terms: Sequence[tuple[Fraction, Any]]) -> Any:
    total = None
    for factor, value in sorted(terms, key=lambda term: (abs(term[0]) != 1, term[0] < 0)):
        if factor == 0:
            continue
        product = value if abs(factor) == 1 else value * float(abs(factor))
        if total is None:
            total = product if factor > 0 else -product
        else:
            total = total + product if factor > 0 else total - product
    return total


def _divided_by_square_less_one(polynomial: Sequence[Fraction]) -> list[Fraction] | None:
    """Divide a polynomial, its lowest coefficient first, by `x**2 - 1`; None if there is a remainder."""
    rest = list(polynomial)
    for power in reversed(range(len(rest) - 2)):
        rest[power] += rest[power + 2]
    return None if any(rest[:2]) else rest[2:]
