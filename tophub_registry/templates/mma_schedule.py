"""The schedule of our templates for tensor cores: see `mma_cuda`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.records.tensor_cores import TILE
from tophub_registry.templates import cuda
from tophub_registry.templates.mma import asynchronous, intrinsics
from tophub_registry.templates.tensor_intrinsics import SHARED, WARP, function

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tophub_registry.records.record import Config
    from tophub_registry.templates.mma_cuda import MmaTemplate

PAD = 1
"""By how many vectors of 16 bytes rows in shared memory are apart beyond their length, against bank conflicts."""

SUMS_PAD = 8
"""By how many sums rows of them in shared memory are apart beyond their length, against bank conflicts."""

_AT_ONCE = 8
"""How many threads write vectors of 16 bytes to shared memory at once, if all go to different banks."""

_FEWEST_OVERLAPPING = 3
"""The stages from which copies begin after a step's products: with two, the next step would have to wait for them."""

_EPILOGUE = 4
"""The most channels that a thread writes at once."""

THREADS = 128
"""Threads of a block that gathers data."""

OTHER = "other"
"""The block that reads the other factor of a product of two activations."""


def _annotations(stages: list[int], order: list[int]) -> dict[str, list[int]]:
    """Return the annotations of a loop that TVM is to pipeline; the first stage's statements are asynchronous."""
    pipeline = {"software_pipeline_stage": stages, "software_pipeline_order": order}
    return {**pipeline, "software_pipeline_async_stages": [0]}


