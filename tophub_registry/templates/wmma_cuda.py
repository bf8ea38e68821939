"""What AutoTVM's templates for tensor cores share: products of matrices in float16, tile by tile.

A block of threads computes a tile of one product, which its warps divide between them by rows and columns. A warp's
part consists of tiles that tensor cores compute at once: 16 x 16, 8 x 32 or 32 x 8 sums (`wmma_m` is the number of
rows). Data and weights are fetched into shared memory for `chunk` times 16 channels of one tap of a kernel; rows there
are `offset` elements further apart than they are long. Sums are of the output's type, and are written from shared
memory too.

A block is not larger than the output, as in AutoTVM. Where blocks do not divide the output, or steps the channels, what
is beyond them is computed from zeros.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from tophub_registry.templates import cuda
from tophub_registry.templates.mma import PASS_CONFIG
from tophub_registry.templates.mma_cuda import Product, rounded_up
from tophub_registry.templates.space import ConfigSpace, knob
from tophub_registry.templates.template import Tensor
from tophub_registry.templates.tensor_intrinsics import WARP
from tophub_registry.templates.wmma import DEPTH, TILES
from tophub_registry.templates.wmma_schedule import Tiling, WmmaSchedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target
    from tophub_registry.templates.convolution_workloads import Conv2dNHWC
    from tophub_registry.templates.product_workloads import BatchMatmul, Matmul

_CAPABILITY = 70
"""The compute capability, in tenths, from which there are tensor cores."""

_HALF, _WHOLE = "float16", "float32"

_GROUPS = ("block_row_warps", "block_col_warps", "warp_row_tiles", "warp_col_tiles")
"""The knobs that say how many warps a block has, and how many tiles a warp, along rows and columns."""

_BYTES = {_HALF: 2, _WHOLE: 4}

_UNIT = 8
"""Rows, columns and channels are multiples of it, and vectors are not longer."""

_VECTOR_BYTES = 16
"""What a thread reads or writes at once, at most."""


class WmmaTemplate(cuda.CudaTemplate):
    """A layer on tensor cores, by AutoTVM's config space."""

    workload: Conv2dNHWC | Matmul | BatchMatmul
    pass_config = PASS_CONFIG
    tolerance = 2e-2  # sums in float16 are rounded with every tile of products

    sizes: ClassVar[str]
    """What rows, channels and columns are called."""
    vector: ClassVar[str] = "vec"
    """The knob that says how many elements a thread reads or writes at once."""
    sums_offset: ClassVar[str] = "offsetCS"
    """The knob that says how much further apart rows of sums in shared memory are."""
    preferred: ClassVar[tuple[int, ...]] = (32, 16, 8)
    """The rows of tiles in the order in which AutoTVM takes the first that fits for its default."""
    transposed: ClassVar[bool] = True
    """Whether the weights have a row for each output column; else they have one for each channel."""
    batched: ClassVar[bool] = False
    """Whether each product has weights of its own."""
    converted: ClassVar[tuple[str, ...]] = ()
    """Types besides float16 that are converted to it when they are fetched."""

    @property
    @abstractmethod
    def product(self) -> Product:
        """The layer as products of matrices."""

    @abstractmethod
    def seen(self, batch: Any, row: Any, tap: Any, channel: Any) -> tuple[list[Any], list[Any]]:
        """Return where in the data a row's channel lies for a tap, and the conditions for it to be there.

        `batch` is the product's number.
        """

    @abstractmethod
    def weight(self, batch: Any, tap: Any, channel: Any, column: Any) -> list[Any]:
        """Return where in the weights a column's channel lies for a tap."""

    @abstractmethod
    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Return the product's number, the row and the column of an output."""

    def _not_served(self) -> str:
        p, w = self.product, self.workload
        served = (_HALF, *self.converted)
        if w.dtype not in served:
            return f"its data and weights are {w.dtype}, not {' or '.join(served)}"
        if w.out_dtype not in _BYTES:
            return f"its output is {w.out_dtype}, not {_HALF} or {_WHOLE}"
        if p.channels % DEPTH or not self._fitting():
            shapes = " or ".join(str((rows, DEPTH, columns)) for rows, columns in TILES.values())
            return f"its {self.sizes} {p.rows, p.channels, p.columns} are no multiples of {shapes}"
        return ""

    def _fitting(self) -> list[int]:
        """Return the rows of those tiles that divide the output."""
        p = self.product
        return [rows for rows in self.preferred if p.rows % rows == 0 and p.columns % TILES[rows][1] == 0]

    def _space(self) -> ConfigSpace:
        first, *_ = self._fitting()
        offsets = [knob(name, [0, 8]) for name in dict.fromkeys(("offset", self.sums_offset))]
        return ConfigSpace(
            [
                *(knob(name, [1, 2, 4]) for name in _GROUPS),
                knob("chunk", [1, 2, 4, 8]),
                *offsets,
                knob(self.vector, [1, 2, 4, 8]),
                knob("wmma_m", [first, *(rows for rows in TILES if rows != first)]),
            ]
        )

    def tiling(self, config: Config) -> Tiling:
        """Return how a config divides a product."""
        p, tile = self.product, TILES[config.value("wmma_m")]
        tiles, warps = [], []
        for extent, side, direction in zip((p.rows, p.columns), tile, ("row", "col"), strict=True):
            all_tiles = -(-extent // side)
            tiles.append(min(config.value(f"warp_{direction}_tiles"), all_tiles))
            warps.append(min(config.value(f"block_{direction}_warps"), -(-all_tiles // tiles[-1])))
        depth = config.value("chunk") * DEPTH
        columns = tile[1] * config.value("warp_col_tiles") * config.value("block_col_warps")
        offset = config.value("offset")
        strides = (
            depth + offset,
            (depth if self.transposed else columns) + offset,
            columns + config.value(self.sums_offset),
        )
        return Tiling(tile, (tiles[0], tiles[1]), (warps[0], warps[1]), min(depth, p.channels), strides)

    def _shared_bytes(self, config: Config) -> tuple[int, int, int]:
        """Return the bytes of shared memory for data, for weights, and for the sums, which come later."""
        tiling = self.tiling(config)
        rows, columns = tiling.block
        heights = rows, columns if self.transposed else tiling.depth, rows
        data, weights, sums = (height * stride for height, stride in zip(heights, tiling.strides, strict=True))
        return _BYTES[_HALF] * data, _BYTES[_HALF] * weights, _BYTES[self.workload.out_dtype] * sums

    def limits(self, config: Config) -> cuda.CudaLimits:
        tiling = self.tiling(config)
        data, weights, sums = self._shared_bytes(config)
        each = math.prod(tiling.tile) * math.prod(tiling.tiles) // WARP
        threads = WARP, tiling.warps[0], tiling.warps[1]
        return cuda.CudaLimits(threads, max(data + weights, sums), sums=each)

    def possible(self, config: Config) -> bool:
        """Return whether any CUDA device can run such a grid: each product's blocks are along x and y."""
        blocks = -(-self.product.columns // self.tiling(config).block[1])
        return max(self.product.batch, blocks) <= cuda.MAX_BLOCKS_Z and super().possible(config)

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the GPU has tensor cores, and AutoTVM builds a right kernel of a config too.

        Tiles, blocks and steps must divide the layer, all warps have work, and what a thread reads or writes at once
        have at most 16 bytes.
        """
        p, w, tiling = self.product, self.workload, self.tiling(config)
        pairs = zip((p.rows, p.columns, p.channels), (*tiling.block, tiling.depth), strict=True)
        vector = config.value(self.vector) * max(_BYTES[w.dtype], _BYTES[w.out_dtype])
        return (
            cuda.has_capability(target, _CAPABILITY)
            and all(extent % part == 0 for extent, part in pairs)
            and tiling.warps == (config.value("block_row_warps"), config.value("block_col_warps"))
            and vector <= _VECTOR_BYTES
            and self._autotvms_shared_bytes(config) <= cuda.MAX_SHARED_BYTES
            and self.possible(config)
        )

    def _autotvms_shared_bytes(self, config: Config) -> int:
        """Return the bytes of shared memory that a block of AutoTVM's takes.

        Sums replace the larger one of data and weights if they fit into its memory; in float16, the memory grows.
        """
        data, weights, sums = self._shared_bytes(config)
        beyond = max(0, sums - max(data, weights))
        return data + weights + (sums if beyond and self.workload.out_dtype != _HALF else beyond)

    def tensors(self, config: Config) -> list[Tensor]:
        w = self.workload
        *given, out = super().tensors(config)
        return [*given, Tensor(out.shape, w.out_dtype)]

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        p, dtype, tiling = self.product, self.workload.out_dtype, self.tiling(config)
        data, kernel = self.placeholders(config)
        rows, columns = (rounded_up(*pair) for pair in zip((p.rows, p.columns), tiling.block, strict=True))
        channels = rounded_up(p.channels, tiling.depth)

        def left(batch: Any, tap: Any, row: Any, channel: Any) -> Any:
            at, inside = self.seen(batch, row, tap, channel)
            inside += _within(row, p.rows, rows) + _within(channel, p.channels, channels)
            return _half(data[tuple(at)], inside)

        def right(batch: Any, tap: Any, channel: Any, column: Any) -> Any:
            inside = _within(column, p.columns, columns) + _within(channel, p.channels, channels)
            return _half(kernel[tuple(self.weight(batch, tap, channel, column))], inside)

        one = te.compute((p.batch, p.taps, rows, channels), left, name="left")
        sets = p.batch if self.batched else 1
        if self.transposed:
            other = te.compute((sets, p.taps, columns, channels), lambda z, t, n, k: right(z, t, k, n), name="right")
        else:
            other = te.compute((sets, p.taps, channels, columns), right, name="right")
        tap, channel = te.reduce_axis((0, p.taps), name="tap"), te.reduce_axis((0, channels), name="channel")

        def product(z: Any, m: Any, n: Any) -> Any:
            matrix = z if self.batched else 0, tap
            weight = (*matrix, n, channel) if self.transposed else (*matrix, channel, n)
            factors = one[z, tap, m, channel], other[weight]
            x, y = (factor if dtype == _HALF else factor.astype(dtype) for factor in factors)
            return te.sum(x * y, axis=[tap, channel])

        sums = te.compute((p.batch, rows, columns), product, name="sums")
        flat = te.compute((p.batch, p.rows, p.columns), lambda z, m, n: sums[z, m, n], name="flat")
        return [data, kernel, te.compute(self.workload.output, lambda *at: flat[self.output_at(at)], name="output")]

    def apply(self, sch: Any, config: Config) -> None:
        sch.reverse_compute_inline(sch.get_sblock("output"))
        w = self.workload
        read, written = (
            min(config.value(self.vector), _VECTOR_BYTES // _BYTES[dtype]) for dtype in (w.dtype, w.out_dtype)
        )
        tiling, transposed = self.tiling(config), self.transposed
        WmmaSchedule(sch, tiling, w.out_dtype, transposed=transposed, read=read, written=written).apply()


def _half(value: Any, inside: list[Any]) -> Any:
    """Return a number in float16, or zero unless the conditions hold."""
    from tvm import tirx

    value = value if value.dtype == _HALF else value.astype(_HALF)
    return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, _HALF)) if inside else value


def _within(index: Any, extent: int, padded: int) -> list[Any]:
    """Return the condition for an index of a padded axis to be below its extent; the same for a whole vector."""
    return [index // _UNIT < extent // _UNIT] if extent != padded else []
