"""The schedule of AutoTVM's templates for tensor cores: see `wmma_cuda`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tophub_registry.templates import cuda
from tophub_registry.templates.tensor_intrinsics import SHARED, WARP
from tophub_registry.templates.wmma import DEPTH, intrinsics


class Tiling(NamedTuple):
    """How a config divides a product.

    Attributes
    ----------
    tile
        Rows and columns of the sums that tensor cores compute at once.
    tiles
        A warp's tiles along rows and columns.
    warps
        A block's warps along rows and columns.
    depth
        The channels that are fetched at once.
    strides
        How far apart rows of data, of weights and of sums are in shared memory, in elements.
    """

    tile: tuple[int, int]
    tiles: tuple[int, int]
    warps: tuple[int, int]
    depth: int
    strides: tuple[int, int, int]

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a block."""
        rows, columns = (math.prod(parts) for parts in zip(self.tile, self.tiles, self.warps, strict=True))
        return rows, columns


class WmmaSchedule:
    """The schedule of the blocks `left` and `right`, which fetch the factors, `sums` and `flat`, which writes them.

    Parameters
    ----------
    sch
        The `tvm.s_tir.Schedule`.
    tiling
        How the config divides a product.
    dtype
        The type of the sums.
    transposed
        Whether the weights have a row for each column of the sums; else they have one for each product.
    read, written
        How many elements a thread reads or writes at once.
    """

    def __init__(self, sch: Any, tiling: Tiling, dtype: str, *, transposed: bool, read: int, written: int) -> None:
        self._sch = sch
        self._tiling = tiling
        self._transposed = transposed
        self._names = intrinsics(tiling.tile, dtype, transposed=transposed)
        self._read, self._written = read, written

    def apply(self) -> None:
        """Schedule the kernel."""
        sch, (rows, columns) = self._sch, self._tiling.tile
        product, output = sch.get_sblock("sums"), sch.get_sblock("flat")
        _, m, n, tap, k = sch.get_loops(product)
        m, mi = sch.split(m, [None, rows])
        n, ni = sch.split(n, [None, columns])
        k, ki = sch.split(k, [None, DEPTH])
        sch.reorder(m, n, tap, k, mi, ni, ki)
        tile = sch.blockize(mi)
        block, warp, tap, step, k = self._divide(tile)
        for name, stride in zip(("left", "right"), self._tiling.strides[:2], strict=True):
            self._fetch(sch.get_sblock(name), step, stride)
        loads = [sch.cache_read(tile, place, "local") for place in range(2)]
        for load in loads:
            sch.compute_at(load, k)
        if not self._transposed:  # each tile in a place of its own, however few columns it has
            sch.transform_layout(loads[1], ("write", 0), lambda z, t, k, n: (z, t, n // columns, k, n % columns))
        store = sch.cache_write(tile, 0, "local")
        sch.set_scope(store, 0, SHARED)
        sch.reverse_compute_at(store, warp)
        sch.reverse_compute_at(output, block, preserve_unit_loops=True)
        weights = (columns, DEPTH) if self._transposed else (DEPTH, columns)
        tiles = [cuda.in_tiles(sch, load, shape) for load, shape in zip(loads, ((rows, DEPTH), weights), strict=True)]
        stored = sch.blockize(cuda.in_tiles(sch, store, (rows, columns)))
        self._align(stored, 1, self._tiling.strides[2])
        clear = sch.decompose_reduction(tile, tap)
        for loop, name in zip(tiles, (self._names.data, self._names.weights), strict=True):
            sch.tensorize(loop, name)
        sch.tensorize(sch.get_loops(product)[-3], self._names.add)
        sch.tensorize(sch.get_loops(sch.get_sblock("sums_init"))[-2], self._names.clear)
        sch.tensorize(stored, self._names.store)
        for outer in (tile, clear):
            for loop in sch.get_loops(outer)[-2:]:
                sch.unroll(loop)
        self._by_all_threads(output, self._written)

    def _divide(self, tile: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Divide the tiles between blocks and warps.

        Returns
        -------
        tuple
            The innermost loops over blocks and warps, and the loops over taps, steps, and the tiles of a step.
        """
        sch, tiling = self._sch, self._tiling
        product, m, n, tap, k = sch.get_loops(tile)
        (bm, wm, fm), (bn, wn, fn) = (
            sch.split(loop, [None, warps, tiles])
            for loop, warps, tiles in zip((m, n), tiling.warps, tiling.tiles, strict=True)
        )
        step, k = sch.split(k, [None, tiling.depth // DEPTH])
        sch.reorder(product, bm, bn, wm, wn, tap, step, k, fm, fn)
        cuda.bind(sch, blockIdx_z=product, blockIdx_x=bm, blockIdx_y=bn, threadIdx_y=wm, threadIdx_z=wn)
        return bn, wn, tap, step, k

    def _fetch(self, block: Any, step: Any, stride: int) -> None:
        """Let all threads fetch a step's data or weights into shared memory."""
        sch = self._sch
        sch.set_scope(block, 0, SHARED)
        sch.compute_at(block, step)
        self._by_all_threads(block, self._read)
        self._align(block, 2, stride)

    def _align(self, block: Any, axis: int, stride: int) -> None:
        """Let rows of what a block writes be this many elements apart."""
        self._sch.storage_align(block, 0, axis=axis, factor=stride, offset=0)

    def _by_all_threads(self, block: Any, vector: int) -> None:
        """Divide a block's last two loops between all threads, each of which takes so many elements at once."""
        sch, (row_warps, column_warps) = self._sch, self._tiling.warps
        numbers, each = sch.split(sch.fuse(*sch.get_loops(block)[-2:]), [None, vector])
        _, z, y, x = sch.split(numbers, [None, column_warps, row_warps, WARP])
        cuda.bind(sch, threadIdx_z=z, threadIdx_y=y, threadIdx_x=x)
        sch.vectorize(each)