class Schedule:
    """The schedule of the kernel, and of the one that adds its parts."""

    _copying = function("mma.cuh", "copy")

    def __init__(self, sch: Any, config: Config, template: MmaTemplate) -> None:
        self._sch = sch
        self._written = math.gcd(template.product.columns, _EPILOGUE)
        self._packed = template.packs_weights
        self._precision = template.precision
        self._tile = [config.value(f"tile_{axis}") for axis in "mn"]
        self._depth = template.depth(config)
        self._warps = template.warps(config)
        self._parts, self._stages = config.value("split_k"), config.value("stages")
        self._raster = config.value("raster")

    def apply(self, output: Any) -> None:
        sch, depth = self._sch, self._precision.depth
        names = intrinsics(self._precision, packed=self._packed)
        product = sch.get_sblock("sums")
        _, m, n, step, k = sch.get_loops(product)
        m, mi = sch.split(m, [None, TILE])
        n, ni = sch.split(n, [None, TILE])
        k, ki = sch.split(k, [None, depth])
        sch.reorder(m, n, step, k, mi, ni, ki)
        tile = sch.blockize(mi)
        block, warp, step, k = self._divide(tile)
        self._copy_factors(tile, step)
        loads = [sch.cache_read(tile, place, "local") for place in range(2)]
        for load in loads:
            sch.compute_at(load, k)
        sch.unroll(k)
        store = self._move_sums(tile, warp, output, block)
        tiles = [cuda.in_tiles(sch, load, (TILE, depth)) for load in loads]
        stored = cuda.in_tiles(sch, store, (TILE, TILE))
        clear = sch.decompose_reduction(tile, step)
        for loop, name in zip(tiles, (names.data, names.weights), strict=True):
            sch.tensorize(loop, name)
        sch.tensorize(sch.get_loops(product)[-3], names.add)
        sch.tensorize(sch.get_loops(sch.get_sblock("sums_init"))[-2], names.clear)
        self._store(stored, names.store_shared if self._parts == 1 else names.store_global)
        for outer in (tile, clear):
            for loop in sch.get_loops(outer)[-2:]:
                sch.unroll(loop)
        self._finish(output, step)

    def _move_sums(self, tile: Any, warp: Any, output: Any, block: Any) -> Any:
        """Let a block write outputs from shared memory, or parts of the sums; return the block that stores the sums."""
        sch = self._sch
        store = sch.cache_write(tile, 0, "local")
        if self._parts == 1:
            sch.set_scope(store, 0, SHARED)
        sch.reverse_compute_at(store, warp)
        if self._parts == 1:
            sch.reverse_compute_at(output, block, preserve_unit_loops=True)
        sch.reverse_compute_inline(sch.get_sblock("output"))
        return store

    def _finish(self, output: Any, step: Any) -> None:
        """Schedule what is done with the sums, and the pipeline."""
        if self._parts == 1:
            self._write(output)
        else:
            self._add_parts(output)
        self._pipeline(step)

    def _pipeline(self, step: Any) -> None:
        """Let a step's copies go on while earlier steps are computed."""
        if self._stages >= _FEWEST_OVERLAPPING:
            self._overlap(step)
        elif self._stages > 1:
            for name, value in _annotations([0, 0, self._stages - 1], [0, 1, 2]).items():
                self._sch.annotate(step, name, value)

    def _overlap(self, step: Any) -> None:
        """Compute a step's products first, then begin the copies for a later step, with one barrier before both.

        At the barrier, all warps have read the data of the step before, which the copies overwrite. The addresses of
        what is copied, and whether it is padding, are computed while tensor cores work.
        """
        from tvm import tirx

        loop, last = self._sch.get(step), self._stages - 1
        *copies, products = loop.body.seq
        wait, after = self._wait(loop, last), self._after(products)
        body = tirx.SeqStmt([*(asynchronous(copy, self._copying) for copy in copies), wait, products, *after])
        more = range(4, 4 + len(after))
        notes = _annotations([0, 0, last, last, *(last for _ in more)], [2, 3, 0, 1, *more])
        pipelined = tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, annotations=notes)
        self._sch.state.replace(self._sch.get_sref(step), pipelined)

    def _wait(self, steps: Any, last: int) -> Any:  # noqa: ARG002  # where there are no more copies, TVM's own waits do
        """Return the statement that waits for the copies of a step, when those of `last` steps have begun."""
        from tvm import tirx
        from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

        return tirx.Evaluate(T.ptx.cp.async_.wait_group(last - 1))  # in this order, TVM would wait for too few copies

    def _after(self, products: Any) -> list[Any]:  # noqa: ARG002  # warps need nothing
        """Return what a step does when it has begun a later step's copies."""
        return []

    def _divide(self, tile: Any) -> tuple[Any, Any, Any, Any]:
        """Divide the tiles of sums between blocks and warps; return their loops, and those over steps and channels."""
        sch = self._sch
        part, m, n, step, k = sch.get_loops(tile)
        (bm, wm, fm), (bn, wn, fn) = (
            sch.split(loop, [None, warps, side // warps // TILE])
            for loop, warps, side in zip((m, n), self._warps, self._tile, strict=True)
        )
        sch.reorder(part, bm, bn, wm, wn, step, k, fm, fn)
        warp = sch.fuse(wm, wn)
        self._bind(part, bm, bn, warp)
        return bn, warp, step, k

    def _bind(self, part: Any, block_m: Any, block_n: Any, warp: Any) -> None:
        x, y = (block_m, block_n) if self._raster else (block_n, block_m)
        cuda.bind(self._sch, blockIdx_z=part, blockIdx_y=y, blockIdx_x=x, threadIdx_y=warp)

    def _copy_factors(self, tile: Any, step: Any) -> None:
        sch = self._sch
        for name in ("view",) if self._packed else ("view", OTHER):
            seen = sch.get_sblock(name)
            sch.set_scope(seen, 0, SHARED)
            self._copy(seen, step)
        if self._packed:
            self._copy(sch.cache_read(tile, 1, SHARED), step)

    def _copy(self, block: Any, step: Any) -> None:
        """Let all threads copy a step's data or weights into shared memory, 16 bytes at a time."""
        sch, vector = self._sch, self._precision.vector
        sch.compute_at(block, step)
        row, channel = sch.get_loops(block)[-2:]
        across = self._depth // vector
        # Of short rows, as padded, those that are `across` apart lie in different banks.
        row, far, near = sch.split(row, [None, max(1, _AT_ONCE // across), min(across, _AT_ONCE)])
        sch.reorder(row, near, far, channel)
        self._by_all_threads([row, near, far, channel], vector)
        sch.storage_align(block, 0, axis=1, factor=2 * vector, offset=PAD * vector)

    def _by_all_threads(self, loops: Sequence[Any], vector: int) -> None:
        sch = self._sch
        fused = sch.fuse(*loops)
        again, y, x, numbers = sch.split(fused, [None, math.prod(self._warps), WARP, vector])
        cuda.bind(sch, threadIdx_y=y, threadIdx_x=x)
        sch.vectorize(numbers)
        sch.unroll(again)

    def _store(self, tile: Any, name: str) -> None:
        """Let a warp write a tile of sums."""
        sch = self._sch
        block = sch.blockize(tile)
        if self._parts == 1:
            sch.storage_align(block, 0, axis=1, factor=TILE, offset=SUMS_PAD)
        sch.tensorize(block, name)

    def _write(self, output: Any) -> None:
        """Let all threads write a block's outputs from shared memory."""
        outputs = math.prod(self._tile) // (math.prod(self._warps) * WARP)
        self._by_all_threads(self._sch.get_loops(output)[-2:], min(self._written, outputs))

    def _add_parts(self, output: Any) -> None:
        """Schedule the second kernel, which adds the parts."""
        cuda.add_parts(self._sch, self._sch.get_sblock("total"), output, self._written)
